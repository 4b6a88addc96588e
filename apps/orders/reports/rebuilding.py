"""Counting everything anew, and proving that the reports agree with the orders.

The shop goes on meanwhile. A rebuild forgets all that was counted and counts order by order, as events do: whichever
comes first, the other finds nothing left to count. Until it is done, reports lack the orders that are still to come.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import islice
from typing import Any, cast
from uuid import UUID
from zoneinfo import ZoneInfo

from django.conf import settings
from django.db.models import Max, Min, Model, QuerySet, Sum

from apps.common.databases import alias_of, atomic, connection_of
from apps.common.money import MAX_PLACES
from apps.events.models import InboxEntry, OutboxEvent
from apps.orders.models import CountedOrder, Order, ProductSales, SalesBucket, StatusBucket
from apps.orders.reports.counting import count_orders
from apps.orders.reports.facts import PRODUCTS, SALES, STATUS, Facts, Key, Sums, Table, Tally, from_json, start_of
from apps.orders.reports.periods import Stretch, midnight
from apps.orders.reports.sources import read_facts, refunds, sales
from apps.orders.reports.tables import MODELS
from apps.orders.spans import Span

CONSUMER = "orders.count_sales"
_PAGE = 1000
_SMALLEST = Decimal(1).scaleb(-MAX_PLACES)
_DAY = timedelta(days=1)
_UTC = ZoneInfo("UTC")


def rebuild(progress: Callable[[int], object]) -> int:
    """Forget what was counted, and count every order, a thousand in a transaction. It can be cut off and run again.

    `progress` is told of each thousand. Returns how many orders there are.
    """
    counted = 0
    _forget()
    orders = Order.objects.order_by("pk").values_list("pk", flat=True)
    page = list(orders[:_PAGE])
    while page:
        count_orders(page)
        counted += len(page)
        progress(len(page))
        page = list(orders.filter(pk__gt=page[-1])[:_PAGE])
    return counted


def differences(since: date | None = None) -> Iterator[str]:
    """A sentence for each sum that is kept and is not what the orders add up to, a day (UTC) at a time; since the
    first day, if none is given. An order of which an event is still to come counts as it did before.
    """
    first, last = _span()
    day = begin = max(first, since) if since else first
    while day <= last:
        with _snapshot():
            found = [*_differences_on(day)]
            for span in (Span.MONTH, Span.QUARTER):
                if day in {begin, start_of(day, span)}:
                    found += _differences_of(span, start_of(day, span))
        yield from found
        day += _DAY


def _forget() -> None:
    models: list[type[Model]] = [CountedOrder, *MODELS.values()]
    connection = connection_of("orders")
    with atomic("orders"), connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            # Takes the tables' locks in the order in which counting takes them.
            cursor.execute(f"TRUNCATE {', '.join(model._meta.db_table for model in models)}")
            return
        for model in models:
            model._default_manager.all().delete()  # noqa: SLF001 - documented


def _span() -> tuple[date, date]:
    """The first and the last day on which anything happened or was counted."""
    moments: list[tuple[QuerySet[Any], str]] = [
        (Order.objects.all(), "created_at"),
        (sales(), "paid_at"),
        (refunds(), "refunded_at"),
        (SalesBucket.objects.all(), "starts_at"),
        (StatusBucket.objects.all(), "starts_on"),
        (ProductSales.objects.all(), "starts_on"),
    ]
    ends = [end for rows, field in moments for end in rows.aggregate(low=Min(field), high=Max(field)).values() if end]
    days = [end.astimezone(UTC).date() if isinstance(end, datetime) else cast("date", end) for end in ends]
    return (min(days), max(days)) if days else (date.max, date.min)


@contextmanager
def _snapshot() -> Iterator[None]:
    """A transaction in which nothing changes, so that orders, events and sums are those of one moment."""
    connection = connection_of("orders")
    is_outermost = not connection.in_atomic_block
    with atomic("orders"):
        if is_outermost and connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        yield


def _differences_on(day: date) -> Iterator[str]:
    stretch = Stretch(midnight(day, _UTC), midnight(day + _DAY, _UTC))
    tally = Tally()
    for ids in _pages(_concerned(stretch)):
        for facts in _as_counted(ids):
            tally.add(facts)
    quarters = SalesBucket.objects.filter(starts_at__gte=stretch.starts_at, starts_at__lt=stretch.ends_at)
    kept: Mapping[Table, QuerySet[Any]] = {
        SALES: quarters,
        STATUS: StatusBucket.objects.filter(starts_on=day),
        PRODUCTS: ProductSales.objects.filter(span=Span.DAY, starts_on=day),
    }
    for table, rows in kept.items():
        wanted = {key: sums for key, sums in tally.of(table).items() if _is_on(table, key, day)}
        yield from _compare(table, wanted, _rows_of(table, rows))


def _differences_of(span: Span, first: date) -> Iterator[str]:
    """The sums of each product's month, or quarter of a year, against those of its days."""
    end = start_of(first + timedelta(days=31 if span is Span.MONTH else 92), span)
    days = ProductSales.objects.filter(span=Span.DAY, starts_on__gte=first, starts_on__lt=end)
    added = days.order_by().values_list("product_id", "currency").annotate(*map(Sum, PRODUCTS.sums))
    wanted: dict[Key, Sums] = {
        (span.value, first, product_id, currency): (orders, units, amount.quantize(_SMALLEST))
        for product_id, currency, orders, units, amount in added
    }
    yield from _compare(PRODUCTS, wanted, _rows_of(PRODUCTS, ProductSales.objects.filter(span=span, starts_on=first)))


def _concerned(stretch: Stretch) -> Iterator[UUID]:
    """The orders that were placed, paid or refunded in that time, each once."""
    within = {"gte": stretch.starts_at, "lt": stretch.ends_at}
    placed = Order.objects.filter(**{f"created_at__{key}": at for key, at in within.items()}).values("pk")
    paid = sales().filter(**{f"paid_at__{key}": at for key, at in within.items()}).values("order_id")
    returned = refunds().filter(**{f"refunded_at__{key}": at for key, at in within.items()}).values("order_id")
    yield from (row["pk"] for row in placed.order_by().union(paid, returned).iterator(chunk_size=_PAGE))


def _as_counted(order_ids: Sequence[UUID]) -> Iterator[Facts | None]:
    """What the orders should count for: what they are, unless somebody has yet to hear of it."""
    facts = read_facts(order_ids)
    rows = CountedOrder.objects.filter(pk__in=order_ids).values_list("order_id", "counted")
    counted = {order_id: from_json(stored) for order_id, stored in rows}
    differing = [order_id for order_id, each in facts.items() if counted.get(order_id) != each]
    waiting = _under_way(differing) if differing else set()
    for order_id, each in facts.items():
        yield counted.get(order_id) if order_id in waiting else each


def _under_way(order_ids: Collection[UUID]) -> set[UUID]:
    """The orders among these of which an event has yet to be counted."""
    alias = alias_of("orders")
    types = [kind for kind, subscribers in settings.EVENT_SUBSCRIBERS.items() if CONSUMER in subscribers]
    events = OutboxEvent.objects.using(alias).filter(subject__in=order_ids, type__in=types)
    told = dict(events.values_list("id", "subject"))
    heard = InboxEntry.objects.using(alias).filter(consumer=CONSUMER, event_id__in=list(told))
    return {told[event_id] for event_id in told.keys() - set(heard.values_list("event_id", flat=True))}


def _rows_of(table: Table, rows: QuerySet[Any]) -> dict[Key, Sums]:
    """What is kept, without rows that came to nothing."""
    width = len(table.keys)
    values = rows.order_by().values_list(*table.keys, *table.sums).iterator(chunk_size=_PAGE)
    return {row[:width]: row[width:] for row in values if any(row[width:])}


def _compare(table: Table, wanted: Mapping[Key, Sums], kept: Mapping[Key, Sums]) -> Iterator[str]:
    nothing = (0,) * len(table.sums)
    for key in sorted(wanted.keys() | kept.keys()):
        told, found = wanted.get(key, nothing), kept.get(key, nothing)
        if told != found:
            name = "/".join(each.isoformat() if isinstance(each, datetime) else str(each) for each in key)
            faults = zip(table.sums, found, told, strict=True)
            said = ", ".join(f"{what} {one} instead of {other}" for what, one, other in faults if one != other)
            yield f"{MODELS[table]._meta.model_name} {name}: {said}"


def _is_on(table: Table, key: Key, day: date) -> bool:
    """Whether the row of that key is about the day, and not about its month or another day of the same orders."""
    if table is PRODUCTS:
        return key[:2] == (Span.DAY.value, day)
    begin = key[0]
    return (begin.date() if isinstance(begin, datetime) else begin) == day


def _pages(ids: Iterator[UUID]) -> Iterator[list[UUID]]:
    while page := list(islice(ids, _PAGE)):
        yield page
