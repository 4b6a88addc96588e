"""What a JSON column can be asked differs by database: here, and nowhere else."""

import json
from collections.abc import Sequence
from typing import Any

from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models.sql.compiler import SQLCompiler

_Sql = tuple[str, list[Any]]


class _JsonLookup(models.Lookup[Any]):
    """A condition on a JSON column whose right side is not JSON itself."""

    prepare_rhs = False

    def as_sql(self, compiler: SQLCompiler, connection: BaseDatabaseWrapper) -> tuple[str, Any]:
        column, params = self.process_lhs(compiler, connection)
        condition, more = self.on_postgresql() if connection.vendor == "postgresql" else self.on_sqlite()
        return condition.format(column=column), [*params, *more]

    def as_mql(self, compiler: Any, connection: BaseDatabaseWrapper, *, as_expr: bool = False) -> dict[str, Any]:  # noqa: ANN401, ARG002 - the backend has no types
        return self.on_mongodb(self.lhs.as_mql(compiler, connection))

    def on_postgresql(self) -> _Sql:
        raise NotImplementedError

    def on_sqlite(self) -> _Sql:
        raise NotImplementedError

    def on_mongodb(self, path: str) -> dict[str, Any]:
        raise NotImplementedError


@models.JSONField.register_lookup
class HasMember(_JsonLookup):
    """The array holds the text."""

    lookup_name = "has_member"

    def on_postgresql(self) -> _Sql:
        return "{column} ? %s", [self.rhs]

    def on_sqlite(self) -> _Sql:
        return "EXISTS (SELECT 1 FROM json_each({column}) WHERE value = %s)", [self.rhs]

    def on_mongodb(self, path: str) -> dict[str, Any]:
        return {path: self.rhs}


@models.JSONField.register_lookup
class HasPair(_JsonLookup):
    """The object's `name` has one of these values, all given as texts: 60 is found as "60", true as "true"."""

    lookup_name = "has_pair"
    rhs: tuple[str, Sequence[str]]

    def on_postgresql(self) -> _Sql:
        name, texts = self.rhs
        values = [value for text in texts for value in _readings(text)]
        return " OR ".join(["{column} @> %s::jsonb"] * len(values)).join("()"), [json.dumps({name: v}) for v in values]

    def on_sqlite(self) -> _Sql:
        name, texts = self.rhs
        conditions, params = [], []
        for value in (value for text in texts for value in _readings(text)):
            if isinstance(value, bool):
                conditions.append(f"type = '{str(value).lower()}'")
            else:
                conditions.append("type = 'text' AND value = %s" if isinstance(value, str) else _SQLITE_NUMBER)
                params.append(value)
        alike = " OR ".join(conditions)
        return f"EXISTS (SELECT 1 FROM json_each({{column}}) WHERE key = %s AND ({alike}))", [name, *params]  # noqa: S608 - constant SQL

    def on_mongodb(self, path: str) -> dict[str, Any]:
        name, texts = self.rhs
        values = [value for text in texts for value in _readings(text)]
        if "." not in name and not name.startswith("$"):
            return {f"{path}.{name}": {"$in": values}}
        field = {"$getField": {"field": {"$literal": name}, "input": f"${path}"}}
        return {"$expr": {"$in": [field, {"$literal": values}]}}


_SQLITE_NUMBER = "type IN ('integer', 'real') AND value = %s"


def _readings(text: str) -> list[str | float | bool]:
    """What a text may stand for."""
    readings: list[str | float | bool] = [text]
    if text in {"true", "false"}:
        readings.append(text == "true")
    try:
        number = float(text)
    except ValueError:
        return readings
    return [*readings, number] if abs(number) < float("inf") else readings


def has_member(column: str, text: str) -> models.Q:
    """The array in the column holds the text."""
    return models.Q(**{f"{column}__has_member": text})


def has_pair(column: str, name: str, texts: Sequence[str]) -> models.Q:
    """The object in the column has that name, with one of these values."""
    return models.Q(**{f"{column}__has_pair": (name, texts)})
