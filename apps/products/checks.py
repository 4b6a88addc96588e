"""What `manage.py check` says of the catalogue's database, each with its remedy."""

from collections.abc import Iterator, Sequence
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Info, Tags, Warning, register  # noqa: A004 - Django's names
from django.db import DatabaseError
from pymongo.errors import OperationFailure

from apps.common.mongodb import says_when_away
from apps.products.models import Product
from apps.products.store import documents, indexes

_INDEX_NOT_FOUND = 27


@register(Tags.database)
def check_catalogue(databases: Sequence[str] | None = None, **_: object) -> list[CheckMessage]:
    """Runs when the catalogue's database is among those that are to be checked."""
    if settings.CATALOGUE_DATABASE not in (databases or ()):
        return []
    try:
        with says_when_away():
            return [*(_check_server() if documents.are_apart() else ()), *_check_indexes()]
    except DatabaseError as error:
        variable = "MONGODB_URL" if documents.are_apart() else "DATABASE_URL"
        reason = " ".join(str(error).split())[:200]
        hint = f"Start the server, or correct {variable}."
        return [Error(f"The catalogue's database does not answer: {reason}", hint=hint, id="products.E001")]


def _check_server() -> Iterator[CheckMessage]:
    database: Any = documents.connection().database  # type: ignore[attr-defined] # MongoDB's
    hello = database.command("hello")
    if not ("setName" in hello or hello.get("msg") == "isdbgrid"):
        yield Warning(
            "The MongoDB server is a standalone one, without transactions.",
            hint="The shop needs none, but backups that are consistent do: start it with --replSet and run "
            "rs.initiate() once.",
            id="products.W002",
        )
    if not _knows_text_search(database):
        yield Info(
            "The MongoDB server cannot make text indexes.",
            hint="Nothing to do: the shop's search uses an index of words of its own (docs/decisions/0011).",
            id="products.I003",
        )


def _check_indexes() -> Iterator[CheckMessage]:
    if Product._meta.db_table not in documents.connection().introspection.table_names():
        return  # nothing has been migrated yet
    if names := indexes.missing(documents.connection()):
        yield Warning(
            f"The catalogue's database lacks indexes: {', '.join(names)}.",
            hint="Run `manage.py migrate_all`, then `manage.py reindex`.",
            id="products.W004",
        )


def _knows_text_search(database: Any) -> bool:  # noqa: ANN401 - the driver's own
    """A server that has text indexes misses one here; another does not understand the question."""
    try:
        database["products_product_none"].find_one({"$text": {"$search": "any"}})
    except OperationFailure as error:
        return error.code == _INDEX_NOT_FOUND
    return True
