"""The floor: an order as plain SQL, in one transaction of the bare driver. A service cannot be expected to beat it.

It writes what the service writes, in the service's own tables, so that the check in the end covers both.
"""

import json
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg

from apps.common.ids import new_id
from bench.load import Call

Pick = Callable[[], Sequence[UUID]]

# Every product of the benchmark costs this.
PRICE = 10

_READ = "SELECT _id, name, sku, currency FROM products_product WHERE _id IN (%s, %s) AND active"
_RESERVE = """
    INSERT INTO products_reservation (order_id, lines, state, change, expires_at, created_at)
    VALUES (%s, %s, 'active', 0, %s, %s)
"""
_ORDER = """
    INSERT INTO orders_order (id, number, user_id, status, currency, subtotal, shipping_cost, total, note, sequence,
        changes, expires_at, created_at, updated_at)
    VALUES (%s, %s, %s, 'pending', %s, %s, 0, %s, '', 1, 0, %s, %s, %s)
"""
_ITEMS = """
    INSERT INTO orders_orderitem (id, order_id, product_id, product_name, sku, quantity, price, total)
    VALUES (%s, %s, %s, %s, %s, 1, %s, %s), (%s, %s, %s, %s, %s, 1, %s, %s)
"""
# Already published, and of a type that nobody subscribes to: the relay must not work for the floor.
_EVENT = """
    INSERT INTO events_outboxevent (id, type, source, subject, sequence, data, version, traceparent, occurred_at,
        available_at, attempts, last_error, published_at)
    VALUES (%s, 'product.updated', 'orders', %s, 1, %s, 1, '', %s, %s, 0, '', %s)
"""
_HOLD = "UPDATE products_stocklevel SET reserved = reserved + 1 WHERE product_id = %s AND reserved < on_hand"
STATEMENTS = len([_READ, _RESERVE, _ORDER, _ITEMS, _EVENT, _HOLD, _HOLD])


@contextmanager
def client(database: str, user_id: UUID, pick: Pick) -> Iterator[Call]:
    """Orders on a connection to `database`: a URL of PostgreSQL, or SQLite's file, with the shop's settings."""
    connection: psycopg.Connection[Any] | sqlite3.Connection
    if database.startswith("postgres"):
        connection, begin, mark = psycopg.connect(database, autocommit=True), "BEGIN", "%s"
    else:
        connection = sqlite3.connect(database, timeout=30, isolation_level=None)
        connection.executescript("PRAGMA synchronous=NORMAL; PRAGMA foreign_keys=ON")
        begin, mark = "BEGIN IMMEDIATE", "?"

    def execute(statement: str, values: Sequence[object] = ()) -> Any:  # noqa: ANN401 - a cursor of either driver
        return connection.execute(statement.replace("%s", mark), values)

    def place() -> None:
        execute(begin)
        _place(execute, user_id, pick())
        execute("COMMIT")

    with closing(connection):
        yield place


def _place(execute: Callable[[str, Sequence[object]], Any], user_id: UUID, products: Sequence[UUID]) -> None:
    """Both drivers take every value as text: ids in hexadecimal, times in ISO 8601."""
    order_id, now = new_id().hex, datetime.now(UTC)
    at, until = str(now), str(now + timedelta(minutes=30))
    rows = [
        (key, name, sku, currency)
        for key, name, sku, currency in execute(_READ, [product.hex for product in products]).fetchall()
    ]
    lines = [
        {
            "product_id": str(UUID(str(key))),
            "quantity": 1,
            "name": name,
            "sku": sku,
            "price": str(PRICE),
            "currency": currency,
        }
        for key, name, sku, currency in rows
    ]
    items = [(new_id().hex, order_id, key, name, sku, PRICE, PRICE) for key, name, sku, _ in rows]
    total = PRICE * len(rows)
    data = json.dumps({"order_id": order_id, "items": [[str(key), 1, str(PRICE)] for key, *_ in rows]})
    execute(_RESERVE, [order_id, json.dumps(lines), until, at])
    execute(_ORDER, [order_id, order_id[-20:], user_id.hex, rows[0][3], total, total, until, at, at])
    execute(_ITEMS, [value for row in items for value in row])
    execute(_EVENT, [new_id().hex, order_id, data, at, at, at])
    # Last, for the shortest locks, and in one order everywhere, against deadlocks.
    for key in sorted(product.hex for product in products):
        if execute(_HOLD, [key]).rowcount != 1:
            raise RuntimeError("The floor ran out of stock.")
