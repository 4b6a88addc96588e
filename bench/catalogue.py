"""Measures the catalogue over HTTP: two shops that differ in their size alone, and bare views beside them.

`django.setup()` comes first, on the database of the larger shop.
"""

import os
import random
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import count, cycle
from pathlib import Path
from statistics import median
from urllib.parse import urlencode

import psycopg
import requests
from django.conf import settings
from django.core.cache import cache
from redis import Redis
from rest_framework.test import APIClient

from apps.common.api.paging import MAX_PAGE_SIZE
from bench import wire
from bench.load import Case, Client, Limits, Ratio, compare
from bench.views import PAGE_SIZE
from tests.flow import statements
from tests.shop import Shop

# The larger shop sells that many times as many products.
TIMES = 10
LEAST_RATE = 0.4
MOST_GROWTH = 1.5
MOST_SECONDS = 900

_LIST = "/api/v1/products"
# The demo's catalogue has many of these, in either size.
_FILTER = {"category": "kitchen", "min_price": "50", "ordering": "price"}
_WORD = "kitchen"
# A bound that nothing reaches makes another address of the same page.
_ABOVE_ALL = 1_000_000


def main(products: str, small_url: str, large_url: str, clients: str, rounds: str, seconds: str) -> None:
    signal.signal(signal.SIGALRM, lambda *_: sys.exit(f"FAILED: not done in {MOST_SECONDS} s."))
    signal.alarm(MOST_SECONDS)
    limits = Limits(int(clients), int(rounds), float(seconds))
    with ExitStack() as stack:
        stack.callback(cache.delete_pattern, "*")  # type: ignore[attr-defined] # django-redis
        small = stack.enter_context(_stocked(int(products), small_url))
        large = stack.enter_context(_stocked(int(products) * TIMES, large_url))
        print(f"\nCatalogue on PostgreSQL and Redis, {clients} clients, {rounds} rounds of {seconds} s", flush=True)
        for stocked in (small, large):
            _check(stocked)
        _measure_rates([small, large], limits)
        _measure_growth(small, large, replace(limits, clients=1))
    print("  Checked: the bare views answer what the shops answer.", flush=True)


@dataclass(frozen=True)
class Stocked:
    """A running shop with a demo catalogue."""

    products: int
    shop: Shop
    prefix: str
    product_ids: list[str]

    def get(self, path: str) -> Client:
        return self.get_each(lambda: path)

    def get_each(self, path: Callable[[], str]) -> Client:
        """A path for each call."""
        return partial(wire.requests, self.shop.url, path)

    def forget(self) -> None:
        """Empty what the shop remembers in Redis."""
        with Redis.from_url(settings.REDIS_URL) as redis:
            if keys := list(redis.scan_iter(f"{self.prefix}:*", count=10_000)):
                redis.delete(*keys)


@contextmanager
def _stocked(products: int, database_url: str) -> Iterator[Stocked]:
    folder = Path(os.environ["DATA_DIR"]) / str(products)
    folder.mkdir()
    prefix = f"{os.environ['BENCH_SHOP']}-{products}"
    own = {"DATA_DIR": str(folder), "DATABASE_URL": database_url, "BENCH_SHOP": prefix}
    shop = Shop(folder, {**os.environ, **own})
    shop.manage("migrate_all")
    shop.manage("seed_demo", "--no-accounts", f"--products={products}", "--customers=0", "--orders=0")
    with psycopg.connect(database_url, autocommit=True) as database:
        database.execute("VACUUM ANALYZE")
        rows = database.execute("SELECT _id::text FROM products_product WHERE active").fetchall()
    stocked = Stocked(products, shop, prefix, [product_id for (product_id,) in rows])
    try:
        shop.start()
        yield stocked
    finally:
        shop.kill()
        stocked.forget()


def _check(stocked: Stocked) -> None:
    """The bare views answer what the shop answers."""
    product = f"products/{stocked.product_ids[0]}"
    for path in (product, _path("products", _FILTER)):
        shops, bare = (requests.get(f"{stocked.shop.url}{at}{path}", timeout=30) for at in ("/api/v1/", "/bench/"))
        if not shops.ok or shops.json() != bare.json():
            sys.exit(f"FAILED: the bare view of {path} does not answer what the shop of {stocked.products:,} answers.")


# --- Rates ---------------------------------------------------------------------------------------


def _measure_rates(shops: list[Stocked], limits: Limits) -> None:
    cases = {stocked.products: _rates(stocked) for stocked in shops}
    compare([case for of_one in cases.values() for case in of_one], limits)
    for products, of_one in cases.items():
        name = f"{products:,} products"
        print(f"  {name:<34}{'rate':>10} {'SQL':>4}   ratio, median (lowest to highest round)", *of_one, sep="\n")


def _rates(stocked: Stocked) -> list[Case]:
    product = f"products/{stocked.product_ids[0]}"
    page = _path("products", _FILTER)
    others = cycle(random.sample(stocked.product_ids, len(stocked.product_ids)))
    bounds = count(_ABOVE_ALL)
    known = Case("bare view of a product", stocked.get(f"/bench/{product}"))
    asked = Case("bare view of a page, filtered", stocked.get(f"/bench/{page}"), statements=1)
    return [
        known,
        Case(
            "GET /products/{id}",
            stocked.get(f"/api/v1/{product}"),
            [known],
            _statements(f"/api/v1/products/{_any_product()}", is_known=True),
            at_least=LEAST_RATE,
        ),
    ]
