"""A shop that has sold from one database goes on selling from three, by `deploy/split_database.sh`."""

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest

from tests.services import new_postgres_database
from tests.shop import ROOT, Shop, open_shop

pytestmark = [pytest.mark.e2e, pytest.mark.once]
SERVICES = ("users", "products", "orders")


@pytest.fixture
def databases() -> Iterator[dict[str, str]]:
    with ExitStack() as stack:
        yield {name: stack.enter_context(new_postgres_database()) for name in ("one", *SERVICES)}


def counts(url: str) -> dict[str, int]:
    """How many rows each table has."""
    with psycopg.connect(url) as connection:
        names = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
        tables = {name: connection.execute(f'SELECT count(*) FROM "{name}"').fetchone() for (name,) in names}
    return {name: row[0] for name, row in tables.items() if row}


def sell(shop: Shop, product: str) -> int:
    """How much of the product is on hand when three have been paid for and deducted."""
    admin, customer = shop.admin(), shop.customer()
    before = admin.stock(product)[0]
    for _ in range(3):
        assert customer.pay(customer.order(product).json()["id"]).status_code == 200
    shop.eventually(lambda: admin.stock(product) == (before - 3, 0))
    shop.manage("audit")
    return before - 3


def refuse_one_database_twice(databases: dict[str, str]) -> None:
    before = {name: counts(url) for name, url in databases.items()}
    same = databases["one"].replace("127.0.0.1", "localhost")
    urls = [databases["one"], databases["users"], databases["products"], same]
    refused = subprocess.run(
        ["bash", "deploy/split_database.sh", *urls], cwd=ROOT, check=False, capture_output=True, text=True, timeout=60
    )
    assert (refused.returncode, "must be four databases" in refused.stderr) == (2, True)
    assert {name: counts(url) for name, url in databases.items()} == before


def test_a_shop_moves_from_one_database_to_three(tmp_path: Path, databases: dict[str, str]) -> None:
    (tmp_path / "one").mkdir()
    with open_shop(tmp_path / "one", DATABASE_URL=databases["one"]) as shop:
        lamp = shop.admin().product(10)
        assert sell(shop, lamp) == 7
        assert shop.stop() == 0
        shop.manage("relay", "--once")

    (tmp_path / "three").mkdir()
    apart = {f"{service.upper()}_DATABASE_URL": databases[service] for service in SERVICES}
    moved = Shop(tmp_path / "three", apart)
    moved.manage("migrate_all")
    refuse_one_database_twice(databases)
    for _ in range(2):
        urls = [databases["one"], *(databases[service] for service in SERVICES)]
        subprocess.run(["bash", "deploy/split_database.sh", *urls], cwd=ROOT, check=True, timeout=60)

    total, parts = counts(databases["one"]), [counts(databases[service]) for service in SERVICES]
    assert total["orders_order"] == 3
    assert total["events_outboxevent"] > 0
    assert total["events_inboxentry"] > 0
    kept = {name: sum(part.get(name, 0) for part in parts) for name in total}
    assert {name: kept[name] for name in kept if name != "django_migrations"} == {
        name: total[name] for name in total if name != "django_migrations"
    }
    moved.manage("audit")
    with open_shop(tmp_path / "three", **apart) as shop:
        assert sell(shop, lamp) == 4
