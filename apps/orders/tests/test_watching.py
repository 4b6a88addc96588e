"""Following an order: who may, what it costs, and what ends it. (tests/test_tracking.py has the real server.)"""

import json
import logging
from collections.abc import Callable, Iterator
from http import HTTPStatus
from typing import Any
from unittest.mock import patch
from uuid import UUID

import pytest
from django.db import OperationalError
from pytest_django import DjangoCaptureOnCommitCallbacks, Settings

from apps.common import stopping
from apps.common.databases import alias_of
from apps.common.ids import new_id
from apps.orders.api import stream
from apps.orders.interface import (
    Actor,
    Order,
    OrderChange,
    OrderService,
    OrderStatus,
    OrderWatch,
    TimelineEntry,
    TooManyWatchers,
)
from apps.orders.payments.sandbox import SandboxProvider
from apps.orders.services import LocalOrderService, watching
from apps.orders.services.watching import Hub
from apps.orders.tests.factories import make_product, pay, place, ship
from apps.users.interface import Role
from config import services
from tests.flow import SESSION, LoggedIn, hang_up, sends

pytestmark = pytest.mark.django_db
LogIn = Callable[..., LoggedIn]
USER = UUID("01938d5e-0000-7000-8000-000000000001")
OWNER = Actor(user_id=USER)


class Still(Hub):
    """A hub that looks when the test says so: its thread would not see what the test has not committed."""

    def _run(self) -> None:
        pass


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Hub:
    monkeypatch.setattr(watching, "TICK_SECONDS", 0.01)
    return Still()


@pytest.fixture
def orders(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> OrderService:
    """The service whose streams the test drives."""
    service = LocalOrderService(products=services.products(), payments=SandboxProvider())
    service._hub = hub
    monkeypatch.setattr(services, "orders", lambda: service)
    return service


def watch(orders: OrderService, order: Order, after: int | None = None) -> OrderWatch:
    found = orders.watch_order(order_id=order.id, actor=OWNER, after=after)
    assert found is not None
    return found


def told(hub: Hub, watched: OrderWatch) -> list[tuple[int, str]]:
    """What there is to tell now."""
    hub.look()
    entries: list[TimelineEntry] = []
    for entry in watched:
        if entry is None:
            break
        entries.append(entry)
    return [(entry.sequence, entry.action) for entry in entries]


def new_order(stock: int = 10) -> Order:
    return place(USER, (make_product(stock=stock), 1))


def change(order: Order, times: int) -> None:
    for _ in range(times):
        services.orders().change_order(order_id=order.id, actor=OWNER, change=OrderChange(note="x"))


def test_the_present_comes_first_then_each_change_once(orders: OrderService, hub: Hub) -> None:
    order = pay(new_order())
    watched = watch(orders, order)
    assert told(hub, watched) == [(2, "pay")]
    assert told(hub, watched) == []
    ship(order)
    assert told(hub, watched) == [(3, "ship")]


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        (None, [(1, "place")]),
        (0, [(1, "place"), (2, "change")]),
        (1, [(2, "change")]),
        (2, []),
        (99, []),
    ],
)
def test_who_comes_again_is_told_the_rest(
    orders: OrderService, hub: Hub, after: int | None, expected: list[tuple[int, str]]
) -> None:
    order = new_order()
    if after is not None:
        change(order, 1)
    watched = watch(orders, order, after)
    assert told(hub, watched) == expected
    change(order, 1)
    last = max([sequence for sequence, _ in expected] or [2])
    assert told(hub, watched) == [(last + 1, "change")]


@pytest.mark.parametrize("count", [1, 7])
def test_one_statement_asks_for_all_and_one_tells_of_those_that_changed(
    orders: OrderService, hub: Hub, count: int
) -> None:
    placed = [new_order() for _ in range(count)]
    watched = [watch(orders, order, 1) for order in placed]
    with sends(1):
        hub.look()
    for order in placed:
        change(order, 2)
    with sends(2):
        hub.look()
    with sends(1):
        assert [told_now(each) for each in watched] == [[2, 3]] * count
        hub.look()


def told_now(watched: OrderWatch) -> list[int]:
    found = []
    while (entry := next(watched)) is not None:
        found.append(entry.sequence)
    return found


def test_it_ends_with_the_order_and_then_there_is_nothing_to_watch(orders: OrderService, hub: Hub) -> None:
    order = new_order()
    watched = watch(orders, order, 1)
    services.orders().cancel_order(order_id=order.id, actor=OWNER)
    hub.look()
    assert [entry and entry.status for entry in watched] == [OrderStatus.CANCELLED]
    assert orders.watch_order(order_id=order.id, actor=OWNER, after=2) is None
    assert told(hub, watch(orders, order)) == [(2, "cancel")]


def test_there_is_room_for_so_many(orders: OrderService, settings: Settings) -> None:
    settings.EVENT_STREAMS = 2
    order = new_order()
    first, _ = watch(orders, order), watch(orders, order)
    with pytest.raises(TooManyWatchers):
        watch(orders, order)
    first.close()
    first.close()
    watch(orders, order)
    with pytest.raises(TooManyWatchers):
        watch(orders, order)


def test_nobody_is_told_without_end(orders: OrderService, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "MOST_ENTRIES", 3)
    monkeypatch.setattr(watching, "_BATCH", 2)
    order = new_order()
    change(order, 5)
    watched = watch(orders, order, 1)
    for _ in range(4):
        hub.look()
    assert [entry and entry.sequence for entry in watched] == [2, 3, 4]
    assert told(hub, watch(orders, order, 4)) == [(5, "change"), (6, "change")]


def test_it_ends_after_a_while(orders: OrderService, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "LONGEST_SECONDS", -1.0)
    assert list(watch(orders, new_order())) == []


def test_a_database_that_is_away_ends_nothing(orders: OrderService, hub: Hub, caplog: pytest.LogCaptureFixture) -> None:
    order = new_order()
    watched = watch(orders, order, 1)
    change(order, 1)
    with patch("apps.orders.services.watching.connections.close_all"):
        with patch.object(hub, "look", side_effect=OperationalError("gone")):
            assert [hub._look_and_rest() for _ in range(3)] == [watching.TROUBLE_SECONDS] * 3
        assert next(watched) is None
        assert hub._look_and_rest() == watching.LOOK_SECONDS
    assert told(hub, watched) == [(2, "change")]
    gone, back = (record.getMessage() for record in caplog.records if record.levelno == logging.WARNING)
    assert gone == "The database of the orders that are watched does not answer (OperationalError: gone)"
    assert back.startswith("The database of the orders that are watched answers again")


@pytest.mark.django_db(transaction=True)
def test_the_thread_runs_only_while_somebody_watches() -> None:
    service = LocalOrderService(products=services.products(), payments=SandboxProvider())
    order = new_order()
    watched = service.watch_order(order_id=order.id, actor=OWNER)
    assert watched is not None
    thread = service._hub._thread
    assert thread is not None
    assert next_entry(watched).action == "place"
    pay(order)
    assert next_entry(watched).action == "pay"
    watched.close()
    thread.join(10)
    assert (thread.is_alive(), service._hub._thread) == (False, None)


@pytest.mark.django_db(transaction=True)
def test_a_process_that_stops_sends_everybody_away(monkeypatch: pytest.MonkeyPatch) -> None:
    service = LocalOrderService(products=services.products(), payments=SandboxProvider())
    watched = service.watch_order(order_id=new_order().id, actor=OWNER)
    assert watched is not None
    next_entry(watched)
    thread = service._hub._thread
    monkeypatch.setattr(stopping, "is_on", lambda: True)
    assert [entry for entry in watched if entry] == []
    assert thread is not None
    thread.join(10)
    watched.close()


def next_entry(watched: OrderWatch) -> TimelineEntry:
    """The next change, whatever time that takes."""
    return next(entry for entry in watched if entry is not None)


def test_who_never_came_back_gives_their_place_back(
    orders: OrderService, hub: Hub, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.EVENT_STREAMS = 1
    order = new_order()
    monkeypatch.setattr(watching, "LONGEST_SECONDS", -10.0)
    watch(orders, order)
    assert not hub._goes_on()
    watch(orders, order)


# --- Over REST -----------------------------------------------------------------------------------


@pytest.fixture
def customer(log_in: LogIn) -> LoggedIn:
    return log_in()


def chunks(response: Any) -> Iterator[str]:  # noqa: ANN401 - a test response
    """What is sent, one write after the other, without those that send nothing."""
    assert (response.status_code, response["Content-Type"]) == (200, "text/event-stream")
    return (chunk.decode() for chunk in response.streaming_content if chunk)


def test_events_read_as_promised(customer: LoggedIn, orders: OrderService, hub: Hub) -> None:
    order = place(customer.user.id, (make_product(), 1))
    response = customer.get(f"/api/v1/orders/{order.id}/events", headers={"Accept": "text/event-stream"})
    assert (response["Cache-Control"], response["X-Accel-Buffering"]) == ("no-store", "no")
    sent = chunks(response)
    assert next(sent) == "retry: 2000\n\n"
    services.orders().cancel_order(order_id=order.id, actor=Actor(user_id=customer.user.id), reason="a\nb")
    hub.look()
    placed, cancelled = sent
    assert placed.startswith("event: status\nid: 1\ndata: {")
    head, _, data = cancelled.partition("data: ")
    assert (head, data.count("\n"), data[-2:]) == ("event: status\nid: 2\n", 2, "\n\n")
    timeline = customer.get(f"/api/v1/orders/{order.id}/timeline").json()
    assert json.loads(data) == {"order_id": str(order.id), **timeline[1]}
    again = customer.get(f"/api/v1/orders/{order.id}/events", headers={"Last-Event-ID": "2"})
    assert (again.status_code, again["Cache-Control"]) == (HTTPStatus.NO_CONTENT, "no-store")


@pytest.mark.parametrize("last", ["lamp", "-1", "1" * 5000, "", "٣"])
def test_a_last_event_id_that_is_none_of_ours_is_none(
    customer: LoggedIn, orders: OrderService, hub: Hub, last: str
) -> None:
    order = pay(place(customer.user.id, (make_product(), 1)))
    response = customer.get(f"/api/v1/orders/{order.id}/events", headers={"Last-Event-ID": last})
    sent = chunks(response)
    next(sent)
    hub.look()
    assert next(sent).startswith("event: status\nid: 2\n")
    hang_up(response)


def test_a_heartbeat_is_a_comment(
    customer: LoggedIn, orders: OrderService, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "HEARTBEAT_SECONDS", 0)
    order = place(customer.user.id, (make_product(), 1))
    response = customer.get(f"/api/v1/orders/{order.id}/events", headers={"Last-Event-ID": "1"})
    sent = chunks(response)
    assert [next(sent), next(sent), next(sent)] == ["retry: 2000\n\n", ": still here\n\n", ": still here\n\n"]
    hang_up(response)


def test_a_log_out_ends_it_before_anything_more_is_told(
    customer: LoggedIn,
    orders: OrderService,
    hub: Hub,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    order = place(customer.user.id, (make_product(), 1))
    response = customer.get(f"/api/v1/orders/{order.id}/events", headers={"Last-Event-ID": "1"})
    sent = chunks(response)
    next(sent)
    (session,) = services.users().list_sessions(user_id=customer.user.id)
    with django_capture_on_commit_callbacks(using=alias_of("users"), execute=True):
        services.users().log_out(user_id=customer.user.id, session_id=session.id)
    pay(order)
    hub.look()
    assert list(sent) == []


def test_refusals_are_json_whatever_is_asked_for(
    customer: LoggedIn, log_in: LogIn, orders: OrderService, settings: Settings
) -> None:
    settings.EVENT_STREAMS = 1
    order = place(customer.user.id, (make_product(), 1))
    url, asked = f"/api/v1/orders/{order.id}/events", {"Accept": "text/event-stream"}
    unknown = log_in().get(url, headers=asked)
    assert (unknown.status_code, unknown.json()["errors"][0]["code"]) == (404, "order_not_found")
    open_one = log_in(Role.ORDER_STAFF).get(url, headers=asked)
    full = customer.get(url, headers=asked)
    assert (full.status_code, full["Retry-After"], full["Content-Type"]) == (503, "15", "application/json")
    assert full.json()["errors"][0]["code"] == "too_many_watchers"
    hang_up(open_one)
    free = customer.get(url, headers=asked)
    assert free.status_code == 200
    hang_up(free)


def test_opening_costs_one_statement(customer: LoggedIn, orders: OrderService) -> None:
    order = place(customer.user.id, (make_product(), 1))
    with sends(SESSION + 1):
        response = customer.get(f"/api/v1/orders/{order.id}/events")
    hang_up(response)


def test_an_unknown_order_is_not_found(customer: LoggedIn, orders: OrderService) -> None:
    assert customer.get(f"/api/v1/orders/{new_id()}/events").status_code == 404
