"""Back-up, wipe, restore: of a shop that sells meanwhile, everything is there again and fits together."""

import json
import shutil
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from pathlib import Path

import psycopg
import pymongo
import pytest
from psycopg import sql

from config.profiles import SERVICES
from tests.load import shoppers
from tests.services import mongodb, new_postgres_database
from tests.shop import Client, Shop

pytestmark = [pytest.mark.e2e, pytest.mark.once]

SHOPPERS = 3
Counts = Mapping[str, Mapping[str, int]]


@contextmanager
def sqlite_files(folder: Path) -> Iterator[dict[str, str]]:
    """A file for each service: three stores."""
    yield {f"{service.upper()}_DATABASE_URL": f"sqlite:///{folder}/{service}.sqlite3" for service in SERVICES}


@contextmanager
def servers(folder: Path) -> Iterator[dict[str, str]]:
    """A database in PostgreSQL for each service, and documents in MongoDB."""
    with ExitStack() as stack:
        urls = {f"{service.upper()}_DATABASE_URL": stack.enter_context(new_postgres_database()) for service in SERVICES}
        mongodb_url = stack.enter_context(mongodb(folder))
        yield {**urls, "MONGODB_URL": f"{mongodb_url}/shop"}


def counted(databases: Mapping[str, str]) -> Counts:
    """How many rows each table of each database has, in the databases' own words."""
    aliases = dict(zip(SERVICES, ("default", "products", "orders"), strict=True))
    counts: dict[str, dict[str, int]] = {}
    for service in SERVICES:
        url = databases[f"{service.upper()}_DATABASE_URL"]
        counts[aliases[service]] = _of_file(url) if url.startswith("sqlite") else _of_server(url)
    if "MONGODB_URL" in databases:
        client: pymongo.MongoClient[dict[str, object]] = pymongo.MongoClient(databases["MONGODB_URL"])
        with client:
            database = client.get_default_database()
            names = database.list_collection_names()
            counts["catalogue"] = {name: database[name].count_documents({}) for name in names}
    return counts


def _of_file(url: str) -> dict[str, int]:
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection:
        names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        return {name: connection.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0] for (name,) in names}


def _of_server(url: str) -> dict[str, int]:
    counts = {}
    with psycopg.connect(url) as connection:
        for (name,) in connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall():
            row = connection.execute(sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(name))).fetchone()
            assert row is not None
            counts[name] = row[0]
    return counts


@pytest.mark.parametrize("stores", [sqlite_files, servers])
def test_what_was_copied_while_the_shop_sold_is_a_whole_shop(
    tmp_path: Path, stores: Callable[[Path], AbstractContextManager[dict[str, str]]]
) -> None:
    old, new, copy = tmp_path / "old", tmp_path / "new", tmp_path / "copy"
    old.mkdir()
    new.mkdir()
    with ExitStack() as stack:
        shop = Shop(old, stack.enter_context(stores(old)))
        shop.manage("migrate_all")
        shop.manage("seed_demo", "--products=40", "--customers=10", "--orders=100")
        stack.callback(shop.kill)
        shop.start()
        lamp = shop.admin().product(stock=10_000)
        (old / "media" / "products").mkdir(parents=True, exist_ok=True)
        (old / "media" / "products" / "lamp.png").write_bytes(b"a picture")
        with shoppers(shop, lamp, number=SHOPPERS) as crowd:
            shop.eventually(lambda: min(len(shopper.paid) for shopper in crowd) > 2)
            token = crowd[0]._client.access_token
            shop.manage("backup", str(copy))
            sold = [len(shopper.paid) for shopper in crowd]
            shop.eventually(
                lambda: all(len(shopper.paid) > before for shopper, before in zip(crowd, sold, strict=True))
            )
        shop.kill()
        shutil.rmtree(old / "media")

        kept: Counts = json.loads((copy / "manifest.json").read_text())["counts"]
        databases = stack.enter_context(stores(new))
        restored = Shop(new, databases)
        restored.manage("restore", str(copy))
        assert counted(databases) == kept
        assert kept["orders"]["orders_order"] > 100 + 2 * SHOPPERS
        restored.manage("migrate_all")
        restored.manage("audit")
        assert (new / "media" / "products" / "lamp.png").read_bytes() == b"a picture"
        if stores is servers:  # one of them is enough
            stack.callback(restored.kill)
            restored.start()
            goes_on(restored, lamp, token)


def goes_on(shop: Shop, lamp: str, token: str) -> None:
    """Whoever was logged in still is, staff log in, and what is bought is deducted."""
    customer = Client(shop.url)
    customer._session.headers["Authorization"] = f"Bearer {token}"
    assert customer.get("/orders").json()["results"]
    admin = Client(shop.url).log_in("admin@example.com", "cartwright-demo")
    assert Client(shop.url).log_in("customer@example.com", "cartwright-demo").get("/orders").status_code == 200
    assert customer.pay(customer.order(lamp).json()["id"]).status_code == 200
    shop.eventually(lambda: is_deducted(admin, lamp), seconds=100)
    shop.manage("audit")


def is_deducted(admin: Client, lamp: str) -> bool:
    """Whether the stock is what the orders say. Each shopper's last request may have been copied half-way: what became
    of a payment is found out meanwhile, and stock held for an order that was never made comes back when that expires.
    """
    statuses = [order["status"] for order in every_order(admin) if is_of(order, lamp)]
    on_hand, reserved = admin.stock(lamp)
    return on_hand == 10_000 - statuses.count("paid") and 0 <= reserved - statuses.count("pending") <= SHOPPERS


def every_order(admin: Client) -> list[dict[str, object]]:
    orders, path = [], "/orders?page_size=100"
    while path:
        page = admin.get(path).json()
        orders += page["results"]
        path = (page["next"] or "").partition("/api/v1")[2]
    return orders


def is_of(order: Mapping[str, object], product: str) -> bool:
    return product in json.dumps(order)
