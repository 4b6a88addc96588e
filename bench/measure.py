"""Measures orders in the shop of its environment: the floor and the service, then HTTP.

`django.setup()` comes first.
"""

import os
import random
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import count
from pathlib import Path
from statistics import median
from uuid import UUID

from django.core.cache import cache
from django.db import connections
from django.db.models import OuterRef, Subquery, Sum
from django.db.models.functions import Coalesce
from rest_framework.test import APIClient

from apps.common.databases import alias_of, connection_of
from apps.common.ids import new_id
from apps.events.models import OutboxEvent
from apps.events.relay import relay_batch
from apps.orders.interface import NewOrder
from apps.orders.models import Order, OrderItem
from apps.products.interface import StockLine
from apps.products.models import StockLevel
from bench import floor, pgbench
from bench.crowd import Talk, crowd, request, single
from bench.load import Call, Case, Driver, Limits, compare, threads, verdict
from bench.processes import Processes, processes
from bench.results import note, note_rates
from bench.stock import Customer, body, customer, stock
from config import services
from tests.flow import statements
from tests.shop import Shop

PRODUCTS = 1000
WEB_PROCESSES = 2
LEAST_SERVICE = 0.5
LEAST_HTTP = 0.35
LEAST_HOT = 0.8
MOST_SPREAD = 20
RELAY_SECONDS = 3
DRAIN_SECONDS = 60
MOST_SECONDS = 600
# Requests that are made before they are measured, and sent again and again.
_BODIES = 2000

Pick = Callable[[], Sequence[UUID]]


def main(clients: str, rounds: str, seconds: str, program: str = "") -> None:
    """On PostgreSQL `program` is pgbench."""
    signal.signal(signal.SIGALRM, lambda *_: sys.exit(f"FAILED: not done in {MOST_SECONDS} s."))
    signal.alarm(MOST_SECONDS)
    limits = Limits(int(clients), int(rounds), float(seconds))
    shop = Shop(Path(os.environ["DATA_DIR"]), os.environ)
    shop.manage("migrate_all")
    with ExitStack() as stack:
        stack.callback(_forget)
        hands = stack.enter_context(processes(WEB_PROCESSES, _place)) if program else None
        bench = Bench(shop, program, hands)
        print(f"\nOrders on {bench.vendor}, {clients} clients, {rounds} rounds of {seconds} s", flush=True)
        print(f"  {'':<34}{'rate':>10} {'SQL':>4}   ratio, median (lowest to highest round)", flush=True)
        in_process = bench.in_process()
        compare(in_process, limits)
        print(*in_process, sep="\n", flush=True)
        if not program:
            relayed = bench.relay()
            print(f"  {'relay with its subscribers':<34}{relayed:>8,.0f}/s events", flush=True)
            note("in process", "relay with its subscribers", relayed, "/s")
    note_rates("in process", in_process)
    over_http = _over_http(bench, shop, limits)
    bench.check([*in_process, *over_http])
    shop.manage("audit")
    print(f"  Checked: {Order.objects.count():,} orders, each with its stock reserved; the audit is clean.", flush=True)


def _over_http(bench: "Bench", shop: Shop, limits: Limits) -> list[Case]:
    # On PostgreSQL the web server has the machine to itself, as the floor has.
    shop.start(("-m", "bench.web") if bench.program else ("manage.py", "serve"))
    try:
        cases = bench.over_http()
        compare(cases, limits)
    finally:
        shop.kill()
        _forget()
    print(*cases, sep="\n", flush=True)
    note_rates("over HTTP", cases)
    for case in cases:
        if case.name.startswith("POST"):
            print(f"  {_waiting(case)}", flush=True)
            spread = case.percentile(99) / case.percentile(50)
            note("p99 of p50", case.name, spread, "times", at_most=MOST_SPREAD)
    return cases


def _waiting(case: Case) -> str:
    """How long clients waited, and whether each had its share."""
    middle, slow = case.percentile(50), case.percentile(99)
    fewest, most = min(map(min, (run.shares for run in case.runs))), max(map(max, (run.shares for run in case.runs)))
    return (
        f"{case.name:<34}p50 {middle * 1000:.1f} ms, p99 {slow * 1000:.1f} ms: "
        f"{slow / middle:.1f} times{verdict(slow / middle, at_most=MOST_SPREAD)}; "
        f"calls of a client in a round {fewest} to {most}{'' if fewest else ': MISSED'}; "
        f"measuring took {median(run.own for run in case.runs):.0%} of a processor"
    )


class Bench:
    """The customer, the products and the cases of one database."""

    def __init__(self, shop: Shop, program: str, hands: Processes | None) -> None:
        self._shop = shop
        self.program = program
        self._hands = hands
        self.vendor = connection_of("orders").display_name
        self._buyer: Customer = customer()
        self._products: Sequence[UUID] = stock(PRODUCTS)
        if program:
            self._products = pgbench.number_products(os.environ["DATABASE_URL"], PRODUCTS)
        # What the relay is measured with are orders.
        OutboxEvent.objects.using(alias_of("orders")).all().delete()
        self._counted = 0
        self._keys = count()

    def in_process(self) -> list[Case]:
        cases = []
        for where, pick in self._picks().items():
            base = self._floor(where, pick)
            sql = self._count(partial(_place, (self._buyer.id, where, self._products)))
            aim = LEAST_SERVICE if where == "spread" and self.program else None
            cases += [base, Case(f"service, {where}", self._service(where), [base], sql, at_least=aim)]
        return cases

    def over_http(self) -> list[Case]:
        health = self._get("GET /health", "/health", ())
        cases = [
            health,
            self._get("GET /products/{id}", f"/api/v1/products/{self._products[0]}", [health]),
            self._get("GET /products", "/api/v1/products", [health]),
            self._get("GET /orders", "/api/v1/orders", [health]),
        ]
        found: list[Case] = []
        for where, pick in self._picks().items():
            base = self._floor(where, pick)
            # On PostgreSQL what a hot product is compared with first is the rate of others.
            against = [*found, base, health] if self.program else [base, health]
            aim = {"spread": LEAST_HTTP, "hot": LEAST_HOT}[where] if self.program else None
            found = [self._post(f"POST /orders, {where}", pick, against, aim)]
            cases += [base, *found]
        keyed = self._post("POST /orders, with a key", self._picks()["spread"], [cases[5]], with_key=True)
        return [*cases, keyed]

    def relay(self) -> float:
        """Events per second. What is left when the time is up follows uncounted: the reports must know of it."""
        began, done = time.monotonic(), 0
        while time.monotonic() < began + RELAY_SECONDS and (taken := relay_batch(alias_of("orders"))):
            done += taken
        rate = done / (time.monotonic() - began)
        while relay_batch(alias_of("orders")):
            pass
        return rate

    def check(self, cases: list[Case]) -> None:
        """The stock that is reserved is that of the orders, and every call that was answered made one. Then the floor's
        orders go.
        """
        wanted = self._counted + sum(case.calls for case in cases if not case.name.startswith("GET"))
        placed = Order.objects.count()
        if placed != wanted:
            sys.exit(f"FAILED: {wanted} orders were answered, {placed} are there.")
        _check_stock()
        if self.program:
            pgbench.remove(os.environ["DATABASE_URL"])
        else:
            floor.remove(self._file())
        _check_stock()

    def _picks(self) -> Mapping[str, Pick]:
        """Two products for an order: any two, or the hot one and another."""
        return {where: partial(_pick, where, self._products) for where in ("spread", "hot")}

    def _floor(self, where: str, pick: Pick) -> Case:
        name = f"floor, {where}"
        if self.program:
            folder = Path(os.environ["DATA_DIR"])
            database = os.environ["DATABASE_URL"]
            drive = pgbench.floor(self.program, database, pgbench.script(folder, where), self._buyer.id, PRODUCTS)
            return Case(name, drive, statements=pgbench.STATEMENTS)
        client = partial(floor.client, self._file(), self._buyer.id, pick)
        return Case(name, threads(client), statements=floor.STATEMENTS)

    def _file(self) -> str:
        return str(connection_of("orders").settings_dict["NAME"])

    def _service(self, where: str) -> Driver:
        told = self._buyer.id, where, self._products
        return self._hands.driver(told) if self._hands else threads(partial(_connected, told))

    def _get(self, name: str, path: str, against: Sequence[Case]) -> Case:
        here = APIClient(headers={"Authorization": f"Bearer {self._buyer.token}"})
        sql = _statements(partial(here.get, path))
        sent = request(self._shop.url, "GET", path, self._buyer.token)
        return Case(name, crowd(self._shop.url, single([sent])), against, sql)

    def _post(
        self, name: str, pick: Pick, against: Sequence[Case], at_least: float | None = None, *, with_key: bool = False
    ) -> Case:
        bodies = [body(pick()) for _ in range(_BODIES)]
        requests = [request(self._shop.url, "POST", "/api/v1/orders", self._buyer.token, each) for each in bodies]
        talks = self._with_keys(bodies) if with_key else single(requests)
        sql = self._count(partial(self._post_here, pick, with_key=with_key))
        afterwards = self._drain if not self.program else lambda: None
        return Case(name, crowd(self._shop.url, talks), against, sql, afterwards, at_least)

    def _with_keys(self, bodies: Sequence[bytes]) -> Iterator[Talk]:
        def one(number: int) -> Talk:
            content, key = bodies[number % len(bodies)], f"bench-{number}"
            yield request(self._shop.url, "POST", "/api/v1/orders", self._buyer.token, content, Idempotency_Key=key)

        return map(one, self._keys)

    def _post_here(self, pick: Pick, *, with_key: bool) -> None:
        headers = {"Idempotency-Key": f"here-{next(self._keys)}"} if with_key else {}
        here = APIClient(headers={"Authorization": f"Bearer {self._buyer.token}", **headers})
        here.post("/api/v1/orders", body(pick()).decode(), content_type="application/json")

    def _count(self, order: Callable[[], None]) -> int:
        """The statements of the second of two orders: by then caches are as full as they get."""
        self._counted += 2
        return _statements(order)

    def _drain(self) -> None:
        """Let the shop's relay finish, so that it does not work during the next case."""
        waiting = OutboxEvent.objects.using(alias_of("orders")).filter(published_at=None)
        self._shop.eventually(lambda: not waiting.exists(), seconds=DRAIN_SECONDS)


def _pick(where: str, products: Sequence[UUID]) -> Sequence[UUID]:
    hot, *others = products
    return random.sample(others, 2) if where == "spread" else [hot, random.choice(others)]


def _place(told: tuple[UUID, str, Sequence[UUID]]) -> None:
    """Place an order; `told` for whom and of what, in whichever process."""
    user_id, where, products = told
    hot = 0 if where == "hot" else random.randrange(1, len(products))
    other = random.randrange(1, len(products) - 1)
    other += other >= hot > 0
    lines = [StockLine(product_id=products[place], quantity=1) for place in (hot, other)]
    services.orders().place_order(order_id=new_id(), user_id=user_id, new=NewOrder(lines=lines))


@contextmanager
def _connected(told: tuple[UUID, str, Sequence[UUID]]) -> Iterator[Call]:
    connection_of("orders").ensure_connection()
    try:
        yield partial(_place, told)
    finally:
        connections.close_all()


def _check_stock() -> None:
    ordered = OrderItem.objects.filter(product_id=OuterRef("product_id")).order_by().values("product_id")
    sold = Coalesce(Subquery(ordered.annotate(sum=Sum("quantity")).values("sum")), 0)
    levels = StockLevel.objects.annotate(sold=sold).values_list("product_id", "on_hand", "reserved", "sold")
    wrong = [level for level in levels if not level[2] == level[3] <= level[1]]
    if wrong:
        sys.exit(f"FAILED: the stock of {len(wrong)} products is not that of the orders, such as {wrong[0]}.")


def _statements(act: Callable[[], object]) -> int:
    act()
    with statements() as sent:
        act()
    return len(sent)


def _forget() -> None:
    """Empty what the shop remembers in Redis."""
    if "REDIS_URL" in os.environ:
        cache.delete_pattern("*")  # type: ignore[attr-defined] # django-redis
