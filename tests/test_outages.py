"""A server goes away for ten seconds while customers buy: the shop answers what it can, and recovers by itself."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import cache

import pytest
import requests

from tests.journeys import import_and_find, sixteen_buyers_of_fifty_lamps, walk_through
from tests.load import Answer, Shopper, shoppers
from tests.outage import World, five_minutes_later, open_world

pytestmark = [pytest.mark.e2e, pytest.mark.once]

AWAY_SECONDS = 10
# Whatever is away, nobody waits longer than that for an answer.
LONGEST = 5


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], World]]:
    """One shop for each broker; it goes through one outage after another."""
    with ExitStack() as stack:
        yield cache(lambda broker: stack.enter_context(open_world(tmp_path_factory.mktemp(broker), broker)))


@pytest.fixture
def world(request: pytest.FixtureRequest, worlds: Callable[[str], World]) -> World:
    return worlds(request.param)


@pytest.mark.parametrize(
    ("world", "server", "name"),
    [
        ("rabbitmq", "REDIS_URL", "Redis"),
        ("rabbitmq", "BROKER_URL", "The broker"),
        ("redis", "BROKER_URL", "The broker"),
    ],
    indirect=["world"],
)
def test_customers_do_not_notice_that_a_helper_is_away(world: World, server: str, name: str) -> None:
    begin = len(_log(world))
    with shoppers(world.shop, world.lamp) as crowd:
        _each_buys(world, crowd)
        away = _without(world, server)
        _each_buys(world, crowd)
    answers = _answers(crowd)
    assert {answer.status for answer in answers} == {200, 201}
    assert {answer.what for answer in _during(away, answers)} == {"browse", "place", "pay"}
    _has_recovered(world, crowd)
    # Each process that needs the server says so once, if it was asked for something meanwhile.
    world.shop.eventually(lambda: _buys(world) == (201, 200) and _said(world, begin, name)[1] > 0)
    gone, back = _said(world, begin, name)
    assert 1 <= back <= gone <= len(world.shop.processes())
    assert "Exception ignored" not in _log(world)


@pytest.mark.parametrize("world", ["rabbitmq"], indirect=True)
def test_without_its_database_the_shop_says_when_to_ask_again(world: World) -> None:
    begin = len(_log(world))
    with shoppers(world.shop, world.lamp) as crowd:
        _each_buys(world, crowd)
        away = _without(world, "DATABASE_URL", lambda: _pages_without_a_database(world))
        assert _buys(world) == (201, 200)
    answers = _answers(crowd)
    assert {answer.status for answer in answers} <= {200, 201, 409, 503}
    assert {answer.status for answer in _during(away, answers)} == {503}
    for answer in answers:
        if answer.status == 503:
            _says_when_to_come_back(answer.response)
    _has_recovered(world, crowd)
    assert _said(world, begin, "The relay's database") == (1, 1)


@pytest.mark.parametrize("world", ["redis"], indirect=True)
def test_without_its_documents_the_shop_goes_on_with_the_orders_that_it_has(world: World) -> None:
    customer = world.shop.customer()
    paid_meanwhile, cancelled_meanwhile = (customer.order(world.lamp).json()["id"] for _ in range(2))

    def look() -> None:
        assert customer.get(f"/orders/{paid_meanwhile}").status_code == 200
        assert customer.pay(paid_meanwhile).json()["status"] == "paid"
        assert customer.post(f"/orders/{cancelled_meanwhile}/cancel").json()["status"] == "cancelled"
        ready = requests.get(f"{world.shop.url}/ready", timeout=LONGEST)
        assert ready.status_code == 503
        assert ready.json()["checks"]["catalogue"] in {"unavailable", "no answer in time"}

    with shoppers(world.shop, world.lamp) as crowd:
        _each_buys(world, crowd)
        away = _without(world, "MONGODB_URL", look)
        assert _buys(world) == (201, 200)
    answers = _answers(crowd)
    assert {answer.status for answer in answers} <= {200, 201, 409, 503}
    during = [answer for answer in _during(away, answers) if answer.what != "pay"]
    assert {answer.status for answer in during} == {503}
    for answer in during:
        _says_when_to_come_back(answer.response)
    _has_recovered(world, crowd)


@pytest.mark.parametrize("world", ["rabbitmq", "redis"], indirect=True)
class TestOnEveryServer:
    """On PostgreSQL, MongoDB and Redis, with each broker and its worker."""

    def test_the_walk_through(self, world: World) -> None:
        walk_through(world.shop, world.admin)

    def test_sixteen_buyers_of_fifty_lamps(self, world: World) -> None:
        sixteen_buyers_of_fifty_lamps(world.shop, world.admin)

    def test_import_and_find(self, world: World) -> None:
        import_and_find(world.shop, world.admin)


def _without(world: World, server: str, look: Callable[[], None] = lambda: None) -> tuple[float, float]:
    """Take the server away for a while, look around meanwhile, and tell when it surely was away."""
    world.doors[server].down()
    begin = time.monotonic()
    look()
    time.sleep(max(0, begin + AWAY_SECONDS - time.monotonic()))
    end = time.monotonic()
    world.doors[server].up()
    # What was under way at the first moment had asked its last question before.
    return begin + 1, end


def _pages_without_a_database(world: World) -> None:
    """Everything that is not the API: alive, not ready, and a page that says so for whoever wanted a page."""
    assert requests.get(f"{world.shop.url}/health", timeout=LONGEST).json() == {"status": "ok"}
    ready = requests.get(f"{world.shop.url}/ready", timeout=LONGEST)
    states = ready.json()["checks"]
    assert (ready.status_code, states["orders_database"], states["cache"]) == (503, "unavailable", "ok")
    # Neither the cache nor a glance at the cookie can tell whose session this is.
    staff = {"Cookie": f"sessionid={'a' * 32}"}
    page = requests.get(f"{world.shop.url}/admin/", headers={**staff, "Accept": "text/html"}, timeout=LONGEST)
    assert (page.status_code, page.headers["Retry-After"]) == (503, "5")
    assert page.headers["Content-Type"].startswith("text/html")
    assert "did not answer" in page.text
    _says_when_to_come_back(requests.get(f"{world.shop.url}/admin/", headers=staff, timeout=LONGEST))


def _says_when_to_come_back(answer: requests.Response) -> None:
    assert answer.headers["Retry-After"] == "5"
    sentence = "The shop's database did not answer. Try again in a moment."
    error = {"code": "database_unavailable", "detail": sentence, "attr": None}
    assert answer.json() == {"type": "server_error", "errors": [error]}


def _has_recovered(world: World, crowd: Sequence[Shopper]) -> None:
    """By itself: nothing that was promised is lost, nothing was done twice, and no answer gave anything away."""
    answers = _answers(crowd)
    assert max(answer.seconds for answer in answers) < LONGEST
    assert [answer.what for answer in answers if "Traceback" in answer.response.text] == []
    with five_minutes_later(world):
        world.shop.eventually(world.is_settled, seconds=100)
    paid = {order_id for shopper in crowd for order_id in shopper.paid}
    known = {str(order_id) for (order_id,) in world.rows("SELECT id FROM orders_order WHERE status = 'paid'")}
    assert paid
    assert paid <= known
    world.shop.eventually(lambda: requests.get(f"{world.shop.url}/ready", timeout=LONGEST).ok)
    world.shop.manage("audit")
    assert "Internal Server Error" not in _log(world)


def _each_buys(world: World, crowd: Sequence[Shopper]) -> None:
    """Wait until each of them has bought once more."""
    before = [len(shopper.paid) for shopper in crowd]
    world.shop.eventually(
        lambda: all(len(shopper.paid) > count for shopper, count in zip(crowd, before, strict=True)), seconds=30
    )


def _buys(world: World) -> tuple[int, int]:
    """What somebody who has just come is answered to an order and its payment."""
    customer = world.shop.customer()
    order = customer.order(world.lamp)
    return order.status_code, customer.pay(order.json()["id"]).status_code


def _answers(crowd: Sequence[Shopper]) -> list[Answer]:
    return [answer for shopper in crowd for answer in shopper.answers]


def _during(away: tuple[float, float], answers: Sequence[Answer]) -> list[Answer]:
    """Those whose question and answer both fell into that time."""
    begin, end = away
    return [answer for answer in answers if begin < answer.began and answer.began + answer.seconds < end]


def _said(world: World, begin: int, name: str) -> tuple[int, int]:
    """How often the log says since then that the server is away, and that it is back."""
    log = _log(world)[begin:]
    return log.count(f"{name} does not answer"), log.count(f"{name} answers again")


def _log(world: World) -> str:
    return world.shop.log.read_text()
