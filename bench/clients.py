"""Measures how cost grows with those who call at once: orders and a product over HTTP, and the floor beside them.

`django.setup()` comes first, on PostgreSQL.
"""

import os
import random
import signal
import sys
from contextlib import ExitStack
from pathlib import Path

from django.core.cache import cache

from apps.orders.models import Order
from bench import pgbench
from bench.crowd import crowd, request, single
from bench.load import Case, Limits, compare
from bench.results import note, note_rates
from bench.stock import body, customer, stock
from tests.shop import Shop

COUNTS = (1, 4, 16, 64)
PRODUCTS = 200
MOST_SECONDS = 600
_BODIES = 1000
_ORDER = "POST /orders"


def main(most: str, rounds: str, seconds: str, program: str) -> None:
    """Up to so many clients; `program` is pgbench."""
    signal.signal(signal.SIGALRM, lambda *_: sys.exit(f"FAILED: not done in {MOST_SECONDS} s."))
    signal.alarm(MOST_SECONDS)
    shop = Shop(Path(os.environ["DATA_DIR"]), os.environ)
    shop.manage("migrate_all")
    with ExitStack() as stack:
        stack.callback(cache.delete_pattern, "*")  # type: ignore[attr-defined] # django-redis
        buyer = customer()
        stock(PRODUCTS)
        products = pgbench.number_products(os.environ["DATABASE_URL"], PRODUCTS)
        shop.start(("-m", "bench.web"))
        stack.callback(shop.kill)
        script = pgbench.script(Path(os.environ["DATA_DIR"]), "spread")
        bodies = [body(random.sample(products[1:], 2)) for _ in range(_BODIES)]
        orders = [request(shop.url, "POST", "/api/v1/orders", buyer.token, each) for each in bodies]
        look = [request(shop.url, "GET", f"/api/v1/products/{products[0]}", buyer.token)]
        print(f"\nClients on PostgreSQL and Redis, {rounds} rounds of {seconds} s", flush=True)
        answered = 0
        for clients in [count for count in COUNTS if count <= int(most)] or [int(most)]:
            floor = Case("floor", pgbench.floor(program, os.environ["DATABASE_URL"], script, buyer.id, PRODUCTS))
            health = Case("GET /health", crowd(shop.url, single([request(shop.url, "GET", "/health", "")])))
            product = Case("GET /products/{id}", crowd(shop.url, single(look)), [health])
            order = Case(_ORDER, crowd(shop.url, single(orders)), [floor, health])
            cases = [floor, health, product, order]
            compare(cases, Limits(clients, int(rounds), float(seconds)))
            print(f"  {clients} at once", *cases, sep="\n", flush=True)
            _note(cases, clients)
            answered += order.calls + floor.calls
    if answered != Order.objects.count():
        sys.exit(f"FAILED: {answered} orders were answered, {Order.objects.count()} are there.")
    print(f"  Checked: {answered:,} orders are there.", flush=True)


def _note(cases: list[Case], clients: int) -> None:
    note_rates("by clients", cases, at=clients)
    for case in cases:
        if case.name in {_ORDER, "GET /products/{id}"}:
            note(
                "how long a client waits, by clients", f"{case.name}, p50", case.percentile(50) * 1000, "ms", at=clients
            )
            note(
                "how long a client waits, by clients", f"{case.name}, p99", case.percentile(99) * 1000, "ms", at=clients
            )
