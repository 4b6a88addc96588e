"""`manage.py migrate_all` brings each database in use up to date."""

import re
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest

from tests.services import new_postgres_database
from tests.test_settings import manage


@pytest.mark.once
def test_each_database_gets_its_services_tables_and_no_others(tmp_path: Path) -> None:
    files = {service: tmp_path / f"{service}.sqlite3" for service in ("users", "products", "orders")}
    urls = {f"{service.upper()}_DATABASE_URL": f"sqlite:///{file}" for service, file in files.items()}

    first = manage(tmp_path, "migrate_all", **urls)
    second = manage(tmp_path, "migrate_all", **urls)

    assert re.fullmatch(r"3 databases up to date, [1-9]\d* migrations applied\n", first.stdout), first.stderr
    assert second.stdout == "3 databases up to date, 0 migrations applied\n"
    tables = {service: _tables(file) for service, file in files.items()}
    assert {service for service, names in tables.items() if "users_user" in names} == {"users"}
    assert {service for service, names in tables.items() if "products_product" in names} == {"products"}
    assert {service for service, names in tables.items() if "orders_order" in names} == {"orders"}
    assert {service for service, names in tables.items() if "events_outboxevent" in names} == set(files)


@pytest.mark.once
@pytest.mark.parametrize("url", ["postgres://shop:secret@127.0.0.1:1/shop", "sqlite:////no/such/folder/shop.sqlite3"])
def test_a_database_that_is_away_is_one_clear_line(tmp_path: Path, url: str) -> None:
    result = manage(tmp_path, "migrate_all", DATABASE_URL=url)

    assert result.returncode == 1
    assert result.stderr.startswith("CommandError: A database cannot be used: ")
    assert result.stderr.count("\n") == 1
    assert "secret" not in result.stderr


@pytest.mark.once
def test_a_table_that_stays_in_use_is_one_clear_line(tmp_path: Path) -> None:
    with new_postgres_database() as url, psycopg.connect(url) as somebody:
        somebody.execute("CREATE TABLE users_user (id int)")  # and the transaction stays open

        result = manage(tmp_path, "migrate_all", DATABASE_URL=url)

        assert result.returncode == 1
        assert result.stderr.startswith("CommandError: A table was in use for longer than 5 s")
        assert result.stderr.count("\n") == 1
        somebody.rollback()
        assert manage(tmp_path, "migrate_all", DATABASE_URL=url).returncode == 0


@pytest.mark.once
def test_of_two_at_once_one_does_the_work_and_the_other_waits(tmp_path: Path) -> None:
    with new_postgres_database() as url, ThreadPoolExecutor(2) as pool:
        done = list(pool.map(lambda _: manage(tmp_path, "migrate_all", DATABASE_URL=url), range(2)))

    assert [each.returncode for each in done] == [0, 0], [each.stderr for each in done]
    applied = sorted(int(each.stdout.split()[-3]) for each in done)
    assert applied[0] == 0
    assert applied[1] > 10


def _tables(file: Path) -> set[str]:
    connection = sqlite3.connect(file)
    try:
        return {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    finally:
        connection.close()
