"""How sums are added to those that are kept."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

from django.db import models

from apps.common.databases import connection_of
from apps.orders.models import ProductSales, SalesBucket, StatusBucket
from apps.orders.reports.facts import PRODUCTS, SALES, STATUS, Key, Sums, Table, Tally

MODELS: Mapping[Table, type[models.Model]] = {SALES: SalesBucket, STATUS: StatusBucket, PRODUCTS: ProductSales}
# A statement has a bounded number of values; one order may have a thousand lines.
_ROWS = 1000


def add(tally: Tally) -> None:
    """Add to what is kept, in the caller's transaction, in one statement for each thousand rows.

    Rows come in the order of their keys: of two that add to the same rows, one waits, and never each for the other.
    """
    for table, model in MODELS.items():
        remaining = iter(tally.of(table).items())
        while batch := list(islice(remaining, _ROWS)):
            with connection_of("orders").cursor() as cursor:
                cursor.execute(_upsert(table, model, len(batch)), list(_values(table, model, batch)))


def _upsert(table: Table, model: type[models.Model], count: int) -> str:
    name = model._meta.db_table
    row = f"({', '.join(['%s'] * len(table.keys + table.sums))})"
    added = ", ".join(f"{column} = {name}.{column} + excluded.{column}" for column in table.sums)
    return (
        f"INSERT INTO {name} ({', '.join(table.keys + table.sums)}) VALUES {', '.join([row] * count)} "  # noqa: S608 - names of ours
        f"ON CONFLICT ({', '.join(table.keys)}) DO UPDATE SET {added}"
    )


def _values(table: Table, model: type[models.Model], rows: Iterable[tuple[Key, Sums]]) -> Iterator[Any]:
    """The values as Django itself would write them."""
    connection = connection_of("orders")
    fields = [model._meta.get_field(name) for name in table.keys + table.sums]
    for key, sums in rows:
        for field, value in zip(fields, (*key, *sums), strict=True):
            yield field.get_db_prep_save(value, connection)  # type: ignore[union-attr] # fields of ours
