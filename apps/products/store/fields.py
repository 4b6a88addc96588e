"""A column that each store keeps in its own way."""

import re
from typing import Any, NoReturn

from django.db import NotSupportedError, models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models.sql.compiler import SQLCompiler


class WordsField(models.TextField):  # type: ignore[type-arg] # generic in the stubs only
    """Words, divided by spaces. MongoDB keeps them as an array, so that an index finds each."""

    def get_db_prep_value(self, value: Any, connection: BaseDatabaseWrapper, prepared: bool = False) -> Any:  # noqa: ANN401, FBT001, FBT002 - as in Django
        if connection.vendor == "mongodb" and isinstance(value, str):
            return value.split()
        return super().get_db_prep_value(value, connection, prepared)

    def from_db_value(self, value: Any, expression: object, connection: BaseDatabaseWrapper) -> Any:  # noqa: ANN401, ARG002 - as in Django
        return " ".join(value) if isinstance(value, list) else value


class _Word(models.Lookup[Any]):
    """A condition on a word of a `WordsField`; the relational databases have full-text indexes instead."""

    def as_sql(self, compiler: SQLCompiler, connection: BaseDatabaseWrapper) -> NoReturn:  # noqa: ARG002 - as in Django
        raise NotSupportedError("Words are looked up by the full-text index.")

    def as_mql(self, compiler: Any, connection: BaseDatabaseWrapper, *, as_expr: bool = False) -> dict[str, Any]:  # noqa: ANN401, ARG002 - the backend has no types
        return {self.lhs.as_mql(compiler, connection): self.condition()}

    def condition(self) -> Any:  # noqa: ANN401 - a value or an operator
        raise NotImplementedError


@WordsField.register_lookup
class Has(_Word):
    """The word is there."""

    lookup_name = "has"

    def condition(self) -> Any:  # noqa: ANN401 - as above
        return self.rhs


@WordsField.register_lookup
class Begins(_Word):
    """A word begins so."""

    lookup_name = "begins"

    def condition(self) -> Any:  # noqa: ANN401 - as above
        return {"$regex": f"^{re.escape(self.rhs)}"}
