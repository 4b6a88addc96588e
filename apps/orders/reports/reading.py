"""The reports. Each is read in one statement from sums that are kept, and in one or two more at the ends of the time
that was asked for, where no sum fits: there the orders themselves are added up.

Figures are per currency, and never added across them. `docs/reports.md` says what counts when.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import astuple, dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from operator import add
from typing import Any, TypeVar
from uuid import UUID
from zoneinfo import ZoneInfo

from django.conf import settings
from django.db.models import Count, F, Model, OuterRef, Q, QuerySet, Subquery, Sum, Value

from apps.common.databases import alias_of, connection_of
from apps.common.money import quantize
from apps.orders.interface import OrderStatus
from apps.orders.models import Order, OrderItem, ProductSales, SalesBucket, StatusBucket
from apps.orders.reports.periods import Interval, Period, Stretch, cover, periods
from apps.orders.reports.sources import refunds, sales

_Row = TypeVar("_Row", bound=Model)
_CHUNK = 500
_SALES = """
    WITH period (number, starts_at, ends_at) AS (VALUES {periods})
    SELECT period.number, bucket.currency, SUM(bucket.orders), SUM(bucket.units), SUM(bucket.amount),
        SUM(bucket.refunds), SUM(bucket.refunded_amount)
    FROM period JOIN orders_salesbucket bucket
        ON bucket.starts_at >= period.starts_at AND bucket.starts_at < period.ends_at
    WHERE (bucket.orders <> 0 OR bucket.refunds <> 0) {currency}
    GROUP BY period.number, bucket.currency
"""
# What a product is called is what it was called when it was last ordered.
_PRODUCTS = """
    WITH sold (product_id, currency, orders, units, amount) AS ({sold}),
    summed AS (
        SELECT product_id, currency, SUM(orders) AS orders, SUM(units) AS units, SUM(amount) AS amount
        FROM sold GROUP BY product_id, currency
    ),
    ranked AS (
        SELECT summed.*, ROW_NUMBER() OVER (PARTITION BY currency ORDER BY {order}, product_id) AS place
        FROM summed WHERE orders <> 0
    )
    SELECT product_id, currency, orders, units, amount,
        (SELECT item.product_name FROM orders_orderitem item
            WHERE item.product_id = ranked.product_id ORDER BY item.id DESC LIMIT 1),
        (SELECT item.sku FROM orders_orderitem item
            WHERE item.product_id = ranked.product_id ORDER BY item.id DESC LIMIT 1)
    FROM ranked {limit} ORDER BY currency, place
"""


class Ordering(StrEnum):
    """By what products are ranked within their currency; with a minus, the most comes first."""

    MOST_AMOUNT = "-amount"
    LEAST_AMOUNT = "amount"
    MOST_UNITS = "-units"
    LEAST_UNITS = "units"


@dataclass(frozen=True)
class Asked:
    """The time that a report is about, in a time zone. Without a currency, each that occurs is told of."""

    stretch: Stretch
    zone: ZoneInfo
    currency: str | None = None


@dataclass(frozen=True)
class SalesTotal:
    """Sales in one currency. `net` is the amount less what was refunded, be it of these orders or of earlier ones."""

    currency: str
    orders: int
    units: int
    amount: Decimal
    refunds: int
    refunded_amount: Decimal
    net: Decimal
    average_order: Decimal


@dataclass(frozen=True)
class _InPeriod:
    period: str
    starts_at: datetime
    ends_at: datetime


@dataclass(frozen=True)
class SalesRow(SalesTotal, _InPeriod):
    """Sales of a period in one currency. The fields of the period come first."""


@dataclass(frozen=True)
class ProductRow:
    """Sales of a product in one currency, called as it was when it was last ordered."""

    product_id: UUID
    name: str
    sku: str
    currency: str
    orders: int
    units: int
    amount: Decimal


@dataclass(frozen=True)
class StatusRow:
    """Orders in one status and currency."""

    status: OrderStatus
    currency: str
    orders: int
    amount: Decimal


@dataclass(frozen=True)
class _Sums:
    """Sums of sales, before they are those of a period."""

    orders: int = 0
    units: int = 0
    amount: Decimal = Decimal(0)
    refunds: int = 0
    refunded_amount: Decimal = Decimal(0)

    def __add__(self, other: "_Sums") -> "_Sums":
        return _Sums(*map(add, astuple(self), astuple(other)))


def read_sales(asked: Asked, interval: Interval) -> tuple[Sequence[SalesRow], Sequence[SalesTotal]]:
    """Sales of each period, oldest first, also of those without any; and all of them together."""
    parts = list(periods(asked.stretch, interval, asked.zone))
    found: dict[tuple[int, str], _Sums] = defaultdict(_Sums)
    for number, currency, sums in (*_kept_sales(asked, parts), *_sales_at_ends(asked, parts)):
        found[number, currency] += sums
    currencies = sorted({currency for _, currency in found}) or [asked.currency or settings.CURRENCY]
    rows = [
        _to_sales_row(part, currency, found[number, currency])
        for number, part in enumerate(parts)
        for currency in currencies
    ]
    return rows, [
        _to_total(currency, [sums for (_, of), sums in found.items() if of == currency]) for currency in currencies
    ]


def read_products(asked: Asked, ordering: Ordering, limit: int | None) -> Iterator[ProductRow]:
    """What was sold of each product, ranked within its currency: the first `limit` of each, or all. Rows are fetched
    as they are asked for.
    """
    column, descends = ordering.lstrip("-"), ordering.startswith("-")
    sold, values = _union(_sold(asked))
    statement = _PRODUCTS.format(
        sold=sold,
        order=f"{column} DESC" if descends else column,
        limit="" if limit is None else "WHERE place <= %s",
    )
    connection = connection_of("orders")
    # PostgreSQL plans a cursor of its own, for many rows, for the first ones, and never in parallel.
    with closing(connection.chunked_cursor() if limit is None else connection.cursor()) as cursor:
        cursor.execute(statement, [*values, *([] if limit is None else [limit])])
        while rows := cursor.fetchmany(_CHUNK):
            yield from map(_to_product_row, rows)


def read_statuses(asked: Asked) -> Sequence[StatusRow]:
    """The orders that were placed in that time, by where they stand now; also the statuses in which there is none."""
    found: dict[tuple[str, str], tuple[int, Decimal]] = {}
    for currency, status, orders, amount in _placed(asked):
        before, sum_before = found.get((currency, status), (0, Decimal(0)))
        found[currency, status] = (before + orders, sum_before + amount)
    currencies = sorted({currency for (currency, _), (orders, _) in found.items() if orders})
    return [
        StatusRow(status=status, currency=currency, orders=orders, amount=quantize(amount, currency))
        for currency in currencies or [asked.currency or settings.CURRENCY]
        for status in OrderStatus
        for orders, amount in [found.get((currency, status), (0, Decimal(0)))]
    ]


def _kept_sales(asked: Asked, parts: Sequence[Period]) -> Iterator[tuple[int, str, _Sums]]:
    """Sums of the whole quarters of an hour in each period."""
    moment = SalesBucket._meta.get_field("starts_at")
    connection = connection_of("orders")
    values: list[Any] = []
    for number, part in enumerate(parts):
        if core := part.stretch.quarters():
            ends = (moment.get_db_prep_value(at, connection) for at in (core.starts_at, core.ends_at))
            values += [number, *ends]
    if not values:
        return
    rows = ", ".join(["(%s, %s, %s)"] * (len(values) // 3))
    statement = _SALES.format(periods=rows, currency="AND bucket.currency = %s" if asked.currency else "")
    with connection.cursor() as cursor:
        cursor.execute(statement, values + ([asked.currency] if asked.currency else []))
        for number, currency, orders, units, amount, refunded, refunded_amount in cursor.fetchall():
            yield number, currency, _Sums(orders, units, _decimal(amount), refunded, _decimal(refunded_amount))


def _sales_at_ends(asked: Asked, parts: Sequence[Period]) -> Iterator[tuple[int, str, _Sums]]:
    """Sales of less than a quarter of an hour, at the ends of the first and the last period."""
    ends = {number: part.stretch.less(part.stretch.quarters()) for number, part in enumerate(parts)}
    numbered = [(number, end) for number, stretches in ends.items() for end in stretches]
    if not numbered:
        return
    stretches = [end for _, end in numbered]
    units = OrderItem.objects.filter(order=OuterRef("order")).order_by().values("order").values(sum=Sum("quantity"))
    paid = _in_currency(sales(), asked).filter(_within("paid_at", stretches)).annotate(units=Subquery(units))
    for at, currency, count, amount in paid.values_list("paid_at", "currency", "units", "amount"):
        yield _number_of(at, numbered), currency, _Sums(orders=1, units=count, amount=amount)
    returned = _in_currency(refunds(), asked).filter(_within("refunded_at", stretches))
    for at, currency, amount in returned.values_list("refunded_at", "currency", "amount"):
        yield _number_of(at, numbered), currency, _Sums(refunds=1, refunded_amount=amount)


def _number_of(at: datetime | None, numbered: Sequence[tuple[int, Stretch]]) -> int:
    return next(number for number, stretch in numbered if at and at in stretch)


def _sold(asked: Asked) -> Iterator[QuerySet[Any, Any]]:
    """Product, currency, orders, units and amount: from sums, and from the orders at the ends."""
    parts = cover(asked.stretch)
    kept = _in_currency(ProductSales.objects.order_by(), asked)
    for part in parts.parts:
        rows = kept.filter(span=part.span, starts_on__gte=part.days.first, starts_on__lt=part.days.end)
        sums = [F(name) if part.sign > 0 else -F(name) for name in ("orders", "units", "amount")]
        yield rows.values_list("product_id", "currency", *sums)
    for edge in parts.edges:
        paid = _in_currency(sales(), asked).filter(_within("paid_at", [edge]))
        yield paid.values_list(
            "order__items__product_id", "currency", Value(1), "order__items__quantity", "order__items__total"
        )


def _union(parts: Iterable[QuerySet[Any, Any]]) -> tuple[str, list[Any]]:
    """The statement that has the rows of all parts, and its values."""
    compiled = [part.query.get_compiler(alias_of("orders")).as_sql() for part in parts]
    return " UNION ALL ".join(sql for sql, _ in compiled), [value for _, values in compiled for value in values]


def _placed(asked: Asked) -> Iterator[tuple[str, str, int, Decimal]]:
    """Currency, status, number and amount: from days, and from the orders at the ends."""
    parts = cover(asked.stretch)
    kept = _in_currency(StatusBucket.objects.order_by(), asked)
    if parts.whole:
        days = kept.filter(starts_on__gte=parts.whole.first, starts_on__lt=parts.whole.end)
        yield from days.values_list("currency", "status").annotate(Sum("orders"), Sum("amount"))
    if parts.edges:
        placed = _in_currency(Order.objects.order_by(), asked).filter(_within("created_at", parts.edges))
        yield from placed.values_list("currency", "status").annotate(Count("pk"), Sum("total"))


def _in_currency(rows: QuerySet[_Row], asked: Asked) -> QuerySet[_Row]:
    return rows.filter(currency=asked.currency) if asked.currency else rows


def _within(field: str, stretches: Iterable[Stretch]) -> Q:
    """The field is in one of the stretches."""
    anywhere = Q(pk__in=[])
    for each in stretches:
        anywhere |= Q(**{f"{field}__gte": each.starts_at, f"{field}__lt": each.ends_at})
    return anywhere


def _to_sales_row(part: Period, currency: str, sums: _Sums) -> SalesRow:
    total = _to_total(currency, [sums])
    return SalesRow(period=part.name, starts_at=part.stretch.starts_at, ends_at=part.stretch.ends_at, **vars(total))


def _to_total(currency: str, sums: Iterable[_Sums]) -> SalesTotal:
    total = sum(sums, _Sums())
    return SalesTotal(
        currency=currency,
        orders=total.orders,
        units=total.units,
        amount=quantize(total.amount, currency),
        refunds=total.refunds,
        refunded_amount=quantize(total.refunded_amount, currency),
        net=quantize(total.amount - total.refunded_amount, currency),
        average_order=quantize(total.amount / (total.orders or 1), currency),
    )


def _to_product_row(row: Sequence[Any]) -> ProductRow:
    product_id, currency, orders, units, amount, name, sku = row
    return ProductRow(
        product_id=UUID(str(product_id)),
        name=name or "",
        sku=sku or "",
        currency=currency,
        orders=orders,
        units=units,
        amount=quantize(_decimal(amount), currency),
    )


def _decimal(amount: object) -> Decimal:
    """SQLite adds up in floats."""
    return Decimal(str(amount))
