"""The tables of sums that the reports are read from, and how sums are added to what is there."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from itertools import islice
from typing import Any
from uuid import UUID

from django.db import models

from apps.common.databases import connection_of
from apps.orders.models import ProductSales, SalesBucket, StatusBucket

Key = tuple[str | date | datetime | UUID, ...]
Sums = tuple[int | Decimal, ...]
# A statement has a bounded number of values; one order may have a thousand lines.
_ROWS = 1000


@dataclass(frozen=True)
class Table:
    """A table with one row of sums for each key."""

    model: type[models.Model]
    keys: tuple[str, ...]
    sums: tuple[str, ...]

    def add(self, rows: Mapping[Key, Sums]) -> None:
        """Add to the rows of these keys, in the caller's transaction, in one statement for each thousand.

        Give the keys in order: who adds to the same rows at the same time then waits, and nobody for each other.
        """
        remaining = iter(rows.items())
        while batch := list(islice(remaining, _ROWS)):
            with connection_of("orders").cursor() as cursor:
                cursor.execute(self._upsert(len(batch)), list(self._values(batch)))

    def _upsert(self, count: int) -> str:
        name = self.model._meta.db_table
        row = f"({', '.join(['%s'] * len(self.keys + self.sums))})"
        added = ", ".join(f"{column} = {name}.{column} + excluded.{column}" for column in self.sums)
        return (
            f"INSERT INTO {name} ({', '.join(self.keys + self.sums)}) VALUES {', '.join([row] * count)} "  # noqa: S608 - names of ours
            f"ON CONFLICT ({', '.join(self.keys)}) DO UPDATE SET {added}"
        )

    def _values(self, rows: Iterable[tuple[Key, Sums]]) -> Iterator[Any]:
        """The values as Django itself would write them."""
        connection = connection_of("orders")
        fields = [self.model._meta.get_field(name) for name in self.keys + self.sums]
        for key, sums in rows:
            for field, value in zip(fields, (*key, *sums), strict=True):
                yield field.get_db_prep_save(value, connection)  # type: ignore[union-attr] # fields of ours


SALES = Table(SalesBucket, ("starts_at", "currency"), ("orders", "units", "amount", "refunds", "refunded_amount"))
STATUS = Table(StatusBucket, ("starts_on", "currency", "status"), ("orders", "amount"))
PRODUCTS = Table(ProductSales, ("span", "starts_on", "product_id", "currency"), ("orders", "units", "amount"))
TABLES = (SALES, STATUS, PRODUCTS)
