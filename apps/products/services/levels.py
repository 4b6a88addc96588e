"""The one statement that changes stock levels."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from apps.common.databases import connection_of
from apps.products import cache
from apps.products.interface import StockLevel
from apps.products.models import StockLevel as LevelRow

# Locks the levels in the order of their ids, so that two orders of the same products cannot wait for each other, then
# changes those that stay within bounds. Everything is computed from what the lock has found: the rows as the statement
# first saw them may be older than the lock, and a unit that has come back meanwhile would be refused.
_POSTGRESQL = """
    WITH shift AS (
        SELECT * FROM unnest(%s::uuid[], %s::int[], %s::int[]) AS t (product_id, on_hand, reserved)
    ), locked AS (
        SELECT level.product_id, level.on_hand, level.reserved, level.version
        FROM products_stocklevel AS level JOIN shift USING (product_id)
        ORDER BY level.product_id FOR UPDATE OF level
    )
    UPDATE products_stocklevel AS level
    SET on_hand = locked.on_hand + shift.on_hand,
        reserved = locked.reserved + shift.reserved,
        version = locked.version + CASE WHEN shift.on_hand = 0 THEN 0 ELSE 1 END
    FROM shift JOIN locked USING (product_id)
    WHERE level.product_id = shift.product_id
      AND locked.reserved + shift.reserved BETWEEN 0 AND locked.on_hand + shift.on_hand
    RETURNING level.product_id, level.on_hand, level.reserved, level.version
"""
# SQLite has one writer at a time: the transaction is the lock.
_SQLITE = """
    UPDATE products_stocklevel
    SET on_hand = products_stocklevel.on_hand + shift.on_hand,
        reserved = products_stocklevel.reserved + shift.reserved,
        version = products_stocklevel.version + CASE WHEN shift.on_hand = 0 THEN 0 ELSE 1 END
    FROM (
        SELECT value ->> 0 AS product_id, value ->> 1 AS on_hand, value ->> 2 AS reserved FROM json_each(%s)
    ) AS shift
    WHERE products_stocklevel.product_id = shift.product_id
      AND products_stocklevel.reserved + shift.reserved BETWEEN 0 AND products_stocklevel.on_hand + shift.on_hand
    RETURNING product_id, on_hand, reserved, version
"""


@dataclass(frozen=True)
class Shift:
    """By how much a level's two figures change."""

    on_hand: int = 0
    reserved: int = 0

    def __add__(self, other: "Shift") -> "Shift":
        return Shift(self.on_hand + other.on_hand, self.reserved + other.reserved)


@dataclass(frozen=True)
class Shifted:
    """A level after its change, and how often what is on hand has changed."""

    level: StockLevel
    version: int


def shift_levels(shifts: Mapping[UUID, Shift]) -> dict[UUID, Shifted]:
    """Change levels in one statement; returns those that could change.

    A level that would fall below zero, or below what is reserved, is left alone and missing from the answer: the
    caller rolls back. Call it in a transaction, as late as possible: it holds the rows' locks until the commit.
    """
    connection = connection_of("products")
    cache.stock_changed(shifts)
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            ids = list(shifts)
            figures = list(shifts.values())
            cursor.execute(_POSTGRESQL, [ids, [s.on_hand for s in figures], [s.reserved for s in figures]])
        else:
            cursor.execute(_SQLITE, [json.dumps([[key.hex, s.on_hand, s.reserved] for key, s in shifts.items()])])
        return {row.product_id: Shifted(_to_level(row), row.version) for row in map(_to_row, cursor.fetchall())}


def levels_of(product_ids: Sequence[UUID]) -> dict[UUID, StockLevel]:
    """The levels of these products, in one query; a product that never had stock has none."""
    return {row.product_id: _to_level(row) for row in LevelRow.objects.filter(product_id__in=product_ids)}


def _to_row(record: tuple[UUID | str, int, int, int]) -> LevelRow:
    product_id, on_hand, reserved, version = record
    key = product_id if isinstance(product_id, UUID) else UUID(product_id)
    return LevelRow(product_id=key, on_hand=on_hand, reserved=reserved, version=version)


def _to_level(row: LevelRow) -> StockLevel:
    return StockLevel(product_id=row.product_id, on_hand=row.on_hand, reserved=row.reserved)
