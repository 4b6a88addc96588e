"""`manage.py seed_demo`: fill the shop with products, customers and a month of orders to look at."""

from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone
from django.utils.module_loading import import_string
from tqdm import tqdm

from apps.common.demo import CatalogueSeeder, CustomerSeeder, OrderSeeder, Plan, Progress

_MOST = 10_000_000


class Command(BaseCommand):
    help = (
        "Make a demo shop. It can be run again: what is there stays as it is, larger numbers add the rest, and a run "
        "that was cut off is completed."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--products", type=_count, default=200, help="how many products there shall be (200)")
        parser.add_argument("--customers", type=_count, default=60, help="how many customers there shall be (60)")
        parser.add_argument("--orders", type=_count, default=600, help="how many orders there shall be (600)")
        parser.add_argument("--seed", type=int, default=1, help="another number makes another shop (1)")
        parser.add_argument(
            "--no-accounts",
            action="store_false",
            dest="accounts",
            help="make no log-ins: customers without a password, no staff; the only way when DEBUG is off",
        )

    def handle(self, *, products: int, customers: int, orders: int, seed: int, accounts: bool, **_: object) -> None:
        if accounts and not settings.DEBUG:
            raise CommandError(
                "DEBUG is off, and the demo's log-ins have a password that everybody knows. With --no-accounts, "
                "everything else is made, and nobody can log in as a demo customer."
            )
        if orders and not (products and customers):
            raise CommandError("Orders need products and customers.")
        now = timezone.now()
        plan = Plan(products=products, customers=customers, orders=orders, seed=seed, accounts=accounts, now=now)
        with _without_query_log():
            made = _seed(plan)
        self.stdout.write("Made " + ", ".join(f"{number} {what}" for what, number in made.items()) + ".")
        if accounts:
            self.stdout.write("Log in as admin@, catalog@, orders@ or customer@example.com, password cartwright-demo.")


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text[:12]) > _MOST:
        raise ArgumentTypeError(f"{text!r} is not a whole number from 0 to {_MOST}")
    return int(text)


def _seed(plan: Plan) -> dict[str, int]:
    """Run the seeders, each on what the one before has made. Returns how many rows of each kind were new."""
    customers: CustomerSeeder = _load("users")
    catalogue: CatalogueSeeder = _load("products")
    orders: OrderSeeder = _load("orders")
    anchor = customers.anchor(plan)
    made = {}
    with _bar("customers", plan.customers) as progress:
        made["accounts"] = customers.seed(plan, anchor, progress)
    with _bar("products", plan.products) as progress:
        made["products"] = catalogue.seed(plan, anchor, progress)
    with _bar("orders", plan.orders) as progress:
        made["orders"] = orders.seed(plan, anchor, progress, customers=customers, catalogue=catalogue)
    return made


def _load(service: str) -> Any:  # noqa: ANN401 - the settings name the class; `_seed` says which kind it is
    return import_string(settings.DEMO_SEEDERS[service])()


@contextmanager
def _bar(what: str, total: int) -> Iterator[Progress]:
    """A progress bar, on a terminal only."""
    with tqdm(total=total, desc=what, unit="", disable=None) as bar:
        advance: Callable[[int], object] = bar.update
        yield advance


@contextmanager
def _without_query_log() -> Iterator[None]:
    """With DEBUG on, Django keeps the text of every statement, values and all: memory would grow without bounds."""
    debug = settings.DEBUG
    settings.DEBUG = False
    try:
        yield
    finally:
        settings.DEBUG = debug
