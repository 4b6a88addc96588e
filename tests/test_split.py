"""The shop split into services: it answers as the one process does, and goes on when one of them does not."""

import json
import os
import random
import re
import secrets
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from deploy.split import PROFILES
from tests.blackbox.suite import run
from tests.blackbox.target import Target
from tests.blackbox.transcript import Transcript, compare
from tests.chaos.servers import running_redis
from tests.journeys import sixteen_buyers_of_fifty_lamps, walk_through
from tests.load import shoppers
from tests.monitoring import everything_asked, missing, rules
from tests.outage import remove_queues
from tests.prometheus import running_prometheus
from tests.scrape import Scrape, scrape
from tests.services import needs_rabbitmq, needs_redis, new_postgres_database
from tests.shop import PASSWORD, ROOT, Client, Shop, open_shop
from tests.split import SplitShop, open_split

pytestmark = [pytest.mark.e2e, pytest.mark.once]

ORIGIN = "https://shop.example.com"
# `KILLS=10 pytest tests/test_split.py -k kill` looks longer.
KILLS = int(os.environ.get("KILLS", "4"))


@pytest.fixture(scope="module")
def redis_url() -> Iterator[str]:
    with running_redis() as own:
        yield own.url if own else needs_redis()


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory, redis_url: str) -> Iterator[SplitShop]:
    """With RabbitMQ, which sees at once that a worker was killed; Redis would give it a minute and a half. Orders are
    on PostgreSQL, the others on SQLite.
    """
    broker, queues = needs_rabbitmq(), f"split-{secrets.token_hex(4)}-"
    environment = {"REDIS_URL": redis_url, "BROKER_URL": broker, "QUEUE_PREFIX": queues, "RATE_LIMITS": "off"}
    environment["CORS_ALLOWED_ORIGINS"] = ORIGIN
    try:
        with (
            new_postgres_database() as orders,
            open_split(tmp_path_factory.mktemp("split"), ORDERS_DATABASE_URL=orders, **environment) as running,
        ):
            yield running
    finally:
        remove_queues(broker, queues)


@pytest.fixture(scope="module")
def admin(split: SplitShop) -> Client:
    return split.admin()


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory, redis_url: str) -> Transcript:
    """Everything that the one process answers."""
    environment = {"REDIS_URL": redis_url, "BROKER_URL": redis_url, "QUEUE_PREFIX": "single-"}
    with open_shop(tmp_path_factory.mktemp("single"), CORS_ALLOWED_ORIGINS=ORIGIN, **environment) as shop:
        return played(shop, Target.at(shop.url, origin=ORIGIN))


def played(shop: Shop, target: Target) -> Transcript:
    shop.admin()
    email = f"{shop.environment['DJANGO_SUPERUSER_USERNAME']}@example.com"
    transcript = run(target, email=email, password=PASSWORD)
    assert list(transcript.failures) == []
    return transcript


class TestNoDifference:
    def test_through_envoy(self, split: SplitShop, single: Transcript) -> None:
        heard = played(split, Target.at(split.url, origin=ORIGIN))
        assert "\n".join(compare(single, heard)) == ""
        split.manage("audit")

    def test_service_by_service(self, split: SplitShop, single: Transcript) -> None:
        heard = played(split, split.target(ORIGIN))
        assert "\n".join(compare(single, heard)) == ""
        split.manage("audit")


def test_the_walk_through(split: SplitShop, admin: Client) -> None:
    walk_through(split, admin)


def test_sixteen_buyers_of_fifty_lamps(split: SplitShop, admin: Client) -> None:
    sixteen_buyers_of_fifty_lamps(split, admin)


# What the contract says of `user.UserService`, and nothing else.
PROTO = """
syntax = "proto3";
package user;
service UserService {
  rpc GetUser(GetUserRequest) returns (GetUserResponse);
  rpc GetUserByEmail(GetUserByEmailRequest) returns (GetUserResponse);
  rpc ValidateToken(ValidateTokenRequest) returns (ValidateTokenResponse);
}
message GetUserRequest { string id = 1; }
message GetUserByEmailRequest { string email = 1; }
message GetUserResponse {
  string id = 1;
  string username = 2;
  string email = 3;
  string first_name = 4;
  string last_name = 5;
  string role = 6;
  bool active = 7;
}
message ValidateTokenRequest { string token = 1; }
message ValidateTokenResponse { bool valid = 1; string user_id = 2; string role = 3; }
"""
# Another system's program: it knows nothing of ours.
PROGRAM = """
import json, sys
import grpc, contract_pb2 as pb, contract_pb2_grpc as stubs
address, token, access_token, email = sys.argv[1:]
with grpc.insecure_channel(address) as channel:
    users, metadata = stubs.UserServiceStub(channel), [("authorization", f"Bearer {token}")]
    found = users.GetUserByEmail(pb.GetUserByEmailRequest(email=email), metadata=metadata, timeout=10)
    assert users.GetUser(pb.GetUserRequest(id=found.id), metadata=metadata, timeout=10) == found
    owner = users.ValidateToken(pb.ValidateTokenRequest(token=access_token), metadata=metadata, timeout=10)
    rubbish = users.ValidateToken(pb.ValidateTokenRequest(token="rubbish"), metadata=metadata, timeout=10)
    try:
        users.GetUser(pb.GetUserRequest(id=found.id), timeout=10)
    except grpc.RpcError as error:
        refusal = error.code().name
print(json.dumps([found.id, found.email, found.role, found.active, owner.valid, owner.user_id, rubbish.valid, refusal]))
"""


@pytest.mark.parametrize("way", ["directly", "through Envoy"])
def test_a_client_made_from_the_contract_alone_asks_for_users(split: SplitShop, tmp_path: Path, way: str) -> None:
    (tmp_path / "contract.proto").write_text(PROTO)
    protoc = ["-m", "grpc_tools.protoc", "-I.", "--python_out=.", "--grpc_python_out=.", "contract.proto"]
    subprocess.run([sys.executable, *protoc], cwd=tmp_path, check=True)
    token = split.manage("issue_service_token", "crm", "--scope", "users:read", profile="users").strip()
    customer = split.customer()
    profile = customer.get("/users/profile").json()
    port = split.ports.http if way == "through Envoy" else split.ports.grpc_of("users")
    arguments = [f"127.0.0.1:{port}", token, customer.access_token, profile["email"]]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    user_id = profile["id"]
    assert json.loads(done.stdout) == [user_id, profile["email"], "user", True, True, user_id, False, "UNAUTHENTICATED"]


def test_whatever_dashboards_alerts_and_runbooks_ask_for_is_there(split: SplitShop, admin: Client) -> None:
    lamp, customer = admin.product(stock=2), split.customer()
    assert customer.pay(customer.order(lamp).json()["id"]).status_code == 200
    assert customer.order(lamp, 5).status_code == 409
    with pytest.raises(AssertionError, match="wrong_credentials"):
        Client(split.url).log_in("nobody@example.com", PASSWORD)
    found = whole_scrape(split)
    assert [problem for asked in everything_asked() for problem in missing(asked, found)] == []
    assert found.value("orders_total") >= 1
    pages = (ROOT / "docs" / "metrics.md").read_text()
    named = set(re.findall(r"^\| `(\w+)` \|", pages, re.MULTILINE))
    bare = {
        re.sub("_(bucket|count|sum)$", "", name) for name in found.names if not name.startswith(("envoy_", "django_"))
    }
    assert bare - named == set()
    assert {name for name in named if not name.startswith("django_")} - bare == set()


def whole_scrape(split: SplitShop) -> Scrape:
    """What all processes say, Envoy's among them."""
    shops = scrape(*(split.url_of(profile) for profile in PROFILES))
    envoy = requests.get(f"http://127.0.0.1:{split.ports.envoy_admin}/stats/prometheus", timeout=10)
    shops.add(envoy.text)
    return shops


def test_a_real_prometheus_finds_every_process_and_evaluates_every_rule(split: SplitShop, tmp_path: Path) -> None:
    targets = {profile: split.ports.http_of(profile) for profile in PROFILES} | {"envoy": split.ports.envoy_admin}
    with running_prometheus(tmp_path, targets) as prometheus:
        split.eventually(lambda: prometheus.up() == {**dict.fromkeys(targets, 1.0), "prometheus": 1.0}, seconds=60)
        split.eventually(lambda: set(prometheus.rules().values()) == {"ok"}, seconds=60)
        assert len(prometheus.rules()) == len(rules())
        assert prometheus.ask('max by (service) (outbox_depth{service="orders"})') == {"orders": 0}


def breaker_of(split: SplitShop) -> set[float]:
    """The circuits from orders to products: 0 closed, 1 half-open, 2 open."""
    text = requests.get(f"{split.url_of('orders')}/metrics", timeout=10).text
    return {
        float(value)
        for value in re.findall(r'^circuit_breaker_state\{.*service="products"\} (\S+)', text, re.MULTILINE)
    }


def test_without_products_orders_are_read_and_users_log_in_and_placing_is_refused_soon(
    split: SplitShop, admin: Client
) -> None:
    lamp, customer = admin.product(stock=10), split.customer()
    order = customer.order(lamp)
    assert order.status_code == 201
    with split.without("products"):
        refused = []
        for _ in range(6):
            began = time.monotonic()
            answer = customer.order(lamp)
            refused.append((answer.status_code, answer.headers.get("Retry-After")))
            assert time.monotonic() - began < 3
            assert answer.json()["errors"][0]["code"] == "service_unavailable"
            assert "products" in answer.json()["errors"][0]["detail"]
        assert refused == [(503, "5")] * 6
        assert breaker_of(split) == {2.0}
        assert customer.get("/orders").json()["results"][0]["id"] == order.json()["id"]
        assert customer.get(f"/orders/{order.json()['id']}/timeline").status_code == 200
        other = split.customer()
        assert other.get("/users/profile").status_code == 200
        assert customer.get("/orders").status_code == 200
    split.eventually(lambda: customer.order(lamp).status_code == 201, seconds=30)
    split.eventually(lambda: customer.order(lamp).status_code == 201 and 0.0 in breaker_of(split), seconds=30)
    split.manage("audit")


def test_without_users_whoever_was_here_goes_on(split: SplitShop, admin: Client) -> None:
    lamp, customer = admin.product(stock=10), split.customer()
    for _ in range(8):
        assert customer.get("/orders").status_code == 200  # each process of orders has seen the token
    with split.without("users"):
        assert {customer.get("/orders").status_code for _ in range(4)} <= {200, 503}
        assert Client(split.url).get(f"/products/{lamp}").status_code == 200
    split.eventually(lambda: customer.order(lamp).status_code == 201, seconds=30)


def test_kill_nine_of_any_service_under_load_loses_nothing(split: SplitShop, admin: Client) -> None:
    stock = 10_000
    lamp, customer = admin.product(stock=stock), split.customer()
    victims = [random.choice(["users", "products", "orders"]) for _ in range(KILLS)]  # noqa: S311 - any will do
    with shoppers(split, lamp, number=4, may_be_cut_off=True) as crowd:
        for victim in victims:
            split.kill_service(victim)
            split.eventually(lambda: is_whole(split) and sells(customer, lamp), seconds=90)
            time.sleep(1)
    answers = Counter((answer.what, answer.status) for shopper in crowd for answer in shopper.answers)
    # 402: whoever was to ask the provider died before; nothing was charged, and the order can be paid anew.
    assert {status for _, status in answers} <= {200, 201, 402, 409, 503}, answers
    paid = {order_id for shopper in crowd for order_id in shopper.paid}
    assert len(paid) > KILLS, answers
    for order_id in paid:
        assert admin.get(f"/orders/{order_id}").json()["status"] == "paid"
    split.eventually(lambda: is_deducted(admin, lamp, stock), seconds=120)
    split.manage("audit")


def sells(customer: Client, lamp: str) -> bool:
    try:
        return customer.order(lamp).status_code == 201
    except requests.RequestException:
        return False


def is_whole(split: SplitShop) -> bool:
    with ThreadPoolExecutor(3) as pool:
        return all(pool.map(lambda service: _is_ready(split.url_of(service)), ("users", "products", "orders")))


def _is_ready(url: str) -> bool:
    try:
        return requests.get(f"{url}/ready", timeout=5).ok
    except requests.RequestException:
        return False


def is_deducted(admin: Client, lamp: str, stock: int) -> bool:
    statuses: Counter[str] = Counter()
    path = "/orders?page_size=100"
    while path:
        page = admin.get(path).json()
        statuses.update(
            order["status"] for order in page["results"] if lamp in {item["product_id"] for item in order["items"]}
        )
        path = (page["next"] or "").partition("/api/v1")[2]
    on_hand, reserved = admin.stock(lamp)
    return on_hand == stock - statuses["paid"] and reserved >= statuses["pending"]
