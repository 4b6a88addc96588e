"""What happens when the gateway starts before the services, and when it stops."""

import http.client
import subprocess
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from deploy.envoy.render import Address, Health
from tests.gateway import checks
from tests.gateway.features import manager
from tests.gateway.gateway import Backend, Config, Running, free_ports, running
from tests.gateway.upstreams import Answer, Service

pytestmark = pytest.mark.once


def test_without_the_keys_of_tokens_strangers_are_served(backend: Backend, tmp_path: Path) -> None:
    for users in backend["users"]:
        users.has_keys = False

    with running(backend, tmp_path) as gateway:
        reply = gateway.ask("GET", "/api/v1/products", gateway.bearer())
        checks.refused(reply, 503, "service_unavailable")
        assert reply.headers["retry-after"] == "5"
        assert gateway.get("/api/v1/products").status == 200

        for users in backend["users"]:
            users.has_keys = True
        gateway.eventually(lambda: gateway.ask("GET", "/api/v1/products", gateway.bearer()).status == 200)


def test_statistics_are_for_prometheus_and_nothing_else_is(backend: Backend, tmp_path: Path) -> None:
    (port,) = free_ports(1)
    with running(backend, tmp_path, statistics=Address("127.0.0.1", port)) as gateway:
        statistics = replace(gateway, port=port)
        found = statistics.get("/stats/prometheus")
        assert found.status == 200
        assert b'envoy_cluster_membership_healthy{envoy_cluster_name="orders"} 2' in found.body
        for path in ("/", "/clusters", "/config_dump", "/stats/prometheus/../../clusters", "/ready"):
            assert statistics.get(path).status == 404
        assert statistics.ask("POST", "/stats/prometheus").status == 404
        assert statistics.ask("POST", "/quitquitquit").status == 404
        assert gateway.get("/health").status == 200


def test_services_are_asked_by_a_host_that_they_allow(backend: Backend, tmp_path: Path) -> None:
    with running(backend, tmp_path, host="shop.example.com"):
        (users,) = backend["users"]
        # Another gateway of the tests may ask the same service, as localhost.
        assert users.asked_as >= {("/accepting", "shop.example.com"), ("/.well-known/jwks.json", "shop.example.com")}


DRAIN = Path(__file__).parents[2] / "deploy" / "envoy" / "drain.sh"


def test_a_gateway_that_is_drained_finishes_what_it_began(backend: Backend, tmp_path: Path) -> None:
    with running(backend, tmp_path) as gateway:
        release = checks.hang(gateway, "admin")
        connection = gateway.open("GET", "/slow")
        gateway.eventually(lambda: backend["admin"][0].begun == 1)

        drain = subprocess.Popen([DRAIN, str(gateway.admin_port), "60"])
        gateway.eventually(lambda: gateway.get("/health").status == 503)
        checks.refused(gateway.get("/health"), 503, "service_unavailable")
        backend["admin"][0].answer = lambda _: Answer()
        gateway.eventually(lambda: gateway.get("/quick").headers.get("connection") == "close")
        assert drain.poll() is None
        release.set()

        assert connection.getresponse().status == 200
        assert drain.wait(timeout=20) == 0


@pytest.mark.parametrize("is_retried", [True, False])
def test_a_write_that_nobody_took_goes_to_another_host(backend: Backend, tmp_path: Path, is_retried: bool) -> None:
    def damage(config: Config) -> None:
        if not is_retried:
            del manager(config)["route_config"]["virtual_hosts"][0]["retry_policy"]

    gone = Service("orders", {})
    places = backend.clusters()
    places["orders"] = [places["orders"][0], Address("127.0.0.1", gone.port)]
    health = Health(check_seconds=60)
    with running(backend, tmp_path, damage, clusters=places, health=health) as gateway:
        gateway.eventually(lambda: {path for path, _ in gone.asked_as} == {"/accepting"})
        gateway.eventually(lambda: is_healthy(gateway, gone.port))
        gone.stop()

        statuses = [gateway.ask("POST", checks.SIGNED).status for _ in range(4)]

        assert sorted(statuses) == ([200] * 4 if is_retried else [200, 200, 503, 503])


def is_healthy(gateway: Running, port: int) -> bool:
    """Whether the gateway sends requests to the host with that port."""
    with closing(http.client.HTTPConnection("127.0.0.1", gateway.admin_port, timeout=5)) as connection:
        connection.request("GET", "/clusters")
        return f"127.0.0.1:{port}::health_flags::healthy" in connection.getresponse().read().decode()
