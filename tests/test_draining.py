"""A shop that is told to stop says so first, and goes on answering until its time is up."""

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import requests
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.shop import Shop, open_shop

pytestmark = [pytest.mark.e2e, pytest.mark.once]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    with open_shop(tmp_path_factory.mktemp("shop"), DRAIN_SECONDS="300") as running:
        yield running


def say(shop: Shop, path: str) -> tuple[int, object]:
    response = requests.get(f"{shop.url}{path}", timeout=10)
    return response.status_code, response.json()


def grpc_health(shop: Shop) -> str:
    with grpc.insecure_channel(f"127.0.0.1:{shop.environment['GRPC_PORT']}") as channel:
        health: Any = health_pb2_grpc.HealthStub(channel)
        answer = health.Check(health_pb2.HealthCheckRequest(service=""), timeout=10)
    return health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)


def test_a_shop_is_drained_before_it_stops(shop: Shop) -> None:
    lamp, customer = shop.admin().product(stock=5), shop.customer()
    assert say(shop, "/accepting") == (200, {"status": "ok"})
    shop.eventually(lambda: grpc_health(shop) == "SERVING")
    top, *below = shop.processes()

    top.send_signal(signal.SIGTERM)
    shop.eventually(lambda: say(shop, "/ready") == (503, {"status": "draining"}))
    assert say(shop, "/accepting") == (503, {"status": "draining"})
    assert say(shop, "/health") == (200, {"status": "ok"})
    shop.eventually(lambda: grpc_health(shop) == "NOT_SERVING")
    order = customer.order(lamp)
    assert order.status_code == 201
    assert customer.pay(order.json()["id"]).status_code == 200
    # What dies meanwhile is started again.
    relay = next(each for each in below if "relay" in each.cmdline())
    relay.kill()
    shop.eventually(lambda: any("relay" in each.cmdline() for each in shop.processes() if each.pid != relay.pid))
    # Who has no time says it twice.
    assert shop.stop() == 0
    assert list(Path(shop.environment["DATA_DIR"]).glob("draining-*")) == []
