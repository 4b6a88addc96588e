"""Measures the shop of its environment: floor, service and relay in this process, then HTTP.

`django.setup()` comes first.
"""

import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from decimal import Decimal
from functools import partial
from pathlib import Path

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
from apps.products.interface import NewProduct, StockLine
from apps.products.models import StockLevel
from apps.users.interface import Client, Profile
from bench import floor, wire
from bench.floor import PRICE, Pick
from bench.load import Call, Case, Limits, compare
from config import services
from tests.flow import statements
from tests.shop import PASSWORD, Shop

PRODUCTS = 1000
STOCK = 1_000_000
RELAY_SECONDS = 6
DRAIN_SECONDS = 60
MOST_SECONDS = 300


def main(clients: str, rounds: str, seconds: str) -> None:
    signal.signal(signal.SIGALRM, lambda *_: sys.exit(f"FAILED: not done in {MOST_SECONDS} s."))
    signal.alarm(MOST_SECONDS)
    limits = Limits(int(clients), int(rounds), float(seconds))
    shop = Shop(Path(os.environ["DATA_DIR"]), os.environ)
    shop.manage("migrate_all")
    bench = Bench(shop)
    print(f"\n{bench.vendor}, {clients} clients, {rounds} rounds of {seconds} s", flush=True)
    print(f"  {'':<34}{'rate':>10} {'SQL':>4}   ratio, median (lowest to highest round)", flush=True)
    in_process = bench.in_process()
    compare(in_process, limits)
    print(*in_process, f"  {'relay with two subscribers':<34}{bench.relay():>8,.0f}/s events", sep="\n", flush=True)
    shop.start()
    try:
        over_http = bench.over_http()
        compare(over_http, limits)
    finally:
        shop.kill()
    print(*over_http, sep="\n", flush=True)
    bench.check([*in_process, *over_http])
    shop.manage("audit")
    print(f"  Checked: {Order.objects.count():,} orders, each with its stock reserved; the audit is clean.", flush=True)


class Bench:
    """The customer, the products and the cases of one database."""

    def __init__(self, shop: Shop) -> None:
        self._shop = shop
        self.vendor = connection_of("orders").display_name
        account = {"username": "bench", "email": "bench@example.com"}
        self._user = services.users().register(**account, password=PASSWORD, profile=Profile())
        client = Client(address="127.0.0.1", agent="bench")
        pair = services.users().log_in(login=account["email"], password=PASSWORD, client=client)
        self._headers = {"Authorization": f"Bearer {pair.access}", "Content-Type": "application/json"}
        new = NewProduct(name="Lamp", price=Decimal(PRICE), stock=STOCK, category="Lighting", tags=("desk",))
        self._products = [services.products().create_product(new=new, actor_id=None).id for _ in range(PRODUCTS)]
        # What the relay is measured with are orders.
        OutboxEvent.objects.using(alias_of("orders")).all().delete()
        self._counted = 0

    def in_process(self) -> list[Case]:
        cases = []
        for where, pick in self._picks().items():
            base = self._floor(where, pick)
            sql = self._count(partial(self._place, pick))
            cases += [base, Case(f"service, {where}", partial(self._service, pick), [base], sql)]
        return cases

    def over_http(self) -> list[Case]:
        health = self._get("GET /health", "/health", ())
        cases = [
            health,
            self._get("GET /products/{id}", f"/api/v1/products/{self._products[0]}", [health]),
            self._get("GET /products", "/api/v1/products", [health]),
            self._get("GET /orders", "/api/v1/orders", [health]),
        ]
        for where, pick in self._picks().items():
            base = self._floor(where, pick)
            sql = self._count(partial(self._post_here, pick))
            send = partial(self._send, "POST", "/api/v1/orders", 201, partial(_body, pick))
            cases += [base, Case(f"POST /orders, {where}", send, [base, health], sql, self._drain)]
        return cases

    def relay(self) -> float:
        """Events per second; what is left when the time is up is dropped."""
        began, done = time.monotonic(), 0
        while time.monotonic() < began + RELAY_SECONDS and (taken := relay_batch(alias_of("orders"))):
            done += taken
        seconds = time.monotonic() - began
        OutboxEvent.objects.using(alias_of("orders")).filter(published_at=None).delete()
        return done / seconds

    def check(self, cases: list[Case]) -> None:
        """The stock that is reserved is that of the orders, and every call that was answered made one."""
        wanted = self._counted + sum(case.calls for case in cases if not case.name.startswith("GET"))
        placed = Order.objects.count()
        if placed != wanted:
            sys.exit(f"FAILED: {wanted} orders were answered, {placed} are there.")
        ordered = OrderItem.objects.filter(product_id=OuterRef("product_id")).order_by().values("product_id")
        sold = Coalesce(Subquery(ordered.annotate(sum=Sum("quantity")).values("sum")), 0)
        levels = StockLevel.objects.annotate(sold=sold).values_list("product_id", "on_hand", "reserved", "sold")
        wrong = [level for level in levels if not level[2] == level[3] <= level[1]]
        if wrong:
            sys.exit(f"FAILED: the stock of {len(wrong)} products is not that of the orders, such as {wrong[0]}.")

    def _picks(self) -> Mapping[str, Pick]:
        """Two products for an order: any two, or the hot one and another."""
        hot, *others = self._products
        return {"spread": lambda: random.sample(others, 2), "hot": lambda: [hot, random.choice(others)]}

    def _floor(self, where: str, pick: Pick) -> Case:
        database = os.environ.get("DATABASE_URL") or str(connection_of("orders").settings_dict["NAME"])
        client = partial(floor.client, database, self._user.id, pick)
        return Case(f"floor, {where}", client, statements=floor.STATEMENTS)

    @contextmanager
    def _service(self, pick: Pick) -> Iterator[Call]:
        connection_of("orders").ensure_connection()
        try:
            yield partial(self._place, pick)
        finally:
            connections.close_all()

    def _place(self, pick: Pick) -> None:
        new = NewOrder(lines=[StockLine(product_id=key, quantity=1) for key in pick()])
        services.orders().place_order(order_id=new_id(), user_id=self._user.id, new=new)

    def _get(self, name: str, path: str, against: "list[Case] | tuple[()]") -> Case:
        here = APIClient(headers=self._headers)
        return Case(name, partial(self._send, "GET", path, 200, str), against, _statements(partial(here.get, path)))

    def _post_here(self, pick: Pick) -> None:
        body = _body(pick)
        here = APIClient(headers={"Authorization": self._headers["Authorization"]})
        here.post("/api/v1/orders", body, content_type="application/json")

    def _send(self, method: str, path: str, wanted: int, body: Callable[[], str]) -> AbstractContextManager[Call]:
        return wire.requests(
            self._shop.url, lambda: path, method=method, wanted=wanted, headers=self._headers, body=body
        )

    def _count(self, order: Callable[[], None]) -> int:
        """The statements of the second of two orders: by then caches are as full as they get."""
        self._counted += 2
        return _statements(order)

    def _drain(self) -> None:
        """Let the shop's relay finish, so that it does not work during the next case."""
        waiting = OutboxEvent.objects.using(alias_of("orders")).filter(published_at=None)
        self._shop.eventually(lambda: not waiting.exists(), seconds=DRAIN_SECONDS)


def _body(pick: Pick) -> str:
    return json.dumps({"items": [{"product_id": str(key), "quantity": 1} for key in pick()]})


def _statements(act: Callable[[], object]) -> int:
    act()
    with statements() as sent:
        act()
    return len(sent)
