"""The floor on SQLite: an order as plain SQL, in one transaction of the bare driver.

It writes what the service writes, in the service's own tables: the same rows, constraints and indexes.
"""

import json
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from uuid import UUID

from apps.common.ids import new_id
from bench.load import Call

Pick = Callable[[], Sequence[UUID]]

# Every product of the benchmark costs this.
PRICE = 10
# What tells the floor's orders from the shop's.
NOTE = "floor"

_READ = "SELECT _id, name, sku, currency FROM products_product WHERE _id IN (?, ?) AND active AND deleted_at IS NULL"
_RESERVE = """
    INSERT INTO products_reservation (order_id, lines, returns, state, change, expires_at, created_at)
    VALUES (?, ?, '[]', 'active', 0, ?, ?)
"""
_ORDER = """
    INSERT INTO orders_order (id, number, user_id, status, currency, subtotal, shipping_cost, total, note, sequence,
        changes, expires_at, created_at, updated_at)
    VALUES (?, ?, ?, 'pending', ?, ?, 0, ?, ?, 1, 0, ?, ?, ?)
"""
_ITEMS = """
    INSERT INTO orders_orderitem (id, order_id, product_id, product_name, sku, quantity, price, total)
    VALUES (?, ?, ?, ?, ?, 1, ?, ?), (?, ?, ?, ?, ?, 1, ?, ?)
"""
# Already published, and of a type that nobody subscribes to: the relay must not work for the floor.
_EVENT = """
    INSERT INTO events_outboxevent (id, type, source, subject, sequence, data, version, traceparent, occurred_at,
        available_at, attempts, last_error, published_at, delivered_at)
    VALUES (?, 'product.updated', 'orders', ?, 1, ?, 1, '', ?, ?, 0, '', ?, ?)
"""
_HOLD = "UPDATE products_stocklevel SET reserved = reserved + 1 WHERE product_id = ? AND reserved < on_hand"
_REMOVE = f"""
    CREATE TEMP TABLE gone AS SELECT id FROM orders_order WHERE note = '{NOTE}';
    UPDATE products_stocklevel SET reserved = reserved - (
        SELECT coalesce(sum(quantity), 0) FROM orders_orderitem AS item
        WHERE item.product_id = products_stocklevel.product_id AND order_id IN (SELECT id FROM gone)
    );
    DELETE FROM events_outboxevent WHERE id IN (SELECT id FROM gone);
    DELETE FROM orders_orderitem WHERE order_id IN (SELECT id FROM gone);
    DELETE FROM products_reservation WHERE order_id IN (SELECT id FROM gone);
    DELETE FROM orders_order WHERE id IN (SELECT id FROM gone);
"""
STATEMENTS = len([_READ, _RESERVE, _ORDER, _ITEMS, _EVENT, _HOLD, _HOLD])


@contextmanager
def client(file: str, user_id: UUID, pick: Pick) -> Iterator[Call]:
    """Orders on a connection to SQLite's file, with the shop's settings."""

    def place() -> None:
        connection.execute("BEGIN IMMEDIATE")
        _place(connection, user_id, pick())
        connection.execute("COMMIT")

    with closing(sqlite3.connect(file, timeout=30, isolation_level=None)) as connection:
        connection.executescript("PRAGMA synchronous=NORMAL; PRAGMA foreign_keys=ON")
        yield place


def remove(file: str) -> None:
    """Take the floor's orders away, and give their stock back: the audit is then of the shop's own."""
    with closing(sqlite3.connect(file, timeout=30)) as connection:
        connection.executescript(_REMOVE)


def _place(connection: sqlite3.Connection, user_id: UUID, products: Sequence[UUID]) -> None:
    """Every value as Django writes it to SQLite: ids in hexadecimal, times in ISO 8601."""
    execute = connection.execute
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
    execute(_ORDER, [order_id, order_id[-20:], user_id.hex, rows[0][3], total, total, NOTE, until, at, at])
    execute(_ITEMS, [value for row in items for value in row])
    execute(_EVENT, [order_id, order_id, data, at, at, at, at])
    # Last, for the shortest locks, and in one order everywhere, against deadlocks.
    for key in sorted(product.hex for product in products):
        if execute(_HOLD, [key]).rowcount != 1:
            raise RuntimeError("The floor ran out of stock.")
