"""`manage.py migrate_all` brings each database in use up to date."""

import re
import sqlite3
from pathlib import Path

import pytest

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


def _tables(file: Path) -> set[str]:
    connection = sqlite3.connect(file)
    try:
        return {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    finally:
        connection.close()
