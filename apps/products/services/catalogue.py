"""The catalogue: product documents, changed by conditional updates on their revision."""

import secrets
from collections.abc import Iterable, Sequence
from uuid import UUID

from django.conf import settings
from django.db import IntegrityError
from django.utils import timezone

from apps.common.databases import atomic
from apps.common.errors import DomainError, Problem
from apps.common.ids import readable
from apps.common.money import fits, places_of, quantize
from apps.events.outbox import publish
from apps.products import search
from apps.products.events import CREATED, DELETED, UPDATED, product_fact
from apps.products.interface import (
    CategoryNotFound,
    Image,
    InvalidPrice,
    NewProduct,
    Product,
    ProductChange,
    ProductNotFound,
    SkuTaken,
    StaleProduct,
)
from apps.products.models import Product as ProductRow
from apps.products.services.categories import fold, resolve_category, violates
from apps.products.services.inventory import add_level
from apps.products.services.levels import levels_of

_EDITABLE = (
    "name", "description", "price", "currency", "category_id", "sku", "sku_folded", "tags", "attributes", "active"
)  # fmt: skip


class Catalogue:
    """The part of the products service that keeps what is for sale."""

    def create_product(self, *, new: NewProduct, actor_id: UUID | None = None) -> Product:
        try:
            with atomic("products"):
                row = _new_row(new)
                row.save(force_insert=True)
                add_level(row.id, new.stock, reason="first stock", actor_id=actor_id)
                search.write_entries([row])
                product = _to_product(row, stock=new.stock)
                publish("products", product_fact(CREATED, product))
        except IntegrityError as error:
            if not new.sku and violates(error, "sku_folded"):
                return self.create_product(new=new, actor_id=actor_id)
            raise _refusal(error) from error
        return product

    def update_product(self, *, product_id: UUID, change: ProductChange, if_revision: int | None = None) -> Product:
        try:
            with atomic("products"):
                row = _live(product_id, if_revision)
                before = _columns(row)
                _apply(change, row)
                if _columns(row) == before:
                    return to_products([row])[0]
                _advance(row, **_columns(row))
                search.write_entries([row])
                product = to_products([row])[0]
                publish("products", product_fact(UPDATED, product))
        except _Overtaken:
            return self.update_product(product_id=product_id, change=change, if_revision=if_revision)
        except IntegrityError as error:
            raise _refusal(error) from error
        return product

    def delete_product(self, *, product_id: UUID, if_revision: int | None = None) -> None:
        try:
            with atomic("products"):
                row = _live(product_id, if_revision)
                _advance(row, deleted_at=timezone.now())
                search.remove_entry(product_id)
                publish("products", product_fact(DELETED, to_products([row])[0]))
        except _Overtaken:
            self.delete_product(product_id=product_id, if_revision=if_revision)

    def get_product(self, *, product_id: UUID, include_inactive: bool = False) -> Product:
        row = _live(product_id)
        if not (row.active or include_inactive):
            raise ProductNotFound("There is no such product.")
        return to_products([row])[0]

    def get_products(self, *, product_ids: Sequence[UUID]) -> Sequence[Product]:
        rows = ProductRow.objects.filter(pk__in=product_ids, active=True, deleted_at=None)
        return to_products(rows.select_related("category"))


def to_products(rows: Iterable[ProductRow]) -> list[Product]:
    """The products with their stock: one query more, however many rows. Read rows with `select_related("category")`."""
    found = list(rows)
    levels = levels_of([row.id for row in found])
    return [_to_product(row, stock=levels[row.id].available if row.id in levels else 0) for row in found]


class _Overtaken(Exception):
    """Somebody else changed the row between our reading and our writing: look again."""


def _new_row(new: NewProduct) -> ProductRow:
    """The row of a new product; its category may be made."""
    sku = new.sku or _make_sku(new.name)
    row = ProductRow(
        name=new.name,
        description=new.description,
        price=new.price,
        currency=new.currency or settings.CURRENCY,
        category=resolve_category(new.category) if new.category else None,
        sku=sku,
        sku_folded=fold(sku),
        tags=_once(new.tags),
        attributes=dict(new.attributes),
        active=new.active,
    )
    _check_price(row)
    return row


def _apply(change: ProductChange, row: ProductRow) -> None:
    """Change the row in memory; an unknown category is made."""
    for name in ("name", "description", "price", "currency", "sku", "active"):
        value = getattr(change, name)
        if value is not None:
            setattr(row, name, value)
    row.sku_folded = fold(row.sku)
    if change.tags is not None:
        row.tags = _once(change.tags)
    if change.attributes is not None:
        row.attributes = dict(change.attributes)
    if change.category is not None:
        row.category = resolve_category(change.category, current=row.category) if change.category else None
    _check_price(row)


def _columns(row: ProductRow) -> dict[str, object]:
    return {name: getattr(row, name) for name in _EDITABLE}


def _advance(row: ProductRow, **columns: object) -> None:
    """Write columns if the row is still at the revision at which it was read.

    Raises:
        _Overtaken: it is not.
    """
    now = timezone.now()
    current = ProductRow.objects.filter(pk=row.pk, revision=row.revision, deleted_at=None)
    if not current.update(**columns, revision=row.revision + 1, updated_at=now):
        raise _Overtaken
    row.revision, row.updated_at = row.revision + 1, now


def _live(product_id: UUID, if_revision: int | None = None) -> ProductRow:
    row = ProductRow.objects.select_related("category").filter(pk=product_id, deleted_at=None).first()
    if row is None:
        raise ProductNotFound("There is no such product.")
    if if_revision is not None and row.revision != if_revision:
        raise StaleProduct("The product has changed since you read it. Read it again.")
    return row


def _check_price(row: ProductRow) -> None:
    if row.price < 0:
        raise InvalidPrice(Problem("A price is not negative.", attr="price"))
    if not fits(row.price, row.currency):
        places = places_of(row.currency)
        raise InvalidPrice(Problem(f"A price in {row.currency} has at most {places} decimal places.", attr="price"))


def _make_sku(name: str) -> str:
    """A few letters of the name to recognise it by, and 40 random bits."""
    letters = "".join(character for character in "".join(search.normalise(name)) if character.isascii())
    return f"{letters[:4].upper() or 'SKU'}-{readable(secrets.randbits(40), 8)}"


def _once(tags: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(tags))


def _refusal(error: IntegrityError) -> DomainError:
    if violates(error, "sku_folded"):
        return SkuTaken(Problem("Another product has this SKU.", attr="sku"))
    return CategoryNotFound(Problem("The category was deleted just now.", attr="category"))


def _to_product(row: ProductRow, *, stock: int) -> Product:
    return Product(
        id=row.id,
        name=row.name,
        description=row.description,
        price=quantize(row.price, row.currency),
        currency=row.currency,
        category=row.category.name if row.category else None,
        category_id=row.category_id,
        stock=stock,
        sku=row.sku,
        images=[Image(id=UUID(image["id"]), url=image["url"], alt=image["alt"]) for image in row.images],
        tags=row.tags,
        attributes=row.attributes,
        active=row.active,
        created_at=row.created_at,
        updated_at=row.updated_at,
        revision=row.revision,
    )
