"""Measures the lists of the staff pages in a large shop: how many statements each takes, and how long.

`django.setup()` comes first. Each list is asked for as staff do: its first page, each of its filters, a search by which
something is found and one by which nothing is.
"""

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from statistics import median

from django.contrib import admin
from django.core.management import call_command
from django.db import connections
from django.db.models import Model
from django.test import Client
from django.test.utils import CaptureQueriesContext, setup_test_environment

from apps.common.databases import every_alias
from apps.orders.models import Order
from apps.products.models import Product
from apps.users.interface import Role
from apps.users.models import User

MOST_STATEMENTS = 12
MOST_SECONDS = 0.3
_TRIES = 3
_NOTHING = "zzzzzz"


@dataclass(frozen=True)
class Visit:
    """An address that was asked for: the statements of one answer, and the median time of several."""

    address: str
    status: int
    statements: int
    seconds: float

    @property
    def is_good(self) -> bool:
        return self.status == 200 and self.statements <= MOST_STATEMENTS and self.seconds <= MOST_SECONDS  # noqa: PLR2004


def main(products: str, orders: str, *_: str) -> None:
    setup_test_environment()  # a page says what it was made from
    call_command("migrate_all", verbosity=0)
    began = time.monotonic()
    call_command("seed_demo", products=int(products), customers=20_000, orders=int(orders), accounts=False)
    for alias in every_alias():
        with connections[alias].cursor() as cursor:
            cursor.execute("VACUUM ANALYZE")
    print(f"\nStaff pages on PostgreSQL: {int(orders):,} orders, {int(products):,} products", flush=True)
    print(f"  Made in {time.monotonic() - began:.0f} s", flush=True)
    visits = sorted(survey(_admin()), key=lambda visit: -visit.seconds)
    for visit in visits[:15]:
        print(f"  {visit.seconds * 1000:6.0f} ms {visit.statements:3} statements  {visit.address}", flush=True)
    bad = [visit for visit in visits if not visit.is_good]
    print(
        f"  {len(visits)} pages: at most {max(visit.statements for visit in visits)} statements and "
        f"{visits[0].seconds * 1000:.0f} ms (aim {MOST_STATEMENTS}, {MOST_SECONDS * 1000:.0f} ms)"
    )
    if bad:
        sys.exit("FAILED: " + ", ".join(visit.address for visit in bad))


def survey(client: Client) -> Iterator[Visit]:
    """Every list of the staff pages, in every way that it offers."""
    client.get("/admin/")
    for model, page in admin.site._registry.items():  # noqa: SLF001 - it has no other name
        path = f"/admin/{model._meta.app_label}/{model._meta.model_name}/"
        for query in ("", *_filters(client, path), *_searches(model, page)):
            yield _visit(client, path + query)


def _admin() -> Client:
    user = User.objects.filter(role=Role.ADMIN).first()
    if user is None:
        user = User.objects.create_superuser("bench-admin", "bench-admin@example.com", "correct horse 9")
    client = Client()
    client.force_login(user)
    return client


def _filters(client: Client, path: str) -> Iterator[str]:
    """The first two choices of each filter that the list shows."""
    shown = client.get(path).context["cl"]
    for spec in shown.filter_specs:
        choices = [choice["query_string"] for choice in spec.choices(shown) if choice.get("query_string")]
        yield from dict.fromkeys(choices[1:3])


def _searches(model: type[Model], page: "admin.ModelAdmin[Model]") -> Iterator[str]:
    if page.search_fields:
        yield from (f"?q={text}" for text in _texts().get(model._meta.model_name or "", ("lamp",)))
        yield f"?q={_NOTHING}"


def _texts() -> Mapping[str, tuple[str, ...]]:
    """By what things are found."""
    order = Order.objects.order_by("-id")[1000:1001].get()
    product = Product.objects.order_by("-pk").first()
    assert product  # noqa: S101 - we made them
    return {"order": (order.number, str(order.user_id)), "product": (product.sku, "lamp"), "user": ("customer1",)}


def _visit(client: Client, address: str) -> Visit:
    seconds = []
    for _ in range(_TRIES):
        with ExitStack() as stack:
            captures = [stack.enter_context(CaptureQueriesContext(connections[alias])) for alias in every_alias()]
            began = time.perf_counter()
            answer = client.get(address)
            seconds.append(time.perf_counter() - began)
            statements = sum(len(capture.captured_queries) for capture in captures)
    return Visit(address, answer.status_code, statements, median(seconds))
