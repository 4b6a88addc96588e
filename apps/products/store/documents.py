"""Where product and category documents are, and what MongoDB is asked beside Django's ORM: only here.

The ORM's backend builds the conditions; this adds what its querysets cannot say: elements of arrays, and ranks.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from uuid import UUID

from django.conf import settings
from django.core.exceptions import EmptyResultSet
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Model, QuerySet
from pymongo import UpdateOne

from apps.common.mongodb import says_when_away

Stage = Mapping[str, Any]


def connection() -> BaseDatabaseWrapper:
    """The connection of this thread to the documents' database."""
    return connections[settings.CATALOGUE_DATABASE]


def are_apart() -> bool:
    """Whether documents are in a store of their own, which cannot share a transaction with the inventory."""
    return connection().vendor == "mongodb"


def aggregate(rows: QuerySet[Any], stages: Sequence[Stage]) -> list[dict[str, Any]]:
    """What MongoDB's aggregation makes of these rows' documents: the queryset's conditions, then the stages."""
    compiler = rows.order_by().query.get_compiler(connection=connection())
    compiler.pre_sql_setup()
    try:
        query = compiler.build_query()
    except EmptyResultSet:
        return []
    conditions = [*(query.lookup_pipeline or ()), {"$match": query.match_mql}]
    with says_when_away():
        return list(_collection(rows.model).aggregate([*conditions, *stages]))


def write(model: type[Model], changes: Iterable[tuple[Mapping[str, Any], Mapping[str, Any]]]) -> None:
    """Set fields of documents, each pair being which document and what to set, in one request."""
    if requests := [UpdateOne(which, {"$set": what}) for which, what in changes]:
        with says_when_away():
            _collection(model).bulk_write(requests, ordered=False)


def fields(row: Model, names: Iterable[str]) -> dict[str, Any]:
    """The row's fields as MongoDB keeps them."""
    columns = {field.name: field for field in row._meta.concrete_fields}
    return {
        columns[name].column or name: columns[name].get_db_prep_save(getattr(row, name), connection()) for name in names
    }


def key_of(identifier: UUID) -> str:
    """A UUID as MongoDB keeps it here."""
    return identifier.hex


def _collection(model: type[Model]) -> Any:  # noqa: ANN401 - the backend has no types
    return connection().get_collection(model._meta.db_table)  # type: ignore[attr-defined]
