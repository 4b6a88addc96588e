"""Measures the relay and the deduction of stock in one process, against the same rows written by hand.

`django.setup()` comes first, on PostgreSQL with a broker; nobody takes what the relay sends.
"""

import os
import random
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from uuid import UUID

import psycopg
from celery import current_app
from django.utils import timezone

from apps.common.databases import alias_of
from apps.common.ids import new_id
from apps.events.models import OutboxEvent
from apps.events.relay import BATCH, relay_batch
from apps.orders.events import PAID
from apps.orders.interface import NewOrder
from apps.products.interface import StockLine
from apps.products.models import Reservation, StockLevel, StockMovement
from bench.events import forget
from bench.load import Ratio
from bench.results import note
from bench.stock import STOCK, customer, stock
from config import services
from tests.shop import Shop

PRODUCTS = 200
ORDERS = 600
MOST_SECONDS = 300
_CLAIM = """
    SELECT id, type, source, subject, sequence, data, version, traceparent, occurred_at FROM events_outboxevent
    WHERE published_at IS NULL AND (available_at IS NULL OR available_at <= now())
    ORDER BY id LIMIT %s FOR UPDATE SKIP LOCKED
"""
_LEASE = "UPDATE events_outboxevent SET available_at = now() + interval '30 seconds' WHERE id = ANY(%s)"
_PUBLISHED = "UPDATE events_outboxevent SET published_at = now() WHERE id = ANY(%s)"
_INBOX = """
    INSERT INTO events_inboxentry (consumer, event_id, applied, handled_at)
    SELECT 'floor', each, true, now() FROM unnest(%s::uuid[]) AS each
"""
_POSITIONS = """
    INSERT INTO events_inboxposition (consumer, subject, sequence, moved_at)
    SELECT 'floor', each, 2, now() FROM unnest(%s::uuid[]) AS each
"""
# One statement: what each order holds becomes a sale, with its ledger lines and an event for each product.
_SETTLE = """
    WITH moved AS (
        UPDATE products_reservation SET state = 'committed' WHERE order_id = ANY(%s) AND state = 'active'
        RETURNING order_id, lines
    ), line AS (
        SELECT order_id, (each ->> 'product_id')::uuid AS product_id, (each ->> 'quantity')::int AS units
        FROM moved, jsonb_array_elements(lines) AS each
    ), ledger AS (
        INSERT INTO products_stockmovement (id, product_id, delta, kind, reason, order_id, created_at)
        SELECT gen_random_uuid(), product_id, -units, 'sale', '', order_id, now() FROM line
    ), level AS (
        UPDATE products_stocklevel AS level
        SET on_hand = on_hand - sold.units, reserved = reserved - sold.units, version = version + 1
        FROM (SELECT product_id, sum(units) AS units FROM line GROUP BY product_id) AS sold
        WHERE sold.product_id = level.product_id
        RETURNING level.product_id, level.on_hand, level.version
    )
    INSERT INTO events_outboxevent (id, type, source, subject, sequence, data, version, traceparent, occurred_at,
        attempts, last_error, published_at, delivered_at)
    SELECT gen_random_uuid(), 'stock.changed', 'products', product_id, version,
        jsonb_build_object('product_id', product_id, 'on_hand', on_hand), 1, '', now(), 0, '', now(), now() FROM level
"""


def main(rounds: str) -> None:
    signal.signal(signal.SIGALRM, lambda *_: sys.exit(f"FAILED: not done in {MOST_SECONDS} s."))
    signal.alarm(MOST_SECONDS)
    Shop(Path(os.environ["DATA_DIR"]), os.environ).manage("migrate_all")
    print(f"\nRelay and worker on PostgreSQL and Redis, one process each, {rounds} rounds", flush=True)
    with ExitStack() as stack:
        stack.callback(forget)
        database = stack.enter_context(psycopg.connect(os.environ["DATABASE_URL"], autocommit=True))
        OutboxEvent.objects.using(alias_of("orders")).all().delete()
        orders = _place(customer().id, stock(PRODUCTS))
        _measure("relay, events", _relaying(database), [orders] * (2 * int(rounds)))
        share = len(orders) // (2 * int(rounds)) or 1
        parts = [orders[first : first + share] for first in range(0, share * 2 * int(rounds), share)]
        _measure("worker, orders deducted", _settling(database), parts)
        _check(sum(map(len, parts)))
    print("  Checked: every order was deducted once, by the shop or by hand.", flush=True)


def _place(user_id: UUID, products: Sequence[UUID]) -> list[UUID]:
    orders = [new_id() for _ in range(ORDERS)]
    for order_id in orders:
        lines = [StockLine(product_id=each, quantity=1) for each in random.sample(products, 2)]
        services.orders().place_order(order_id=order_id, user_id=user_id, new=NewOrder(lines=lines))
    return orders


# What is done to some orders: by hand, and as the shop does it.
Ways = tuple[Callable[[Sequence[UUID]], None], Callable[[Sequence[UUID]], None]]


def _measure(name: str, ways: Ways, parts: Sequence[Sequence[UUID]]) -> None:
    """By turns, each part of the orders by one way."""
    rates: tuple[list[float], list[float]] = ([], [])
    for number, part in enumerate(parts):
        OutboxEvent.objects.using(alias_of("orders")).all().update(published_at=None, available_at=None)
        began = time.monotonic()
        ways[number % 2](part)
        rates[number % 2].append(len(part) / (time.monotonic() - began))
    floor, ours = rates
    ratio = Ratio(ours, floor, "the same by hand")
    note("one process", f"{name}, by hand", median(floor), "/s")
    note("one process", name, median(ours), "/s", [ratio])
    print(
        f"  {f'{name}, by hand':<34}{median(floor):>8,.0f}/s\n  {name:<34}{median(ours):>8,.0f}/s   {ratio}", flush=True
    )


def _relaying(database: psycopg.Connection) -> Ways:
    def by_hand(_: Sequence[UUID]) -> None:
        while True:
            with database.transaction():
                ids = [row[0] for row in database.execute(_CLAIM, [BATCH]).fetchall()]
                database.execute(_LEASE, [ids])
            if not ids:
                return
            database.execute(_PUBLISHED, [ids])

    def ours(_: Sequence[UUID]) -> None:
        while relay_batch(alias_of("orders")):
            pass

    return by_hand, ours


def _settling(database: psycopg.Connection) -> Ways:
    def by_hand(orders: Sequence[UUID]) -> None:
        for batch in _batches(orders):
            with database.transaction():
                database.execute(_INBOX, [batch])
                database.execute(_POSITIONS, [batch])
                database.execute(_SETTLE, [batch])

    def ours(orders: Sequence[UUID]) -> None:
        for batch in _batches(orders):
            messages = [_paid(order_id) for order_id in batch]
            current_app.tasks["products.settle_reservation"].apply(args=(messages,), throw=True)

    return by_hand, ours


def _batches(orders: Sequence[UUID]) -> list[list[UUID]]:
    return [list(orders[first : first + BATCH]) for first in range(0, len(orders), BATCH)]


def _paid(order_id: UUID) -> dict[str, object]:
    """The message that the relay sends once an order is paid."""
    return {
        "id": str(new_id()),
        "type": PAID,
        "source": "orders",
        "subject": str(order_id),
        "sequence": 2,
        "data": {"order_id": str(order_id)},
        "timestamp": timezone.now().isoformat(),
        "version": 1,
        "traceparent": "",
    }


def _check(deducted: int) -> None:
    sold = PRODUCTS * STOCK - sum(StockLevel.objects.values_list("on_hand", flat=True))
    committed = Reservation.objects.filter(state="committed").count()
    lines = StockMovement.objects.filter(kind="sale").count()
    if (committed, sold, lines) != (deducted, 2 * deducted, 2 * deducted):
        sys.exit(f"FAILED: of {deducted} orders {committed} are deducted, with {sold} units and {lines} lines.")
