"""Measures whether it matters how many orders there are: two shops that differ in that alone, and the reports of the
larger one.

`django.setup()` comes first.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from statistics import median
from typing import Any
from uuid import UUID

import psycopg
import requests
from django.core.cache import cache

from bench.crowd import crowd, request, single
from bench.load import Case, Limits, Ratio, compare, verdict
from bench.results import note
from bench.stock import body
from tests.shop import ROOT, Shop

SMALL = 10_000
MOST_GROWTH = 1.3
MOST_REPORT_SECONDS = 0.1
WRITING_SECONDS = 600
MOST_SECONDS = 1200
_API = "/api/v1"
_HISTORY = "import sys, django; django.setup(); from bench.history import main; main(*sys.argv[1:])"


def main(orders: str, small_url: str, clients: str, rounds: str, seconds: str) -> None:  # noqa: ARG001 - one client asks
    signal.signal(signal.SIGALRM, lambda *_: sys.exit(f"FAILED: not done in {MOST_SECONDS} s."))
    signal.alarm(MOST_SECONDS)
    limits = Limits(1, int(rounds), float(seconds))
    with ExitStack() as stack:
        stack.callback(cache.delete_pattern, "*")  # type: ignore[attr-defined] # django-redis
        began = time.monotonic()
        small = stack.enter_context(_opened(min(SMALL, int(orders)), small_url))
        large = stack.enter_context(_opened(int(orders), os.environ["DATABASE_URL"]))
        print(f"\nScale on PostgreSQL and Redis, one client, {rounds} rounds of {seconds} s", flush=True)
        print(f"  {large.orders:,} orders, made in {time.monotonic() - began:.0f} s", flush=True)
        _measure_growth(small, large, limits)
        _measure_reports(large, replace(limits, seconds=min(limits.seconds, 1)))
    print("  Checked: the reports tell what the orders add up to.", flush=True)


@dataclass(frozen=True)
class Opened:
    """A running shop with a year of orders, and what is needed to ask for them."""

    orders: int
    shop: Shop
    database: str
    told: Mapping[str, Any]

    def cases(self) -> dict[str, Case]:
        token, staff = self.told["token"], self.told["staff"]
        picks = [random.sample(self.told["products"], 2) for _ in range(500)]
        url = self.shop.url
        asked = {
            "POST /orders": [request(url, "POST", f"{_API}/orders", token, body(list(map(UUID, p)))) for p in picks],
            "GET /orders/{id}": [request(url, "GET", f"{_API}/orders/{key}", token) for key in self.told["orders"]],
            "GET /orders, one's own": [request(url, "GET", f"{_API}/orders", token)],
            "GET /orders, all of them": [request(url, "GET", f"{_API}/orders", staff)],
        }
        return {name: Case(f"{self.orders:,}", crowd(url, single(sent))) for name, sent in asked.items()}


@contextmanager
def _opened(orders: int, database_url: str) -> Iterator[Opened]:
    folder = Path(os.environ["DATA_DIR"]) / f"of-{orders}-{database_url.rsplit('_', 1)[-1]}"
    folder.mkdir()
    prefix = f"{os.environ['BENCH_SHOP']}-{folder.name}"
    shop = Shop(folder, {**os.environ, "DATA_DIR": str(folder), "DATABASE_URL": database_url, "BENCH_SHOP": prefix})
    with ExitStack() as stack:
        stack.callback(cache.delete_pattern, "*", prefix=prefix)  # type: ignore[attr-defined] # django-redis
        shop.manage("migrate_all")
        told = json.loads(_history(shop, orders))
        shop.start(("-m", "bench.web"))
        stack.callback(shop.kill)
        yield Opened(orders, shop, database_url, told)


def _history(shop: Shop, orders: int) -> str:
    command = [sys.executable, "-c", _HISTORY, str(orders)]
    done = subprocess.run(
        command, cwd=ROOT, env=shop.environment, check=False, capture_output=True, text=True, timeout=WRITING_SECONDS
    )
    if done.returncode:
        sys.exit(f"FAILED: the orders could not be made: {done.stderr[-1000:]}")
    return done.stdout


def _measure_growth(small: Opened, large: Opened, limits: Limits) -> None:
    pairs = [(name, few, large_cases) for (name, few), large_cases in _paired(small, large)]
    compare([case for _, few, many in pairs for case in (few, many)], limits)
    sizes = "".join(f"{each.orders:>12,}" for each in (small, large))
    print(f"  {'Median time':<34}{sizes}   ratio")
    for name, few, many in pairs:
        times = "".join(f"{median(case.times) * 1000:>9.1f} ms" for case in (few, many))
        ratio = Ratio(many.times, few.times, few.name, at_most=MOST_GROWTH)
        print(f"  {name:<34}{times}   {ratio}", flush=True)
        note("one client, by orders", name, median(few.times) * 1000, "ms", at=small.orders)
        note("one client, by orders", name, median(many.times) * 1000, "ms", [ratio], at=large.orders)


def _paired(small: Opened, large: Opened) -> Iterator[tuple[tuple[str, Case], Case]]:
    return zip(small.cases().items(), large.cases().values(), strict=True)


def _measure_reports(large: Opened, limits: Limits) -> None:
    today = datetime.now(UTC).date()
    year = f"from={today - timedelta(days=365)}&to={today}"
    paths = {
        "sales of a year, by day": f"{_API}/orders/reports/sales?interval=day&{year}",
        "products of a year": f"{_API}/orders/reports/products?{year}",
        "status of a year": f"{_API}/orders/reports/status?{year}",
    }
    url, staff = large.shop.url, large.told["staff"]
    cases = [Case(name, crowd(url, single([request(url, "GET", path, staff)]))) for name, path in paths.items()]
    compare(cases, limits)
    for case in cases:
        found = median(case.times)
        most = MOST_REPORT_SECONDS * 1000
        print(f"  {case.name:<34}{found * 1000:>9.1f} ms{verdict(found * 1000, at_most=most)}")
        note(f"reports of {large.orders:,} orders", case.name, found * 1000, "ms", at_most=most)
    _check(large, paths)


def _check(large: Opened, paths: Mapping[str, str]) -> None:
    """The reports tell what the orders add up to."""
    headers = {"Authorization": f"Bearer {large.told['staff']}"}
    sales, _, status = (
        requests.get(large.shop.url + path, headers=headers, timeout=30).json() for path in paths.values()
    )
    with psycopg.connect(large.database) as database:
        wanted = database.execute("SELECT count(*), sum(amount) FROM orders_payment").fetchone()
    (total,) = sales["totals"]
    if (total["orders"], Decimal(total["amount"])) != wanted:
        sys.exit(f"FAILED: the report tells of {total}, and the payments are {wanted}.")
    counted: Sequence[int] = [row["orders"] for row in status["results"]]
    if sum(counted) != large.orders:
        sys.exit(f"FAILED: the report tells of {sum(counted)} orders, and {large.orders} were made.")
