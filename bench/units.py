"""Measures what one operation costs each process: processor time, commits, bytes of WAL and of tables.

`django.setup()` comes first, on PostgreSQL with a broker on this machine. `bench.simulate` reckons with these figures.
"""

import os
import random
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from statistics import median
from urllib.parse import urlsplit

import orjson
import psutil
import psycopg
from django.conf import settings
from redis import Redis

from apps.common.databases import alias_of
from apps.events.models import OutboxEvent
from apps.orders.models import Payment
from apps.products.models import Reservation
from bench.crowd import Talk, crowd, request, single
from bench.events import forget
from bench.load import Driver
from bench.memory import processor_seconds
from bench.results import ALONE, BYTES, DATABASE, FLUSH, LOOKED, MEASURING, PAID, PLACED, PROCESSOR, note
from bench.stock import body, customer, stock
from tests.shop import Shop

PRODUCTS = 200
# The kernel counts processor time in hundredths of a second: what is short says little.
TIMES_AS_LONG = 5
MOST_SECONDS = 300
DRAIN_SECONDS = 120
_PAYMENT = b'{"method": "card", "token": "tok_visa"}'
_BODIES = 1000
_WARM_UP_SECONDS = 0.5
_FLUSHES = 200


@dataclass(frozen=True)
class Reading:
    """What has been spent so far: seconds of a processor by process, and what PostgreSQL has counted."""

    seconds: Mapping[str, float]
    commits: int
    wal: int
    sizes: Mapping[str, int]


class Meter:
    """Reads what a shop's processes and stores have spent."""

    def __init__(self, shop: Shop, database: psycopg.Connection, redis: Redis) -> None:
        self._shop, self._database, self._redis = shop, database, redis
        self._name = urlsplit(os.environ["DATABASE_URL"]).path.lstrip("/")

    def read(self) -> Reading:
        cpu = self._redis.info("cpu")
        others = {
            MEASURING: time.process_time(),
            "PostgreSQL": sum(map(_seconds, self._backends())),
            "Redis": float(cpu["used_cpu_sys"]) + float(cpu["used_cpu_user"]),
        }
        self._database.execute("SELECT pg_stat_clear_snapshot()")
        counted = self._database.execute(
            "SELECT (SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()),"
            " (pg_current_wal_insert_lsn() - '0/0')::bigint"
        ).fetchone()
        sizes = self._database.execute(
            "SELECT relname, pg_total_relation_size(oid) FROM pg_class WHERE relkind = 'r' AND relnamespace ="
            " 'public'::regnamespace"
        ).fetchall()
        commits, wal = counted or (0, 0)
        seconds = {**processor_seconds(self._shop.processes()), **others}
        return Reading(seconds, commits, wal, dict(sizes))

    def _backends(self) -> Iterator[psutil.Process]:
        """PostgreSQL's processes that serve the shop's connections. Where it runs elsewhere there are none."""
        for process in psutil.process_iter(["cmdline"]):
            if f" {self._name} " in " ".join(process.info["cmdline"] or ()):
                yield process


def main(clients: str, rounds: str, seconds: str) -> None:  # noqa: ARG001 - one long round instead
    signal.signal(signal.SIGALRM, lambda *_: sys.exit(f"FAILED: not done in {MOST_SECONDS} s."))
    signal.alarm(MOST_SECONDS)
    shop = Shop(Path(os.environ["DATA_DIR"]), os.environ)
    shop.manage("migrate_all")
    with ExitStack() as stack:
        stack.callback(forget)
        token, products = customer().token, stock(PRODUCTS)
        stack.callback(shop.kill)
        database = stack.enter_context(psycopg.connect(os.environ["DATABASE_URL"], autocommit=True))
        meter = Meter(shop, database, stack.enter_context(Redis.from_url(settings.REDIS_URL)))
        length = float(seconds) * TIMES_AS_LONG
        print(f"\nUnit costs on PostgreSQL and Redis, {clients} clients, {length:g} s each", flush=True)
        bodies = [body(random.sample(list(products), 2)) for _ in range(_BODIES)]
        orders = [request(shop.url, "POST", "/api/v1/orders", token, each) for each in bodies]
        look = [request(shop.url, "GET", f"/api/v1/products/{products[0]}", token)]
        placing = crowd(shop.url, single(orders))
        # The web server alone: nothing else must work for the same database.
        shop.start(("-m", "bench.web"))
        note(f"{DATABASE} {PLACED}", FLUSH, _flush(database) * 1000, "ms")
        for name, drive, count in (
            (LOOKED, crowd(shop.url, single(look)), int(clients)),
            (ALONE, placing, 1),
            (PLACED, placing, int(clients)),
        ):
            drive(count, _WARM_UP_SECONDS)
            _measure(meter, name, lambda drive=drive, count=count: drive(count, length).calls)  # type: ignore[misc]
        shop.kill()
        # And then all of it, until nothing is left to do.
        shop.start()
        paying = crowd(shop.url, _paying(shop, token, orders))
        paying(int(clients), _WARM_UP_SECONDS)
        _drain(shop)
        _measure(meter, PAID, lambda: _drive(shop, paying, int(clients), length))
    shop.manage("audit")
    print("  Checked: the audit is clean.", flush=True)


def _drive(shop: Shop, drive: Driver, clients: int, seconds: float) -> int:
    calls = drive(clients, seconds).calls
    _drain(shop)
    return calls


def _measure(meter: Meter, name: str, work: Callable[[], int]) -> None:
    """What it costs until nothing is left to do, by the number of operations."""
    before = meter.read()
    calls = work()
    after = meter.read()
    spent = {role: (after.seconds.get(role, 0) - before.seconds.get(role, 0)) * 1000 / calls for role in after.seconds}
    print(f"  {name}, {calls:,} times", flush=True)
    for role, milliseconds in sorted(spent.items(), key=lambda item: -item[1]):
        note(f"{PROCESSOR} {name}", role, milliseconds, "ms")
        print(f"    {role:<24}{milliseconds:>8.3f} ms", flush=True)
    commits, wal = (after.commits - before.commits) / calls, (after.wal - before.wal) / calls
    note(f"{DATABASE} {name}", "commits", commits, "commits")
    note(f"{DATABASE} {name}", "write-ahead log", wal, "bytes")
    print(f"    {commits:.2f} commits, {wal:,.0f} bytes of WAL", flush=True)
    if name == PAID:
        grown = {table: (size - before.sizes.get(table, 0)) / calls for table, size in after.sizes.items()}
        for table, size in sorted(grown.items(), key=lambda item: -item[1]):
            if size >= 1:
                note(f"{BYTES} {name}", table, size, "bytes")
        note(f"{BYTES} {name}", "all tables", sum(grown.values()), "bytes")
        print(f"    {sum(grown.values()):,.0f} bytes of tables and indexes", flush=True)


def _flush(database: psycopg.Connection) -> float:
    """How many seconds a commit takes beyond its statement: the middle of many of each."""
    database.execute("CREATE TEMP TABLE unlogged (n int)")
    database.execute("CREATE TABLE bench_flush (n int)")
    times: dict[str, list[float]] = {"unlogged": [], "bench_flush": []}
    for _ in range(_FLUSHES):
        for table, found in times.items():
            began = time.perf_counter()
            database.execute(f"INSERT INTO {table} VALUES (1)")
            found.append(time.perf_counter() - began)
    database.execute("DROP TABLE bench_flush")
    return max(median(times["bench_flush"]) - median(times["unlogged"]), 0)


def _paying(shop: Shop, token: str, orders: list[bytes]) -> Iterator[Talk]:
    def one(sent: bytes) -> Talk:
        order_id = orjson.loads((yield sent))["id"]
        yield request(shop.url, "POST", f"/api/v1/orders/{order_id}/pay", token, _PAYMENT)

    for each in repeat(orders):
        yield from map(one, each)


def _drain(shop: Shop) -> None:
    """Wait until events are out and what was paid is deducted."""

    def is_done() -> bool:
        if OutboxEvent.objects.using(alias_of("orders")).filter(published_at=None).exists():
            return False
        paid = Payment.objects.exclude(paid_at=None).values("order_id")
        return not Reservation.objects.filter(state="active", order_id__in=paid).exists()

    shop.eventually(is_done, seconds=DRAIN_SECONDS)


def _seconds(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0
    return float(times.user + times.system)
