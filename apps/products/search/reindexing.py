"""Bringing the search index up to date, while the shop goes on."""

from collections.abc import Iterator
from uuid import UUID

from apps.products.models import Product
from apps.products.search import words
from apps.products.store import documents, indexes

_BATCH = 500


def reindex() -> Iterator[int]:
    """Make the indexes that are missing, and write what each product is found by anew. Yields how many products of each
    batch were found by something else. A product that changes meanwhile is left alone: its change has written it.
    """
    connection = documents.connection()
    if indexes.missing(connection):
        indexes.install(connection)
    last = UUID(int=0)
    rows = Product.objects.defer(None).select_related("category").filter(deleted_at=None).order_by("pk")
    while batch := list(rows.filter(pk__gt=last)[:_BATCH]):
        last = batch[-1].pk
        yield sum(_renew(row) for row in batch)


def _renew(row: Product) -> int:
    before = [getattr(row, name) for name in words.FIELDS]
    words.index(row)
    after = {name: getattr(row, name) for name in words.FIELDS}
    if list(after.values()) == before:
        return 0
    return Product.objects.filter(pk=row.pk, revision=row.revision).update(**after)
