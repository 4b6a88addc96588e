"""The reports: exact figures in any time zone, counted by events that may come twice, late or never."""

import csv
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from io import StringIO
from itertools import pairwise, permutations
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
import time_machine
from celery import current_app
from django.core.management import CommandError, call_command
from django.db import connections
from django.db.models import F

from apps.common.databases import alias_of
from apps.common.ids import new_id
from apps.events.models import FailedDelivery, OutboxEvent
from apps.orders import models
from apps.orders.interface import SYSTEM, Actor, Order, OrderChange
from apps.orders.reports import counting
from apps.orders.reports.counting import count_orders
from apps.orders.reports.facts import start_of
from apps.orders.reports.periods import Days, Interval, Part, Stretch, cover, midnight, periods
from apps.orders.reports.rebuilding import differences
from apps.orders.spans import Span
from apps.orders.tests.factories import make_product, pay, place, ship
from apps.products.interface import Product, ProductChange, StockLine
from apps.users.interface import Role
from config import services
from tests.flow import SESSION, LoggedIn, deliver_events, everything_stored, sends

pytestmark = pytest.mark.django_db

USER = UUID("01938d5e-0000-7000-8000-000000000001")
KEPT = (models.SalesBucket, models.StatusBucket, models.ProductSales)
REPORTS = "/api/v1/orders/reports"


@pytest.fixture
def staff(log_in: Callable[..., LoggedIn]) -> LoggedIn:
    return log_in(Role.ORDER_STAFF)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def sell(at: str, *lines: tuple[Product, int], placed: str | None = None) -> Order:
    """An order that was placed and paid at these times, in UTC."""
    order = place(USER, *lines)
    models.Order.objects.filter(pk=order.id).update(created_at=utc(placed or at))
    paid = pay(order)
    models.Payment.objects.filter(order=order.id).update(paid_at=utc(at))
    return paid


def refund(order: Order, at: str) -> None:
    services.orders().refund_order(order_id=order.id, actor=SYSTEM)
    models.Refund.objects.filter(order=order.id).update(refunded_at=utc(at))


def ask(staff: LoggedIn, report: str, **query: str) -> dict[str, Any]:
    response = staff.get(f"{REPORTS}/{report}", {key.rstrip("_"): value for key, value in query.items()})
    assert response.status_code == 200, response.content
    answer: dict[str, Any] = response.json()
    return answer


def figures(rows: Sequence[dict[str, Any]], *names: str) -> list[tuple[Any, ...]]:
    return [tuple(row[name] for name in names) for row in rows]


def sold(rows: Sequence[dict[str, Any]]) -> list[tuple[Any, ...]]:
    """Period, orders and amount of the rows in which anything was sold."""
    return figures([row for row in rows if row["orders"]], "period", "orders", "amount")


def kept() -> dict[str, list[tuple[Any, ...]]]:
    """All sums, without the rows that came to nothing."""
    rows = {model.__name__: model._default_manager.exclude(orders=0).values_list() for model in KEPT}
    return {name: sorted(row[1:] for row in found) for name, found in rows.items()}


def told(order: Order) -> list[OutboxEvent]:
    return list(OutboxEvent.objects.using(alias_of("orders")).filter(subject=order.id).order_by("sequence"))


def deliver(*events: OutboxEvent) -> None:
    messages = [event.to_event().to_message() for event in events]
    current_app.tasks["orders.count_sales"].apply_async(args=(messages,))


def check() -> list[str]:
    return list(differences())


# Figures


def test_sales_are_told_day_by_day_with_their_refunds(staff: LoggedIn) -> None:
    lamp, vase = make_product(price="10.00"), make_product(name="Vase", price="2.50")
    sell("2026-03-02 10:00", (lamp, 2), (vase, 1))
    back = sell("2026-03-02 23:59:59.999999", (lamp, 1))
    sell("2026-03-04 00:00", (vase, 3))
    refund(back, "2026-03-04 12:00")
    deliver_events()

    report = ask(staff, "sales", from_="2026-03-02", to="2026-03-04")

    names = ("period", "currency", "orders", "units", "amount", "refunds", "refunded_amount", "net", "average_order")
    assert figures(report["results"], *names) == [
        ("2026-03-02", "USD", 2, 4, "32.50", 0, "0.00", "32.50", "16.25"),
        ("2026-03-03", "USD", 0, 0, "0.00", 0, "0.00", "0.00", "0.00"),
        ("2026-03-04", "USD", 1, 3, "7.50", 1, "10.00", "-2.50", "7.50"),
    ]
    assert figures(report["totals"], *names[1:]) == [("USD", 3, 7, "40.00", 1, "10.00", "30.00", "13.33")]
    assert (report["from"], report["to"], report["tz"]) == ("2026-03-02T00:00:00Z", "2026-03-05T00:00:00Z", "UTC")
    assert check() == []


def test_a_refund_counts_when_it_is_made_and_the_sale_stays_where_it_was(staff: LoggedIn) -> None:
    order = sell("2026-01-31 12:00", (make_product(price="10.00"), 1))
    refund(order, "2026-02-01 00:00")
    deliver_events()

    rows = ask(staff, "sales", from_="2026-01-01", to="2026-02-28", interval="month")["results"]

    assert figures(rows, "period", "orders", "amount", "refunds", "refunded_amount", "net") == [
        ("2026-01", 1, "10.00", 0, "0.00", "10.00"),
        ("2026-02", 0, "0.00", 1, "10.00", "-10.00"),
    ]


@pytest.mark.parametrize(
    ("zone", "at", "day"),
    [
        ("Europe/Berlin", "2026-03-28 22:59:59", "2026-03-28"),
        ("Europe/Berlin", "2026-03-28 23:00", "2026-03-29"),  # a day of 23 hours
        ("Europe/Berlin", "2026-03-29 21:59:59", "2026-03-29"),
        ("Europe/Berlin", "2026-03-29 22:00", "2026-03-30"),
        ("Europe/Berlin", "2026-10-24 22:00", "2026-10-25"),  # a day of 25 hours
        ("Europe/Berlin", "2026-10-25 22:59:59", "2026-10-25"),
        ("Europe/Berlin", "2026-10-25 23:00", "2026-10-26"),
        ("Asia/Kathmandu", "2026-05-01 18:14:59", "2026-05-01"),  # 5:45 ahead
        ("Asia/Kathmandu", "2026-05-01 18:15", "2026-05-02"),
        ("Australia/Lord_Howe", "2026-04-04 13:00", "2026-04-05"),  # the clocks go back by half an hour
        ("Australia/Lord_Howe", "2026-04-05 13:29:59", "2026-04-05"),
        ("Australia/Lord_Howe", "2026-04-05 13:30", "2026-04-06"),
        ("America/Santiago", "2026-09-06 03:59:59", "2026-09-05"),  # midnight is skipped
        ("America/Santiago", "2026-09-06 04:00", "2026-09-06"),
        ("Pacific/Kiritimati", "2026-01-01 10:00", "2026-01-02"),
        ("America/St_Johns", "2026-01-01 03:29:59", "2025-12-31"),
    ],
)
def test_a_sale_is_in_the_day_of_the_time_zone(staff: LoggedIn, zone: str, at: str, day: str) -> None:
    sell(at, (make_product(price="10.00"), 1))
    deliver_events()
    around = date.fromisoformat(day)
    query = {"from_": str(around - timedelta(days=3)), "to": str(around + timedelta(days=3)), "tz": zone}

    rows = ask(staff, "sales", **query)["results"]

    assert sold(rows) == [(day, 1, "10.00")]
    assert [row["period"] for row in rows] == [str(around + timedelta(days=days)) for days in range(-3, 4)]
    # The same sale, and nothing else, from the orders and from the sums of days.
    for report in ("products", "status"):
        one_day = ask(staff, report, from_=day, to=day, tz=zone)["results"]
        assert sum(row["orders"] for row in one_day) == 1
        before = str(around - timedelta(days=1))
        assert sum(row["orders"] for row in ask(staff, report, from_=before, to=before, tz=zone)["results"]) == 0


def test_the_first_and_last_week_are_cut_off_where_asked(staff: LoggedIn) -> None:
    lamp = make_product(price="10.00")
    for at in ("2025-12-31 23:59", "2026-01-01 00:00", "2026-01-04 23:59", "2026-01-05 00:00", "2026-01-07 00:00"):
        sell(at, (lamp, 1))
    deliver_events()

    rows = ask(staff, "sales", from_="2026-01-01", to="2026-01-06", interval="week")["results"]

    assert figures(rows, "period", "starts_at", "ends_at", "orders") == [
        ("2026-W01", "2026-01-01T00:00:00Z", "2026-01-05T00:00:00Z", 2),
        ("2026-W02", "2026-01-05T00:00:00Z", "2026-01-07T00:00:00Z", 1),
    ]


def test_times_are_exact_to_the_microsecond_in_every_report(staff: LoggedIn) -> None:
    lamp = make_product(price="10.00")
    times = ("2026-05-01 10:07:00", "2026-05-01 10:07:00.000001", "2026-05-01 10:08", "2026-05-03 17:01:59.999999")
    for at in times:
        sell(at, (lamp, 1))
    refund(sell("2026-04-01 00:00", (lamp, 1)), "2026-05-03 17:01")
    sell("2026-05-03 17:02", (lamp, 1))
    deliver_events()
    query = {"from_": "2026-05-01T10:07:00.000001Z", "to": "2026-05-03T19:02:00+02:00"}

    sales = ask(staff, "sales", **query)

    assert figures(sales["totals"], "orders", "units", "amount", "refunds", "refunded_amount") == [
        (3, 3, "30.00", 1, "10.00")
    ]
    assert [row["orders"] for row in sales["results"]] == [2, 0, 1]
    assert figures(ask(staff, "products", **query)["results"], "orders", "units", "amount") == [(3, 3, "30.00")]
    placed = [row for row in ask(staff, "status", **query)["results"] if row["orders"]]
    assert figures(placed, "status", "orders", "amount") == [("paid", 3, "30.00")]
    # All within one quarter of an hour.
    short = ask(staff, "sales", from_="2026-05-01T10:07:00Z", to="2026-05-01T10:07:00.000002Z")
    assert figures(short["totals"], "orders", "amount") == [(2, "20.00")]


def test_currencies_are_never_added_up(staff: LoggedIn) -> None:
    sell("2026-05-01 10:00", (make_product(price="10.00"), 1))
    sell("2026-05-01 10:00", (make_product(price="1000", currency="JPY", sku="YEN"), 2))
    deliver_events()
    day = {"from_": "2026-05-01", "to": "2026-05-01"}

    names = ("currency", "orders", "amount", "average_order")
    both = [("JPY", 1, "2000", "2000"), ("USD", 1, "10.00", "10.00")]
    assert figures(ask(staff, "sales", **day)["results"], *names) == both
    assert figures(ask(staff, "sales", **day)["totals"], *names) == both
    assert figures(ask(staff, "sales", currency="jpy", **day)["results"], *names) == both[:1]
    products = ask(staff, "products", **day)["results"]
    assert figures(products, "currency", "units", "amount") == [("JPY", 2, "2000"), ("USD", 1, "10.00")]
    assert figures(ask(staff, "products", currency="JPY", **day)["results"], "sku") == [("YEN",)]
    statuses = [row for row in ask(staff, "status", currency="USD", **day)["results"] if row["orders"]]
    assert figures(statuses, "currency", "status", "amount") == [("USD", "paid", "10.00")]


def test_without_any_sale_every_period_is_zero_in_the_currency_of_the_shop(staff: LoggedIn) -> None:
    rows = ask(staff, "sales", from_="2026-02-27", to="2026-03-01")["results"]
    assert figures(rows, "period", "currency", "orders", "average_order") == [
        (day, "USD", 0, "0.00") for day in ("2026-02-27", "2026-02-28", "2026-03-01")
    ]
    assert ask(staff, "products")["results"] == []
    asked = ask(staff, "sales", from_="2026-03-01", to="2026-03-01", currency="KWD")["results"]
    assert figures(asked, "currency", "amount") == [("KWD", "0.000")]
    statuses = ask(staff, "status")["results"]
    assert figures(statuses, "status", "orders") == [
        (name, 0) for name in ("pending", "paid", "shipped", "delivered", "cancelled", "expired", "refunded")
    ]


def test_unless_asked_otherwise_the_last_thirty_days_are_told_of(staff: LoggedIn) -> None:
    with time_machine.travel("2026-11-23T22:30:00Z", tick=False):
        staff.force_authenticate(staff.user)
        here, there = ask(staff, "sales"), ask(staff, "sales", tz="Asia/Tokyo")
    assert [len(each["results"]) for each in (here, there)] == [30, 30]
    assert (here["results"][0]["period"], here["results"][-1]["period"]) == ("2026-10-25", "2026-11-23")
    assert (there["results"][0]["period"], there["results"][-1]["period"]) == ("2026-10-26", "2026-11-24")


def test_products_are_ranked_within_their_currency_and_called_as_last_ordered(staff: LoggedIn) -> None:
    lamp = make_product(price="10.00", sku="L-1", stock=100)
    vase = make_product(name="Vase", price="1.00", sku="V-1", stock=100)
    yen = make_product(name="Fan", price="500", currency="JPY", sku="F-1")
    sell("2026-01-15 10:00", (lamp, 1), (vase, 4))
    services.products().update_product(product_id=lamp.id, change=ProductChange(name="Brass lamp"))
    sell("2026-02-15 10:00", (lamp, 1))
    sell("2026-03-15 10:00", (yen, 1))
    services.products().delete_product(product_id=vase.id)
    deliver_events()
    query = {"from_": "2026-01-10", "to": "2026-03-20"}

    names = ("product_id", "name", "sku", "currency", "orders", "units", "amount")
    fan = (str(yen.id), "Fan", "F-1", "JPY", 1, 1, "500")
    lamps = (str(lamp.id), "Brass lamp", "L-1", "USD", 2, 2, "20.00")
    vases = (str(vase.id), "Vase", "V-1", "USD", 1, 4, "4.00")
    for ordering, wanted in {
        "": [fan, lamps, vases],
        "amount": [fan, vases, lamps],
        "-units": [fan, vases, lamps],
        "units": [fan, lamps, vases],
    }.items():
        assert figures(ask(staff, "products", ordering=ordering, **query)["results"], *names) == wanted
    assert figures(ask(staff, "products", limit="1", **query)["results"], *names) == [fan, lamps]


def test_months_days_and_ends_are_read_without_a_gap_or_twice(staff: LoggedIn) -> None:
    lamp = make_product(price="1.00", stock=1000)
    times = [utc("2025-12-30 00:00") + timedelta(hours=37 * number) for number in range(60)]
    for at in times:
        sell(at.strftime("%Y-%m-%d %H:%M"), (lamp, 1))
    deliver_events()
    for begin, end in ((times[0], times[-1]), (times[3], times[4]), (times[2], times[40]), (times[5], times[6])):
        query = {"from_": begin.isoformat(), "to": (end + timedelta(minutes=1)).isoformat()}
        wanted = sum(begin <= at <= end for at in times)
        assert [row["units"] for row in ask(staff, "products", **query)["results"]] == [wanted]
        assert sum(row["orders"] for row in ask(staff, "status", **query)["results"]) == wanted
        assert [row["orders"] for row in ask(staff, "sales", interval="month", **query)["totals"]] == [wanted]


def test_orders_are_told_of_by_where_they_stand_now(staff: LoggedIn) -> None:
    lamp = make_product(price="10.00", stock=100)
    with time_machine.travel("2026-05-01T10:00:00Z", tick=False):
        place(USER, (lamp, 1))
        services.orders().cancel_order(order_id=place(USER, (lamp, 2)).id, actor=SYSTEM)
        services.orders().cancel_order(order_id=pay(place(USER, (lamp, 3))).id, actor=SYSTEM)
        ship(pay(place(USER, (lamp, 4))))
        deliver_events()
    rows = ask(staff, "status", from_="2026-05-01", to="2026-05-01")["results"]
    assert figures([row for row in rows if row["orders"]], "status", "orders", "amount") == [
        ("pending", 1, "10.00"),
        ("shipped", 1, "40.00"),
        ("cancelled", 2, "50.00"),
    ]
    # What was paid and then cancelled was a sale, and went back.
    totals = ask(staff, "sales", from_="2026-05-01", to="2026-05-01")["totals"]
    assert figures(totals, "orders", "amount", "refunds", "net") == [(2, "70.00", 1, "40.00")]


# Counting


def test_an_order_that_changes_counts_as_it_is_now(staff: LoggedIn) -> None:
    lamp, vase = make_product(price="10.00"), make_product(name="Vase", price="2.00")
    order = place(USER, (lamp, 2))
    deliver_events()
    change = OrderChange(lines=[StockLine(product_id=vase.id, quantity=3)])
    services.orders().change_order(order_id=order.id, actor=Actor(user_id=USER), change=change)
    deliver_events()
    assert [(row.status, row.orders, row.amount) for row in models.StatusBucket.objects.all()] == [
        ("pending", 1, Decimal("6.00"))
    ]
    assert not models.ProductSales.objects.exists()
    pay(order)
    deliver_events()
    assert {row.product_id for row in models.ProductSales.objects.all()} == {vase.id}
    assert [(row.orders, row.units, row.amount) for row in models.SalesBucket.objects.all()] == [
        (1, 3, Decimal("6.00"))
    ]
    assert check() == []


def test_events_in_any_order_and_number_count_once() -> None:
    order = ship(pay(place(USER, (make_product(price="10.00"), 2))))
    services.orders().refund_order(order_id=order.id, actor=SYSTEM)
    events = told(order)
    assert [event.type for event in events] == ["order.created", "order.paid", "order.shipped", "order.refunded"]
    deliver(*events)
    wanted = kept()
    assert [len(rows) for rows in wanted.values()] == [1, 1, 3]
    for turn in permutations(events):
        for model in (*KEPT, models.CountedOrder):
            model._default_manager.all().delete()
        deliver(*turn, *turn)
        count_orders([order.id])
        assert kept() == wanted
    assert not FailedDelivery.objects.using(alias_of("orders")).exists()


def test_an_order_that_nobody_knows_counts_for_nothing() -> None:
    count_orders([new_id()])
    assert kept() == {model.__name__: [] for model in KEPT}


def test_an_event_that_was_lost_is_found_and_a_rebuild_makes_up_for_it() -> None:
    lamp = make_product(price="10.00", stock=100)
    deliver_events()
    refund(sell("2026-01-31 12:00", (lamp, 1)), "2026-02-02 12:00")
    sell("2026-02-01 00:00", (lamp, 2))
    place(USER, (lamp, 3))
    # Not delivered is not lost: it is still to come.
    assert check() == []
    assert call("rebuild_reports", check=True) == "The reports agree with the orders.\n"
    OutboxEvent.objects.using(alias_of("orders")).all().delete()
    lost = check()
    assert any(line.startswith("salesbucket 2026-01-31T12:00:00+00:00/USD: orders 0 instead of 1") for line in lost)
    with pytest.raises(CommandError, match=f"{len(lost)} differences"):
        call("rebuild_reports", check=True)

    assert call("rebuild_reports") == "Counted 3 orders.\n"
    assert check() == []
    once = kept()
    assert [len(rows) for rows in once.values()] == [2, 3, 5]
    assert call("rebuild_reports") == "Counted 3 orders.\n"
    assert kept() == once


def test_a_check_changes_nothing_and_finds_what_was_changed_by_hand() -> None:
    pay(place(USER, (make_product(price="10.00"), 2)))
    deliver_events()
    before = everything_stored()
    assert check() == []
    assert everything_stored() == before
    models.ProductSales.objects.filter(span="month").update(units=F("units") + 1)
    assert [line.rpartition(": ")[2] for line in check()] == ["units 3 instead of 2"]
    models.ProductSales.objects.filter(span="month").update(units=F("units") - 1)
    models.SalesBucket.objects.create(starts_at=utc("2026-01-01 00:00"), currency="EUR", orders=1)
    assert check() == ["salesbucket 2026-01-01T00:00:00+00:00/EUR: orders 1 instead of 0"]


def test_a_rebuild_counts_the_pages_that_events_have_counted_meanwhile_once(monkeypatch: pytest.MonkeyPatch) -> None:
    lamp = make_product(price="10.00", stock=100)
    orders = [pay(place(USER, (lamp, 1))) for _ in range(3)]
    deliver_events()
    wanted = kept()
    monkeypatch.setattr("apps.orders.reports.rebuilding._PAGE", 1)
    monkeypatch.setattr(
        "apps.orders.reports.rebuilding.count_orders",
        lambda ids: (count_orders([orders[-1].id]), counting.count_orders(ids)),
    )
    assert call("rebuild_reports") == "Counted 3 orders.\n"
    assert kept() == wanted


def test_a_batch_costs_as_many_statements_as_an_order() -> None:
    lamp = make_product(price="10.00", stock=1000)
    orders = [pay(place(USER, (lamp, 1))) for _ in range(20)]
    with sends(10):
        count_orders([orders[0].id])
    with sends(10):
        count_orders([order.id for order in orders])
    # Nothing has changed: nothing is written but the rows that are locked.
    with sends(6):
        count_orders([order.id for order in orders])


def call(command: str, **options: object) -> str:
    out = StringIO()
    call_command(command, stdout=out, **options)
    return out.getvalue()


@pytest.mark.django_db(transaction=True)
def test_workers_that_count_the_same_orders_at_once_count_each_once() -> None:
    products = [make_product(name=f"Lamp {number}", price="10.00", stock=100) for number in range(4)]
    orders = [pay(place(USER, *((product, 1) for product in products))) for _ in range(12)]
    ids = [order.id for order in orders]

    def count(number: int) -> None:
        try:
            count_orders(ids[number % 3 :] if number % 2 else reversed(ids[: 12 - number % 5]))
        finally:
            connections.close_all()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(count, range(40)))
    assert [(row.orders, row.amount) for row in models.StatusBucket.objects.all()] == [(12, Decimal("480.00"))]
    assert [(row.orders, row.units) for row in models.SalesBucket.objects.all()] == [(12, 48)]
    assert check() == []


# Time


def test_a_stretch_is_put_together_from_few_sums_and_its_ends() -> None:
    begin, end = utc("2025-11-10 06:00"), utc("2026-11-20 18:00")
    found = cover(Stretch(begin, end))
    assert found.whole == Days(date(2025, 11, 11), date(2026, 11, 20))
    assert found.parts == [
        Part(Span.DAY, Days(date(2025, 11, 1), date(2025, 11, 11)), sign=-1),
        Part(Span.DAY, Days(date(2026, 11, 20), date(2026, 12, 1)), sign=-1),
        Part(Span.MONTH, Days(date(2025, 10, 1), date(2025, 11, 1)), sign=-1),
        Part(Span.MONTH, Days(date(2026, 12, 1), date(2027, 1, 1)), sign=-1),
        Part(Span.QUARTER, Days(date(2025, 10, 1), date(2027, 1, 1))),
    ]
    assert found.edges == [Stretch(begin, utc("2025-11-11 00:00")), Stretch(utc("2026-11-20 00:00"), end)]
    within_a_day = Stretch(begin, begin + timedelta(hours=3))
    assert (cover(within_a_day).parts, cover(within_a_day).edges) == ([], [within_a_day])
    year = cover(Stretch(utc("2026-01-01 00:00"), utc("2027-01-01 00:00")))
    assert (year.parts, year.edges) == ([Part(Span.QUARTER, Days(date(2026, 1, 1), date(2027, 1, 1)))], [])


@pytest.mark.parametrize("first", range(0, 800, 37))
def test_the_parts_make_up_each_day_once(first: int) -> None:
    begin = date(2023, 12, 20) + timedelta(days=first)
    for length in (1, 2, 20, 30, 31, 32, 59, 61, 91, 92, 93, 180, 365, 366, 800):
        days = Days(begin, begin + timedelta(days=length))
        counted: Counter[date] = Counter()
        for part in cover(Stretch(midnight(days.first, ZoneInfo("UTC")), midnight(days.end, ZoneInfo("UTC")))).parts:
            assert start_of(part.days.first, part.span) == part.days.first
            assert start_of(part.days.end, part.span) == part.days.end
            for number in range((part.days.end - part.days.first).days):
                counted[part.days.first + timedelta(days=number)] += part.sign
        assert {day: times for day, times in counted.items() if times} == {
            begin + timedelta(days=number): 1 for number in range(length)
        }


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "Asia/Kathmandu", "America/Santiago", "Pacific/Apia"])
@pytest.mark.parametrize("interval", Interval)
def test_periods_follow_each_other_without_a_gap(zone: str, interval: Interval) -> None:
    stretch = Stretch(utc("2011-11-15 11:11"), utc("2014-05-17 17:17"))
    stretches = [period.stretch for period in periods(stretch, interval, ZoneInfo(zone))]
    assert (stretches[0].starts_at, stretches[-1].ends_at) == (stretch.starts_at, stretch.ends_at)
    assert all(one.ends_at == next_.starts_at for one, next_ in pairwise(stretches))
    assert all(stretches)


def test_the_date_line_takes_a_day_away() -> None:
    stretch = Stretch(utc("2011-12-29 10:00"), utc("2011-12-31 10:00"))
    names = [period.name for period in periods(stretch, Interval.DAY, ZoneInfo("Pacific/Apia"))]
    assert names == ["2011-12-29", "2011-12-31"]


# Over HTTP


def download(staff: LoggedIn, report: str, accept: str = "text/csv", **query: str) -> str:
    response = staff.get(
        f"{REPORTS}/{report}", {key.rstrip("_"): value for key, value in query.items()}, headers={"Accept": accept}
    )
    assert (response.status_code, response["Content-Type"]) == (200, "text/csv; charset=utf-8")
    assert response["Content-Disposition"] == f'attachment; filename="{report}.csv"'
    assert response.streaming
    return b"".join(response).decode()


def test_reports_in_csv(staff: LoggedIn) -> None:
    lamp = make_product(name="=HYPERLINK(1)", price="10.00", sku="-L1")
    sell("2026-05-02 10:00", (lamp, 2))
    deliver_events()
    query = {"from_": "2026-05-01", "to": "2026-05-02"}

    assert download(staff, "sales", **query) == (
        "period,starts_at,ends_at,currency,orders,units,amount,refunds,refunded_amount,net,average_order\r\n"
        "2026-05-01,2026-05-01T00:00:00Z,2026-05-02T00:00:00Z,USD,0,0,0.00,0,0.00,0.00,0.00\r\n"
        "2026-05-02,2026-05-02T00:00:00Z,2026-05-03T00:00:00Z,USD,1,2,20.00,0,0.00,20.00,20.00\r\n"
    )
    assert download(staff, "products", **query) == (
        f"\ufeffproduct_id,name,sku,currency,orders,units,amount\r\n{lamp.id},'=HYPERLINK(1),'-L1,USD,1,2,20.00\r\n"
    )
    assert download(staff, "status", "text/csv, */*;q=0.1", currency="USD", **query) == (
        "status,currency,orders,amount\r\npending,USD,0,0.00\r\npaid,USD,1,20.00\r\nshipped,USD,0,0.00\r\n"
        "delivered,USD,0,0.00\r\ncancelled,USD,0,0.00\r\nexpired,USD,0,0.00\r\nrefunded,USD,0,0.00\r\n"
    )


def test_all_products_are_in_the_file_and_a_hundred_in_the_answer(staff: LoggedIn) -> None:
    day = date(2026, 5, 2)
    models.ProductSales.objects.bulk_create(
        models.ProductSales(
            span="day", starts_on=day, product_id=new_id(), currency="USD", orders=1, units=1, amount=number
        )
        for number in range(1, 1203)
    )
    query = {"from_": str(day), "to": str(day)}
    amounts = [row["amount"] for row in csv.DictReader(StringIO(download(staff, "products", **query)))]
    assert amounts == [f"{number}.00" for number in range(1202, 0, -1)]
    assert len(ask(staff, "products", **query)["results"]) == 100
    assert len(ask(staff, "products", limit="1000", **query)["results"]) == 1000
    assert len(download(staff, "products", limit="2", **query).splitlines()) == 3


def test_why_there_is_no_file_is_said_in_json(staff: LoggedIn) -> None:
    response = staff.get(f"{REPORTS}/sales", {"tz": "Mars/Base"}, headers={"Accept": "text/csv"})
    assert (response.status_code, response["Content-Type"]) == (400, "application/json")
    assert response.json()["errors"][0]["code"] == "unknown_zone"


@pytest.mark.parametrize(
    ("report", "query", "code", "attr"),
    [
        ("sales", {"from": "yesterday"}, "invalid", "from"),
        ("sales", {"from": "2026-02-30"}, "invalid", "from"),
        ("sales", {"to": "2026-05-01T10:00:00"}, "invalid", "to"),
        ("sales", {"to": "2026-W01-1"}, "invalid", "to"),
        ("sales", {"to": "٢٠٢٦-01-01"}, "invalid", "to"),
        ("sales", {"from": "0001-01-01"}, "out_of_range", "from"),
        ("sales", {"to": "9999-12-31T23:59:59-12:00"}, "invalid", "to"),
        ("sales", {"from": "2026-05-02", "to": "2026-05-01"}, "empty_span", "to"),
        ("status", {"from": "2010-01-01", "to": "2026-05-01"}, "span_too_long", "from"),
        ("status", {"tz": "../../etc/passwd"}, "unknown_zone", "tz"),
        ("status", {"tz": "+01:00"}, "unknown_zone", "tz"),
        ("sales", {"interval": "hour"}, "invalid_choice", "interval"),
        ("products", {"limit": "1001"}, "max_value", "limit"),
        ("products", {"limit": "0"}, "min_value", "limit"),
        ("products", {"ordering": "name"}, "invalid_choice", "ordering"),
        ("products", {"currency": "XXL"}, "unknown_currency", "currency"),
    ],
)
def test_what_cannot_be_reported(staff: LoggedIn, report: str, query: dict[str, str], code: str, attr: str) -> None:
    response = staff.get(f"{REPORTS}/{report}", query)
    assert response.status_code == 400
    assert response.json() == {
        "type": "validation_error",
        "errors": [{"code": code, "detail": response.json()["errors"][0]["detail"], "attr": attr}],
    }


def test_a_plus_that_was_not_escaped_is_understood(staff: LoggedIn) -> None:
    response = staff.get(f"{REPORTS}/sales?from=2026-05-01T00:00:00+02:00&to=2026-05-02T00:00:00Z")
    assert response.json()["from"] == "2026-04-30T22:00:00Z"


@pytest.mark.parametrize(
    ("report", "whole", "cut_off"),
    [("sales", 1, 3), ("products", 1, 1), ("status", 1, 2)],
)
def test_a_report_costs_the_same_number_of_statements_however_much_was_sold(
    staff: LoggedIn, report: str, whole: int, cut_off: int
) -> None:
    lamp, fan = make_product(price="10.00", stock=100), make_product(price="500", currency="JPY", sku="F-1")
    for number in range(1, 7):
        sell(f"2026-0{number}-02 10:07", (lamp, 1))
        sell(f"2026-0{number}-03 10:07", (fan, 1))
    deliver_events()
    ask(staff, report)
    for first in ("2026-01-02", "2026-06-02"):
        with sends(SESSION + whole):
            assert ask(staff, report, from_=first, to="2026-06-30")["results"]
        with sends(SESSION + cut_off):
            assert ask(staff, report, from_=f"{first}T10:06:59Z", to="2026-06-04T10:07:01Z")["results"]
        with sends(SESSION + whole):
            download(staff, report, from_=first, to="2026-06-30")
