"""The events of products, and what else must follow a change of a document.

Where documents are in the inventory's database, all of it commits together. A document store cannot share that
transaction: there a change sets the document's flag in the same write, the event follows, and the flag falls if the
revision is still that one. Whatever a process that died has left flagged, a periodic task announces.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from django.db.transaction import on_commit

from apps.common.databases import alias_of, atomic
from apps.common.money import quantize
from apps.events.outbox import publish
from apps.products import cache
from apps.products.events import CREATED, DELETED, UPDATED, product_fact
from apps.products.interface import Image, Product, Thumbnails
from apps.products.models import Product as ProductRow
from apps.products.search import words
from apps.products.services.inventory import open_level
from apps.products.services.levels import levels_of
from apps.products.store import documents

_BATCH = 100


def announce(row: ProductRow, product: Product) -> None:
    """Publish what has become of the product, in the transaction of its change; then call `settle`."""
    publish("products", product_fact(_kind(row), product))


def settle(row: ProductRow) -> None:
    """Take the flag off a row once its event has committed."""
    if documents.are_apart():
        # If that fails the event is told a second time, and is still one.
        on_commit(lambda: _take_flags_off([row]), using=alias_of("products"), robust=True)


def announce_pending(*, category_id: UUID | None = None, product_id: UUID | None = None) -> int:
    """Announce a batch of products whose event may not be out: of that category, that one, or any. Returns how many."""
    pending = ProductRow.objects.filter(unannounced=True).select_related("category").order_by("pk")
    if category_id is not None:
        pending = pending.filter(category=category_id)
    if product_id is not None:
        pending = pending.filter(pk=product_id)
    with atomic("products"):
        rows = list(_lock(pending)[:_BATCH])
        _open_levels(rows)
        for row in rows:
            words.index(row)
        publish(
            "products",
            *(product_fact(_kind(row), product) for row, product in zip(rows, to_products(rows), strict=True)),
        )
        if rows:
            cache.product_changed(*(row.pk for row in rows))
        if not documents.are_apart():
            _take_flags_off(rows)
    if documents.are_apart():
        # Not robust: whoever announces until nothing is left must hear that the flags stay up.
        on_commit(lambda: _take_flags_off(rows), using=alias_of("products"))
    return len(rows)


def to_products(rows: Iterable[ProductRow]) -> list[Product]:
    """The products with their stock: one query more, however many rows. Read rows with `select_related("category")`."""
    found = list(rows)
    levels = levels_of([row.id for row in found])
    return [to_product(row, stock=levels[row.id].available if row.id in levels else 0) for row in found]


def to_product(row: ProductRow, *, stock: int) -> Product:
    """The product as others see it."""
    return Product(
        id=row.id,
        name=row.name,
        description=row.description,
        price=quantize(row.price, row.currency),
        currency=row.currency,
        category=row.category.name if row.category else None,
        category_id=row.category_id,
        group=row.group,
        stock=stock,
        sku=row.sku,
        images=[to_image(entry) for entry in row.images],
        tags=row.tags,
        attributes=row.attributes,
        active=row.active,
        created_at=row.created_at,
        updated_at=row.updated_at,
        revision=row.revision,
    )


def to_image(entry: Mapping[str, Any]) -> Image:
    """A picture as others see it."""
    return Image(
        id=UUID(entry["id"]),
        url=entry["url"],
        alt=entry["alt"],
        width=entry["width"],
        height=entry["height"],
        thumbnails=Thumbnails(**entry["thumbnails"]),
    )


def _kind(row: ProductRow) -> str:
    if row.deleted_at is not None:
        return DELETED
    return CREATED if row.revision == 1 else UPDATED


def _lock(rows: QuerySet[ProductRow]) -> QuerySet[ProductRow]:
    return rows if documents.are_apart() else rows.select_for_update(of=("self",))


def _open_levels(rows: Sequence[ProductRow]) -> None:
    """A process that died may have written a document, and not yet its stock; or one is just about to."""
    known = levels_of([row.pk for row in rows])
    for row in rows:
        if row.pk not in known:
            open_level(row.pk, row.opening_stock)


def _take_flags_off(rows: Sequence[ProductRow]) -> None:
    """Unless a product has changed again."""
    for row in rows:
        row.unannounced = False
    if not documents.are_apart():
        ProductRow.objects.bulk_update(rows, ["unannounced", *words.FIELDS])
        return
    documents.write(
        ProductRow,
        (
            (
                {"_id": documents.key_of(row.pk), "revision": row.revision},
                {"unannounced": False, **documents.fields(row, words.FIELDS)},
            )
            for row in rows
        ),
    )
