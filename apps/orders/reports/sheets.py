"""The reports as CSV, for people with a spreadsheet. Columns stay as they are; a new one comes last."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields
from datetime import datetime
from decimal import Decimal
from itertools import islice
from typing import TypeVar

from apps.common.cells import BOM, guard, write
from apps.orders.reports.reading import ProductRow, SalesRow, StatusRow

_Row = TypeVar("_Row", SalesRow, ProductRow, StatusRow)
_BATCH = 500
# The rest is ours: a day need not be kept from being read as one.
_WRITTEN_BY_PEOPLE = {"name", "sku"}


def to_csv(kind: type[_Row], rows: Iterable[_Row]) -> Iterator[str]:
    """The rows, a batch at a time, below the names of their fields."""
    names: list[str] = [field.name for field in fields(kind)]
    # Without it, Excel takes UTF-8 for something older. The other reports are plain ASCII.
    yield (BOM if _WRITTEN_BY_PEOPLE & {*names} else "") + write([names])
    remaining = iter(rows)
    while batch := list(islice(remaining, _BATCH)):
        yield write(_cells(row, names) for row in batch)


def _cells(row: object, names: Sequence[str]) -> Sequence[str]:
    return [_cell(name, getattr(row, name)) for name in names]


def _cell(name: str, value: object) -> str:
    if name in _WRITTEN_BY_PEOPLE:
        return guard(str(value))
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    # Never in scientific notation.
    return format(value, "f") if isinstance(value, Decimal) else str(value)
