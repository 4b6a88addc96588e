"""Orders followed live, as clients meet it: the real server, streams that stay open, and what ends them."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from queue import Queue
from urllib.parse import urlsplit

import pytest

from tests.outage import door
from tests.services import new_postgres_database
from tests.shop import Client, Shop, open_shop

pytestmark = pytest.mark.e2e

STREAMS = 3


@dataclass(frozen=True)
class Told:
    """An event as it came."""

    id: str
    event: str
    data: dict[str, str]


class Follower:
    """A client that reads a stream of events, in a thread of its own, until it ends."""

    def __init__(self, client: Client, order_id: str, last_event_id: str | None = None) -> None:
        url = urlsplit(client._url)
        headers = {"Accept": "text/event-stream", "Authorization": str(client._session.headers["Authorization"])}
        if last_event_id:
            headers["Last-Event-ID"] = last_event_id
        self._connection = HTTPConnection(str(url.hostname), url.port, timeout=40)
        self._connection.request("GET", f"{url.path}/orders/{order_id}/events", headers=headers)
        self._socket = self._connection.sock
        self.response = self._connection.getresponse()
        self.events: Queue[Told | None] = Queue()
        self.was_ended = False
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    @property
    def status(self) -> int:
        return self.response.status

    def next(self) -> Told | None:
        """The next event; None at the end, which is the server's own (`was_ended`) or that of the connection."""
        return self.events.get(timeout=30)

    def leave(self) -> None:
        """Close the connection, as a browser does whose page is left."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(10)
        self.response.close()
        self._connection.close()

    def _read(self) -> None:
        fields: dict[str, str] = {}
        with suppress(OSError, HTTPException):
            while line := self.response.readline().decode():
                name, _, value = line.rstrip("\n").partition(": ")
                if name:
                    fields[name] = value
                elif "data" in fields:
                    self.events.put(Told(fields["id"], fields["event"], json.loads(fields["data"])))
                    fields = {}
            # After the last chunk there is none left; http.client says nothing of a connection that ends before it.
            self.was_ended = self.response.chunk_left is None
        self.events.put(None)


@contextmanager
def following(client: Client, order_id: str, last_event_id: str | None = None) -> Iterator[Follower]:
    """A follower for whom there was room: those of the test before may not have been missed yet."""
    deadline = time.monotonic() + 10
    follower = Follower(client, order_id, last_event_id)
    while follower.status == 503 and time.monotonic() < deadline:
        follower.leave()
        time.sleep(0.2)
        follower = Follower(client, order_id, last_event_id)
    try:
        yield follower
    finally:
        follower.leave()


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    with open_shop(tmp_path_factory.mktemp("shop"), EVENT_STREAMS=str(STREAMS), WEB_THREADS="2") as running:
        yield running


@pytest.fixture(scope="module")
def admin(shop: Shop) -> Client:
    return shop.admin()


@pytest.fixture
def customer(shop: Shop) -> Client:
    return shop.customer()


@pytest.fixture
def order(admin: Client, customer: Client) -> str:
    placed: str = customer.order(admin.product(stock=10)).json()["id"]
    return placed


def test_each_change_is_told_once_in_order(admin: Client, customer: Client, order: str) -> None:
    with following(customer, order) as follower:
        assert (follower.status, follower.response.headers["Content-Type"]) == (200, "text/event-stream")
        told = [follower.next()]
        customer.pay(order)
        told.append(follower.next())
        admin.post(f"/orders/{order}/ship", {"reason": "van 7"})
        told.append(follower.next())
        admin.post(f"/orders/{order}/deliver")
        told.append(follower.next())
        admin.post(f"/orders/{order}/refund")
        told.append(follower.next())
        assert follower.next() is None
    assert [(each.id, each.event, each.data["status"]) for each in told if each] == [
        ("1", "status", "pending"),
        ("2", "status", "paid"),
        ("3", "status", "shipped"),
        ("4", "status", "delivered"),
        ("5", "status", "refunded"),
    ]
    with following(customer, order, "5") as nothing:
        assert nothing.status == 204


def test_who_comes_again_misses_nothing(admin: Client, customer: Client, order: str) -> None:
    with following(customer, order) as follower:
        first = follower.next()
    assert first is not None
    customer.pay(order)
    admin.post(f"/orders/{order}/ship")
    with following(customer, order, first.id) as follower:
        assert [each.data["status"] for each in (follower.next(), follower.next()) if each] == ["paid", "shipped"]


def test_streams_leave_requests_their_threads(customer: Client, order: str) -> None:
    with ExitStack() as stack:
        for _ in range(STREAMS):
            assert stack.enter_context(following(customer, order)).status == 200
        refused = Follower(customer, order)
        assert (refused.status, refused.response.headers["Retry-After"]) == (503, "15")
        assert refused.response.headers["Content-Type"] == "application/json"
        refused.leave()
        assert [customer.get(f"/orders/{order}").status_code for _ in range(10)] == [200] * 10


def test_clients_that_have_gone_make_room(customer: Client, order: str) -> None:
    for _ in range(5 * STREAMS):
        with following(customer, order) as follower:
            assert follower.status == 200


def test_a_log_out_ends_the_stream(customer: Client, order: str) -> None:
    with following(customer, order) as follower:
        assert follower.next()
        customer.post("/users/logout")
        assert follower.next() is None


def test_a_server_that_stops_ends_its_streams(tmp_path: Path) -> None:
    with open_shop(tmp_path) as shop:
        customer = shop.customer()
        order_id = customer.order(shop.admin().product(stock=1)).json()["id"]
        with ExitStack() as stack:
            followers = [stack.enter_context(following(customer, order_id)) for _ in range(5)]
            assert [follower.next() is not None for follower in followers] == [True] * 5
            assert shop.stop() == 0
            assert [follower.next() for follower in followers] == [None] * 5
            # Had they kept the worker waiting, granian would have killed it, and cut them off. (Its word for that in
            # the log is no proof: on a busy machine it "kills" workers that have just ended.)
            assert [follower.was_ended for follower in followers] == [True] * 5


@pytest.mark.once
def test_a_database_that_goes_away_ends_no_stream(tmp_path: Path) -> None:
    with (
        new_postgres_database() as url,
        door(url, default_port=5432) as opened,
        open_shop(tmp_path, DATABASE_URL=opened.url) as shop,
    ):
        customer = shop.customer()
        order_id = customer.order(shop.admin().product(stock=1)).json()["id"]
        with following(customer, order_id) as follower:
            assert follower.next()
            opened.down()
            shop.eventually(lambda: "orders that are watched does not answer" in shop.log.read_text())
            opened.up()
            shop.eventually(lambda: customer.pay(order_id).status_code == 200)
            paid = follower.next()
        assert paid is not None
        assert paid.data["status"] == "paid"
        assert shop.log.read_text().count("orders that are watched does not answer") == 1
