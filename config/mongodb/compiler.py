"""The backend's compilers: Django asks each for its work by one method, and reads on by another."""

from collections.abc import Iterator
from typing import Any

from django_mongodb_backend import compiler

from apps.common.mongodb import says_when_away


class _SaysWhenAway:
    def execute_sql(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - as in Django
        with says_when_away():
            return super().execute_sql(*args, **kwargs)  # type: ignore[misc] # a mixin

    def cursor_iter(self, *args: Any, **kwargs: Any) -> Iterator[Any]:  # noqa: ANN401 - as in Django
        # What is read in chunks is read on long after that.
        with says_when_away():
            yield from super().cursor_iter(*args, **kwargs)  # type: ignore[misc] # a mixin


class SQLCompiler(_SaysWhenAway, compiler.SQLCompiler):
    pass


class SQLInsertCompiler(_SaysWhenAway, compiler.SQLInsertCompiler):
    pass


class SQLDeleteCompiler(_SaysWhenAway, compiler.SQLDeleteCompiler):
    pass


class SQLUpdateCompiler(_SaysWhenAway, compiler.SQLUpdateCompiler):
    pass


class SQLAggregateCompiler(_SaysWhenAway, compiler.SQLAggregateCompiler):
    pass
