"""Measures what follows an order: how soon stock is deducted once it is paid, and whether the relay and the worker keep
up with the web server.

`django.setup()` comes first.
"""

import os
import random
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from itertools import repeat
from pathlib import Path
from statistics import median
from uuid import UUID

import orjson
from django.conf import settings
from django.core.cache import cache
from django.utils import timezone
from redis import Redis

from apps.common.databases import alias_of, connection_of
from apps.events.models import OutboxEvent
from apps.orders.models import Payment
from apps.products.interface import MovementKind, ReservationState
from apps.products.models import Reservation, StockMovement
from bench.crowd import Talk, crowd, request, single
from bench.load import Ratio, Run, percentile, verdict
from bench.results import note
from bench.stock import Customer, body, customer, stock
from tests.shop import Shop

PRODUCTS = 1000
# A time that says something of a hundredth of all orders.
LEAST_SECONDS = 2
MOST_LAG = 1.0
DRAIN_SECONDS = 180
MOST_SECONDS = 900
_WARM_UP_SECONDS = 1
_BODIES = 2000
_PAYMENT = b'{"method": "card", "token": "tok_visa"}'
_LINE = "  {:<34}{:>8,.0f}/s"


def main(clients: str, rounds: str, seconds: str) -> None:
    signal.signal(signal.SIGALRM, lambda *_: sys.exit(f"FAILED: not done in {MOST_SECONDS} s."))
    signal.alarm(MOST_SECONDS)
    shop = Shop(Path(os.environ["DATA_DIR"]), os.environ)
    shop.manage("migrate_all")
    with ExitStack() as stack:
        stack.callback(forget)
        shop.start()
        stack.callback(shop.stop)
        events = Events(shop, int(clients))
        print(f"\nEvents on {connection_of('orders').display_name} and Redis, {clients} clients", flush=True)
        length = max(float(seconds), LEAST_SECONDS)
        print(f"  Web, relay and worker on one machine, {rounds} rounds of {length:g} s", flush=True)
        events.warm_up()
        for _ in range(int(rounds)):
            events.measure(length)
        events.report()
    shop.manage("audit")
    print("  Checked: every order that was paid is deducted once; the audit is clean.", flush=True)


@dataclass(frozen=True)
class Peak:
    """What came of the highest rate: what was left to do, how long it took, and how many events that were."""

    orders: Run
    backlog: int
    drain: float
    relayed: float
    settled: float


class Events:
    """Places and pays orders, and waits for what follows."""

    def __init__(self, shop: Shop, clients: int) -> None:
        self._shop = shop
        self._clients = clients
        self._buyer: Customer = customer()
        self._products: Sequence[UUID] = stock(PRODUCTS)
        self._placed: list[Run] = []
        self._peaks: list[Peak] = []
        self._steady: list[Run] = []
        self._wanted: list[float] = []
        self._lags: list[list[float]] = []

    def warm_up(self) -> None:
        crowd(self._shop.url, self._place_and_pay())(self._clients, _WARM_UP_SECONDS)
        self._drain()

    def measure(self, seconds: float) -> None:
        """One round: as many orders as go, then half as many by a schedule."""
        placing = single(self._requests())
        self._placed.append(crowd(self._shop.url, placing)(self._clients, seconds))
        self._drain()
        self._peaks.append(self._peak(seconds))
        wanted = self._peaks[-1].orders.rate / 2
        began = timezone.now()
        self._steady.append(crowd(self._shop.url, self._place_and_pay(), wanted)(self._clients, seconds))
        self._wanted.append(wanted)
        self._drain()
        self._lags.append(_lags(began))

    def report(self) -> None:
        print(_LINE.format("POST /orders", median(run.rate for run in self._placed)))
        print(_LINE.format("POST /orders and its /pay", median(each.orders.rate for each in self._peaks)))
        for each in self._peaks:
            print(
                f"  After {each.orders.calls:,} orders at that rate {each.backlog:,} effects were to come, "
                f"gone in {each.drain:.1f} s"
            )
        print(_LINE.format("relay and worker, events meanwhile", median(each.relayed for each in self._peaks)))
        print(_LINE.format("paid orders deducted meanwhile", median(each.settled for each in self._peaks)), end="   ")
        ratio = median(each.settled / each.orders.rate for each in self._peaks)
        print(f"{ratio:.2f} of POST /orders and its /pay")
        self._note_rates()
        for wanted, run, lags in zip(self._wanted, self._steady, self._lags, strict=True):
            slow = percentile(lags, 99)
            print(
                f"  Paid to deducted at half of it: {run.rate:,.0f}/s of {wanted:,.0f}/s asked for, "
                f"p50 {percentile(lags, 50):.2f} s, p99 {slow:.2f} s{verdict(slow, at_most=MOST_LAG)}"
            )
        slowest = median(percentile(lags, 99) for lags in self._lags)
        note("paid to deducted, at half of that rate", "p99", slowest, "s", at_most=MOST_LAG)

    def _note_rates(self) -> None:
        placed, paid = [run.rate for run in self._placed], [each.orders.rate for each in self._peaks]
        group = "web, relay and worker at once"
        note(group, "POST /orders", median(placed), "/s")
        note(group, "POST /orders and its /pay", median(paid), "/s", [Ratio(paid, placed, "POST /orders")])
        relayed, settled = [each.relayed for each in self._peaks], [each.settled for each in self._peaks]
        of = "POST /orders and its /pay"
        note(group, "events relayed meanwhile", median(relayed), "/s", [Ratio(relayed, paid, of)])
        note(group, "orders deducted meanwhile", median(settled), "/s", [Ratio(settled, paid, of)])

    def _peak(self, seconds: float) -> Peak:
        began, before = time.monotonic(), _published()
        deducted = _deducted()
        orders = crowd(self._shop.url, self._place_and_pay())(self._clients, seconds)
        relayed, settled = _published() - before, _deducted() - deducted
        wall = time.monotonic() - began
        backlog, drain = _backlog(), time.monotonic()
        self._drain()
        return Peak(orders, backlog, time.monotonic() - drain, relayed / wall, settled / wall)

    def _requests(self) -> list[bytes]:
        bodies = (body(random.sample(list(self._products), 2)) for _ in range(_BODIES))
        return [request(self._shop.url, "POST", "/api/v1/orders", self._buyer.token, each) for each in bodies]

    def _place_and_pay(self) -> Iterator[Talk]:
        requests = self._requests()

        def one(sent: bytes) -> Talk:
            order_id = orjson.loads((yield sent))["id"]
            yield request(self._shop.url, "POST", f"/api/v1/orders/{order_id}/pay", self._buyer.token, _PAYMENT)

        for each in repeat(requests):
            yield from map(one, each)

    def _drain(self) -> None:
        """Wait until everything that was to follow has come to pass."""
        self._shop.eventually(lambda: not _backlog(), seconds=DRAIN_SECONDS)


def _published() -> int:
    return OutboxEvent.objects.using(alias_of("orders")).exclude(published_at=None).count()


def _deducted() -> int:
    return Reservation.objects.filter(state=ReservationState.COMMITTED).count()


def _backlog() -> int:
    """Events that nobody has, and paid orders whose stock is still reserved."""
    waiting = OutboxEvent.objects.using(alias_of("orders")).filter(published_at=None).count()
    paid = Payment.objects.exclude(paid_at=None).values("order_id")
    return waiting + Reservation.objects.filter(state=ReservationState.ACTIVE, order_id__in=paid).count()


def _lags(began: datetime) -> list[float]:
    """From each payment since then to the ledger's line of it, in seconds."""
    paid = dict(Payment.objects.filter(paid_at__gte=began).values_list("order_id", "paid_at"))
    booked = StockMovement.objects.filter(kind=MovementKind.SALE, order_id__in=list(paid))
    last = dict(booked.order_by("created_at").values_list("order_id", "created_at"))
    if missing := paid.keys() - last.keys():
        sys.exit(f"FAILED: {len(missing)} paid orders were never deducted.")
    return [(last[order_id] - at).total_seconds() for order_id, at in paid.items() if at]


def forget() -> None:
    """Remove what the shop remembers in Redis, and its queues."""
    cache.delete_pattern("*")  # type: ignore[attr-defined] # django-redis
    with Redis.from_url(settings.BROKER_URL) as redis:
        if keys := list(redis.scan_iter(f"*{settings.QUEUE_PREFIX}*", count=10_000)):
            redis.delete(*keys)
