"""Measures what it costs to split the shop: the same requests of one process, of the services, and through Envoy.

Both shops run as `manage.py serve` and `make split` start them, each with databases and queues of its own; what follows
from an order (events, stock, mail) is worked on meanwhile, as it would be. `django.setup()` comes first.
"""

import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from uuid import UUID

from bench.crowd import crowd, request, single
from bench.load import Case, Driver, Limits, Ratio, compare
from bench.memory import note_memory
from bench.results import note
from bench.rpc import calls
from bench.stock import body
from tests.shop import Shop
from tests.split import SplitShop

MOST_TIMES = 2.5
MOST_SECONDS = 600
_API = "/api/v1"
_PRODUCTS = 50
_STOCK = 1_000_000
_NAMES: dict[type[Shop], str] = {Shop: "the single shop", SplitShop: "the split shop"}


def main(clients: str, rounds: str, seconds: str, *databases: str) -> None:
    signal.signal(signal.SIGALRM, lambda *_: sys.exit(f"FAILED: not done in {MOST_SECONDS} s."))
    signal.alarm(MOST_SECONDS)
    alone, many = (Limits(count, int(rounds), float(seconds)) for count in (1, int(clients)))
    names = ("USERS_DATABASE_URL", "PRODUCTS_DATABASE_URL", "ORDERS_DATABASE_URL")
    print("\nSplit, on PostgreSQL and Redis", flush=True)
    with ExitStack() as stack:
        one = stack.enter_context(_opened(Shop, {"DATABASE_URL": os.environ["DATABASE_URL"]}))
        apart = stack.enter_context(_opened(SplitShop, dict(zip(names, databases, strict=True))))
        shop = apart.shop
        assert isinstance(shop, SplitShop)  # noqa: S101 - what was asked for
        places = [("one shop", one, one.shop.url), ("orders", apart, shop.url_of("orders")), ("Envoy", apart, shop.url)]
        for limits in (alone, many):
            _compare("POST /orders", [Case(name, of.placing(url)) for name, of, url in places], limits)
        _compare("GET /orders/{id}/status", [Case(name, of.asking(url)) for name, of, url in places], alone)
        places[1] = ("products", apart, shop.url_of("products"))
        _compare("GET /products/{id}", [Case(name, of.looking(url)) for name, of, url in places], alone)
        _compare_grpc(one, apart, shop, alone)
        for each in (one, apart):
            each.shop.manage("audit")
    print("  Checked: the audit finds nothing in either shop.", flush=True)


@dataclass(frozen=True)
class Opened:
    """A running shop with something to sell, and somebody who has bought it."""

    shop: Shop
    token: str
    products: Sequence[UUID]
    order: str

    def placing(self, url: str) -> Driver:
        """Orders of one product each, of all of them in turn."""
        path = f"{_API}/orders"
        return crowd(url, single([request(url, "POST", path, self.token, body([key])) for key in self.products]))

    def asking(self, url: str) -> Driver:
        """How an order is."""
        return crowd(url, single([request(url, "GET", f"{_API}/orders/{self.order}/status", self.token)]))

    def looking(self, url: str) -> Driver:
        """At one product after the other, as somebody who is logged in."""
        paths = [f"{_API}/products/{key}" for key in self.products]
        return crowd(url, single([request(url, "GET", path, self.token) for path in paths]))


@contextmanager
def _opened(kind: type[Shop], databases: dict[str, str]) -> Iterator[Opened]:
    folder = Path(os.environ["DATA_DIR"]) / kind.__name__
    folder.mkdir()
    ours = {name: value for name, value in os.environ.items() if name not in {"DATABASE_URL", "DATA_DIR"}}
    more = {
        # Both shops' connections together must be fewer than the hundred that PostgreSQL allows by default.
        "WEB_THREADS": "4",
        "EVENT_STREAMS": "1",
        "GRPC_THREADS": "8",
        "DJANGO_SETTINGS_MODULE": "config.settings.monolith",
        "QUEUE_PREFIX": f"{os.environ['BENCH_SHOP']}-{kind.__name__}-",
    }
    shop = kind(folder, {**ours, **more, **databases})
    try:
        if kind is Shop:
            shop.manage("migrate_all")
        began = time.monotonic()
        shop.start()
        ready = time.monotonic() - began
        admin, customer = shop.admin(), shop.customer()
        products = [admin.product(stock=_STOCK) for _ in range(_PRODUCTS)]
        order = customer.order(products[0]).json()["id"]
        processes = shop.processes()
        print(f"  {kind.__name__}: {len(processes)} processes, ready after {ready:.0f} s", flush=True)
        memory = note_memory(f"memory of {_NAMES[kind]} (PSS)", processes)
        print(f"    {'together':<24}{memory:>8,.0f} MB", flush=True)
        note("the whole set-up", f"{_NAMES[kind]}, all processes (PSS)", memory, "MB")
        note("the whole set-up", f"{_NAMES[kind]}, from nothing to ready, with migrations if split", ready, "s")
        yield Opened(shop, customer.access_token, [UUID(key) for key in products], order)
    finally:
        shop.kill()


def _compare(what: str, cases: Sequence[Case], limits: Limits) -> None:
    """The time of each against the first, or what it answers in a second, where many ask."""
    compare(cases, limits)
    first = cases[0]
    print(f"  {what}, {limits.clients} at once", flush=True)
    for case in cases:
        line = f"    {case.name:<12}{median(case.rates):>8,.0f}/s {median(case.times) * 1000:>8.2f} ms"
        ratios = []
        if case is not first:
            aim = MOST_TIMES if (what, case.name) == ("POST /orders", "orders") else None
            ratios = [Ratio(case.times, first.times, first.name, at_most=aim)]
            line += f"   time {ratios[0]}"
        print(line, flush=True)
        note(f"{what}, {limits.clients} at once: median time", case.name, median(case.times) * 1000, "ms", ratios)


def _compare_grpc(one: Opened, apart: Opened, shop: SplitShop, alone: Limits) -> None:
    """Over gRPC what REST was asked before; what is compared with is a call that does nothing."""
    single = f"127.0.0.1:{one.shop.environment['GRPC_PORT']}"
    envoy = f"127.0.0.1:{shop.ports.http}"
    for name, service in (("GetProduct", "products"), ("CreateOrder", "orders")):
        own = f"127.0.0.1:{shop.ports.grpc_of(service)}"
        cases = [
            Case("health check", calls(single, "Check", one.token, one.products)),
            Case("one shop", calls(single, name, one.token, one.products)),
            Case(service, calls(own, name, apart.token, apart.products)),
            Case("Envoy", calls(envoy, name, apart.token, apart.products)),
        ]
        _compare(f"gRPC {name}", cases, alone)
