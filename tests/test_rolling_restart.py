"""A rolling restart under load: two replicas of each service behind Envoy, replaced one by one, and nobody notices."""

import http.client
import json
import secrets
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import grpc
import pytest

from config.profiles import SERVICES
from grpc_api.gen import order_pb2, order_pb2_grpc
from tests.outage import remove_queues
from tests.replicas import Replicated, open_replicated
from tests.services import needs_postgres, needs_redis
from tests.shop import PASSWORD, Client

pytestmark = [pytest.mark.e2e, pytest.mark.once]

REQUESTS = 5000
BUYERS = 4


class Buyer(threading.Thread):
    """Browses, orders and pays on one connection that stays open, and asks for the order over gRPC on another. Nothing
    is tried again.
    """

    def __init__(self, url: str, client: Client, product: str) -> None:
        super().__init__(daemon=True)
        self.done = threading.Event()
        self.asked = 0
        self.failures: list[str] = []
        self.placed: list[str] = []
        self.paid: list[str] = []
        place = urlsplit(url).netloc
        self._connection = http.client.HTTPConnection(place, timeout=60)
        self._channel = grpc.insecure_channel(place)
        self._orders = order_pb2_grpc.OrderServiceStub(self._channel)
        self._token = client.access_token
        self._product = product

    def run(self) -> None:
        while not self.done.is_set():
            self._buy()
        self._connection.close()
        self._channel.close()

    def _buy(self) -> None:
        for _ in range(16):
            self._ask("GET", f"products/{self._product}")
        order = self._ask("POST", "orders", {"items": [{"product_id": self._product, "quantity": 1}]})
        if order is None:
            return
        self.placed.append(order["id"])
        if self._ask("POST", f"orders/{order['id']}/pay", {"method": "card", "token": "tok_visa"}):
            self.paid.append(order["id"])
        self._ask("GET", f"orders/{order['id']}")
        self._call(order["id"])

    def _ask(self, method: str, path: str, body: object = None) -> dict[str, str] | None:
        """The answer; None, and a line among the failures, if it is not what was asked for."""
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
        headers["Idempotency-Key"] = secrets.token_hex(8)
        self.asked += 1
        try:
            self._connection.request(method, f"/api/v1/{path}", json.dumps(body) if body else None, headers)
            response = self._connection.getresponse()
            content = response.read()
        except (OSError, http.client.HTTPException) as error:
            self.failures.append(f"{method} {path}: {error!r}")
            self._connection.close()
            return None
        if response.status not in {200, 201}:
            self.failures.append(f"{method} {path}: {response.status} {content[:300]!r}")
            return None
        answer: dict[str, str] = json.loads(content)
        return answer

    def _call(self, order_id: str) -> None:
        metadata = (("authorization", f"Bearer {self._token}"),)
        self.asked += 1
        try:
            request = order_pb2.GetOrderRequest(order_id=order_id)
            found = self._orders.GetOrder(request, metadata=metadata, timeout=60)
        except grpc.RpcError as error:
            self.failures.append(f"GetOrder: {error!r}")
        else:
            if found.id != order_id:
                self.failures.append(f"GetOrder: {found.id} for {order_id}")


@contextmanager
def buyers(shop: Replicated, product: str) -> Iterator[Sequence[Buyer]]:
    """Several at once, for as long as the block lasts."""
    crowd = [Buyer(shop.url, new_customer(shop.url), product) for _ in range(BUYERS)]
    for buyer in crowd:
        buyer.start()
    try:
        yield crowd
    finally:
        for buyer in crowd:
            buyer.done.set()
        for buyer in crowd:
            buyer.join(90)


def new_customer(url: str) -> Client:
    name = f"user{secrets.token_hex(6)}"
    account = {"username": name, "email": f"{name}@example.com", "password": PASSWORD}
    client = Client(url)
    assert client.post("/users/register", account).status_code == 201
    return client.log_in(account["email"], PASSWORD)


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Replicated]:
    needs_postgres()
    redis_url = needs_redis()
    with open_replicated(tmp_path, redis_url) as running:
        try:
            yield running
        finally:
            remove_queues(redis_url, running.queue_prefix)


def test_no_request_is_lost(shop: Replicated) -> None:
    admin = shop.admin()
    lamp = admin.product(stock=1_000_000)
    with buyers(shop, lamp) as crowd, ThreadPoolExecutor(len(SERVICES)) as pool:
        list(pool.map(shop.restart, SERVICES))
        shop.eventually(lambda: sum(buyer.asked for buyer in crowd) >= REQUESTS)
    assert [failure for buyer in crowd for failure in buyer.failures] == []
    statuses = all_orders(admin)
    assert {order_id for buyer in crowd for order_id in buyer.placed} == set(statuses)
    assert {statuses[order_id] for buyer in crowd for order_id in buyer.paid} == {"paid"}
    shop.manage("admin", "audit")


def all_orders(admin: Client) -> dict[str, str]:
    """The status of every order."""
    statuses, path = {}, "/orders?page_size=100"
    while path:
        page = admin.get(path).json()
        statuses.update({order["id"]: order["status"] for order in page["results"]})
        path = (page["next"] or "").partition("/api/v1")[2]
    return statuses
