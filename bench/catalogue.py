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
from http import HTTPStatus
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

from apps.common.paging import MAX_PAGE_SIZE
from bench import wire
from bench.load import Case, Driver, Limits, Ratio, compare, threads
from bench.results import note, note_rates
from bench.views import PAGE_SIZE
from tests.flow import statements
from tests.shop import Shop

# The larger shop sells that many times as many products.
TIMES = 10
LEAST_RATE = 0.4
MOST_GROWTH = 1.5
MOST_SECONDS = 900
# One client, and two dozen cases: more would take minutes.
MOST_GROWTH_SECONDS = 0.2

# A management command has two minutes.
_SEEDED_AT_ONCE = 25_000

_API = "/api/v1"
# The demo's catalogue has many of these, in either size.
_FILTER = {"category": "kitchen", "min_price": "50", "ordering": "price"}
_WORD = "kitchen"
# A bound that nothing reaches makes another address of the same page.
_ABOVE_ALL = 1_000_000


def main(products: str, small_url: str, clients: str, rounds: str, seconds: str) -> None:
    signal.signal(signal.SIGALRM, lambda *_: sys.exit(f"FAILED: not done in {MOST_SECONDS} s."))
    signal.alarm(MOST_SECONDS)
    limits = Limits(int(clients), int(rounds), float(seconds))
    with ExitStack() as stack:
        stack.callback(cache.delete_pattern, "*")  # type: ignore[attr-defined] # django-redis
        small = stack.enter_context(_stocked(int(products), small_url))
        large = stack.enter_context(_stocked(int(products) * TIMES, os.environ["DATABASE_URL"]))
        print(f"\nCatalogue on PostgreSQL and Redis, {clients} clients, {rounds} rounds of {seconds} s", flush=True)
        for stocked in (small, large):
            _check(stocked)
        _measure_rates(small, large, limits)
        _measure_growth(small, large, replace(limits, clients=1, seconds=min(limits.seconds, MOST_GROWTH_SECONDS)))
    print("  Checked: the bare views answer what the shops answer.", flush=True)


@dataclass(frozen=True)
class Stocked:
    """A running shop with a demo catalogue."""

    products: int
    shop: Shop
    prefix: str
    product_ids: list[str]

    def get(self, path: str) -> Driver:
        return self.get_each(lambda: path)

    def get_each(self, path: Callable[[], str], beforehand: Callable[[], object] = lambda: None) -> Driver:
        """A path for each call."""
        return threads(partial(wire.requests, self.shop.url, path), beforehand)

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
    for so_far in range(0, products, _SEEDED_AT_ONCE):
        wanted = min(products, so_far + _SEEDED_AT_ONCE)
        shop.manage("seed_demo", "--no-accounts", f"--products={wanted}", "--customers=0", "--orders=0")
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
        shops, bare = (requests.get(f"{stocked.shop.url}{at}/{path}", timeout=30) for at in (_API, "/bench"))
        if not shops.ok or shops.json() != bare.json():
            sys.exit(f"FAILED: the bare view of {path} does not answer what the shop of {stocked.products:,} answers.")


def _sql(path: str) -> tuple[int, int]:
    """How many statements the larger shop's database is sent by a request: the first time, and once all is known."""
    cache.delete_pattern("*")  # type: ignore[attr-defined] # django-redis
    here = APIClient()
    counts = []
    for _ in range(3):
        with statements() as sent:
            response = here.get(path)
        if response.status_code != HTTPStatus.OK:
            raise RuntimeError(f"GET {path}: {response.status_code} {response.content[:300]!r}")
        counts.append(len(sent))
    return counts[0], counts[-1]


def _path(address: str, query: Mapping[str, object]) -> str:
    return f"{address}?{urlencode(query)}"


# --- Rates ---------------------------------------------------------------------------------------


def _measure_rates(small: Stocked, large: Stocked, limits: Limits) -> None:
    of_product = _sql(f"{_API}/products/{large.product_ids[0]}")
    of_page = _sql(_path(f"{_API}/products", _FILTER))
    cases = {shop.products: [*_of_product(shop, of_product), *_of_page(shop, of_page)] for shop in (small, large)}
    compare([case for of_one in cases.values() for case in of_one], limits)
    for products, of_one in cases.items():
        title = f"{products:,} products"
        print(f"  {title:<34}{'rate':>10} {'SQL':>4}   ratio, median (lowest to highest round)", *of_one, sep="\n")
        note_rates(title, of_one)


def _of_product(stocked: Stocked, sql: tuple[int, int]) -> list[Case]:
    product_id = stocked.product_ids[0]
    others = cycle(random.sample(stocked.product_ids, len(stocked.product_ids)))
    bare = Case("bare view of a product", stocked.get(f"/bench/products/{product_id}"))
    known = stocked.get(f"{_API}/products/{product_id}")
    first = stocked.get_each(lambda: f"{_API}/products/{next(others)}")
    return [
        bare,
        Case("GET /products/{id}", known, [bare], sql[1], at_least=LEAST_RATE),
        Case("GET /products/{id}, first time", first, [bare], sql[0]),
    ]


def _of_page(stocked: Stocked, sql: tuple[int, int]) -> list[Case]:
    bounds = count(_ABOVE_ALL)
    bare = Case("bare view of a page", stocked.get(_path("/bench/products", _FILTER)), statements=1)
    known = stocked.get(_path(f"{_API}/products", _FILTER))
    first = stocked.get_each(lambda: _path(f"{_API}/products", {**_FILTER, "max_price": next(bounds)}))
    return [
        bare,
        Case("GET /products", known, [bare], sql[1], at_least=LEAST_RATE),
        Case("GET /products, first time", first, [bare], sql[0]),
    ]


# --- Growth --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Growth:
    """The same request to both shops."""

    name: str
    small: Case
    large: Case
    statements: int

    def __str__(self) -> str:
        times = [f"{median(case.times) * 1000:>7.1f} ms" for case in (self.small, self.large)]
        return f"  {self.name:<34}{''.join(times)} {self.statements:>4}   {self._ratio}"

    def note(self, few: int, many: int) -> None:
        group = "one client, first time" if self.name.endswith("first time") else "one client, remembered"
        for case, at, ratios in ((self.small, few, []), (self.large, many, [self._ratio])):
            note(group, self.name, median(case.times) * 1000, "ms", ratios, at=at, sql=self.statements)

    @property
    def _ratio(self) -> Ratio:
        return Ratio(self.large.times, self.small.times, self.small.name, at_most=MOST_GROWTH)


def _measure_growth(small: Stocked, large: Stocked, limits: Limits) -> None:
    paths = _paths(small)
    growths = [growth for name, path in paths.items() for growth in _growths(name, path, small, large)]
    compare([case for growth in growths for case in (growth.small, growth.large)], limits)
    sizes = "".join(f"{stocked.products:>10,}" for stocked in (small, large))
    print(f"  {'One client, median time':<34}{sizes} {'SQL':>4}   ratio", *growths, sep="\n")
    for growth in sorted(growths, key=lambda each: each.name.endswith("first time")):
        growth.note(small.products, large.products)
    uneven = [
        name for name, path in paths.items() if _sql(f"{path}&page_size=1") != _sql(f"{path}&page_size={MAX_PAGE_SIZE}")
    ]
    print("  SQL depends on the page size: " + (f"{', '.join(uneven)}: MISSED" if uneven else "nowhere: reached"))


def _paths(small: Stocked) -> Mapping[str, str]:
    # Four fifths down the list of the smaller shop.
    deep = max(len(small.product_ids) * 4 // 5 // PAGE_SIZE, 1)
    search = f"{_API}/products/search"
    return {
        "list": _path(f"{_API}/products", {"page": 1}),
        f"list, page {deep}": _path(f"{_API}/products", {"page": deep}),
        "list, filtered": _path(f"{_API}/products", _FILTER),
        "search with facets": _path(search, {"q": _WORD}),
        "search, filtered": _path(search, {"q": _WORD, **_FILTER}),
        "suggest": _path(f"{_API}/products/suggest", {"q": _WORD[:3]}),
    }


def _growths(name: str, path: str, small: Stocked, large: Stocked) -> list[_Growth]:
    first, known = _sql(path)
    again = [Case(f"{each.products:,}", each.get(path)) for each in (small, large)]
    anew = [Case(f"{each.products:,}", each.get_each(lambda: path, each.forget)) for each in (small, large)]
    return [_Growth(name, again[0], again[1], known), _Growth(f"{name}, first time", anew[0], anew[1], first)]
