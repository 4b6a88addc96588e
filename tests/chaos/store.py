"""The shop's database, read from outside: what clients were told is compared with what is there."""

import json
import sqlite3
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import psycopg


class Store:
    """One database of either vendor. Ids come back as text with dashes."""

    def __init__(self, url: str) -> None:
        self._url = url

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """What a query finds."""
        if self._url.startswith("sqlite"):
            connection = sqlite3.connect(self._url.removeprefix("sqlite:///"), timeout=30)
            try:
                with connection:
                    return connection.execute(query.replace("%s", "?"), [_bind(value) for value in values]).fetchall()
            finally:
                connection.close()
        with psycopg.connect(self._url) as server:
            cursor = server.execute(query.encode(), values)
            return cursor.fetchall() if cursor.description else []

    def count(self, query: str, *values: object) -> int:
        """The first figure that a query finds."""
        return int(self.rows(query, *values)[0][0])


def as_id(value: object) -> str:
    """SQLite keeps 32 digits, PostgreSQL an UUID."""
    return str(value if isinstance(value, UUID) else UUID(str(value)))


def as_amount(value: object) -> Decimal:
    return Decimal(str(value)).quantize(Decimal("0.01"))


def as_lines(value: object) -> Sequence[dict[str, Any]]:
    lines: Sequence[dict[str, Any]] = json.loads(value) if isinstance(value, str) else value  # type: ignore[assignment]
    return lines


def _bind(value: object) -> object:
    if isinstance(value, datetime):
        return value.replace(tzinfo=None).isoformat(" ")
    return value.hex if isinstance(value, UUID) else value
