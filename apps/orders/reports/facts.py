"""What one order counts for in the reports: plain Python, the same whether events, a rebuild or an audit ask.

A sale counts when it is paid, a refund when it is made, and an order in its status when it was placed.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec

from apps.orders.spans import Span

Key = tuple[str | date | datetime | UUID, ...]
Sums = tuple[int | Decimal, ...]
QUARTER = timedelta(minutes=15)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Table:
    """A table with one row of sums for each key, by the names of their columns."""

    keys: tuple[str, ...]
    sums: tuple[str, ...]


SALES = Table(("starts_at", "currency"), ("orders", "units", "amount", "refunds", "refunded_amount"))
STATUS = Table(("starts_on", "currency", "status"), ("orders", "amount"))
PRODUCTS = Table(("span", "starts_on", "product_id", "currency"), ("orders", "units", "amount"))


@dataclass(frozen=True)
class SoldLine:
    """So many units of a product, for so much. Shipping is no product's."""

    product_id: UUID
    units: int
    amount: Decimal


@dataclass(frozen=True)
class Sale:
    """The payment of an order. The amount is all that was paid, with shipping."""

    at: datetime
    amount: Decimal
    lines: tuple[SoldLine, ...]


@dataclass(frozen=True)
class Refunded:
    """Money that went back."""

    at: datetime
    amount: Decimal


@dataclass(frozen=True)
class Facts:
    """All that the reports count of an order."""

    currency: str
    placed_at: datetime
    status: str
    total: Decimal
    sale: Sale | None
    refunds: tuple[Refunded, ...]


class Tally:
    """Sums by table and row. What is added with a sign of -1 is taken away."""

    def __init__(self) -> None:
        self._sums: dict[Table, dict[Key, Sums]] = {table: {} for table in (SALES, STATUS, PRODUCTS)}

    def add(self, facts: Facts | None, sign: int = 1) -> None:
        """Add what an order counts for; nothing, if it counts for nothing."""
        for table, key, numbers in _cells(facts) if facts else ():
            rows = self._sums[table]
            before = rows.get(key) or (0,) * len(numbers)
            rows[key] = tuple(old + sign * new for old, new in zip(before, numbers, strict=True))

    def of(self, table: Table) -> dict[Key, Sums]:
        """The rows of a table whose sums are not all zero, in the order of their keys."""
        return {key: sums for key, sums in sorted(self._sums[table].items()) if any(sums)}


def quarter_of(at: datetime) -> datetime:
    """When the quarter of an hour began that the moment is in."""
    return at - (at - _EPOCH) % QUARTER


def day_of(at: datetime) -> date:
    """The day in UTC that the moment is in."""
    return at.astimezone(UTC).date()


def start_of(day: date, span: Span) -> date:
    """The first day of the span that the day is in."""
    match span:
        case Span.DAY:
            return day
        case Span.MONTH:
            return day.replace(day=1)
        case Span.QUARTER:
            return day.replace(month=day.month - (day.month - 1) % 3, day=1)


def to_json(facts: Facts | None) -> Any:  # noqa: ANN401 - JSON
    return msgspec.to_builtins(facts)


def from_json(stored: Any) -> Facts | None:  # noqa: ANN401 - JSON
    return msgspec.convert(stored, Facts | None)


def _cells(facts: Facts) -> Iterator[tuple[Table, Key, Sums]]:
    """Each row that the order is counted in, and the numbers that it adds there."""
    yield STATUS, (day_of(facts.placed_at), facts.currency, facts.status), (1, facts.total)
    if facts.sale is not None:
        yield from _cells_of_sale(facts.sale, facts.currency)
    for refund in facts.refunds:
        yield SALES, (quarter_of(refund.at), facts.currency), (0, 0, 0, 1, refund.amount)


def _cells_of_sale(sale: Sale, currency: str) -> Iterator[tuple[Table, Key, Sums]]:
    units = sum(line.units for line in sale.lines)
    yield SALES, (quarter_of(sale.at), currency), (1, units, sale.amount, 0, 0)
    day = day_of(sale.at)
    for line in sale.lines:
        for span in Span:
            yield PRODUCTS, (span.value, start_of(day, span), line.product_id, currency), (1, line.units, line.amount)
