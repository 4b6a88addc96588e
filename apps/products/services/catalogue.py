"""The catalogue: product documents, changed by conditional updates on their revision."""

import secrets
from collections.abc import Callable, Sequence
from functools import partial
from uuid import UUID

import orjson
from django.conf import settings
from django.db import IntegrityError

from apps.common.api.renderers import to_json
from apps.common.databases import atomic
from apps.common.errors import Problem
from apps.common.ids import new_id, readable
from apps.common.money import MAX_DIGITS, MAX_PLACES, fits, places_of
from apps.products import cache
from apps.products.interface import (
    CategoryNotFound,
    InvalidPrice,
    NewProduct,
    Product,
    ProductChange,
    ProductNotFound,
    SkuTaken,
    StaleProduct,
)
from apps.products.models import Product as ProductRow
from apps.products.search import words
from apps.products.services.announcing import announce, announce_pending, settle, to_product, to_products
from apps.products.services.categories import fold, resolve_category, settle_categories, violates
from apps.products.services.checking import check_fields
from apps.products.services.inventory import add_level
from apps.products.store import documents
from apps.products.store.clock import now

_EDITABLE = (
    "name", "description", "price", "currency", "category_id", "group", "sku", "sku_folded", "tags", "attributes",
    "images", "active", "deleted_at",
)  # fmt: skip

_WRITABLE = ("name", "description", "price", "currency", "group", "sku", "tags", "attributes", "active")
_TOO_DEAR = 10 ** (MAX_DIGITS - MAX_PLACES)
# A price is for `check_price()`.
_CHECKED = {*_WRITABLE} - {"price"}


class Catalogue:
    """The part of the products service that keeps what is for sale."""

    def create_product(self, *, new: NewProduct, actor_id: UUID | None = None) -> Product:
        try:
            with atomic("products"):
                row = _new_row(new)
                add_level(row.id, new.stock, actor_id=actor_id)
                _put_into(row, new.category)
                words.index(row)
                product = to_product(row, stock=new.stock)
                announce(row, product)
                # Last: a document store does not roll back with the rest.
                row.save(force_insert=True)
                cache.product_changed()
        except IntegrityError as error:
            if not new.sku and violates(error, "sku_folded"):
                return self.create_product(new=new, actor_id=actor_id)
            raise _refusal(error) from error
        settle(row)
        return product

    def update_product(self, *, product_id: UUID, change: ProductChange, if_revision: int | None = None) -> Product:
        return edit_product(product_id, partial(_apply, change), if_revision)

    def delete_product(self, *, product_id: UUID, if_revision: int | None = None) -> None:
        edit_product(product_id, _delete, if_revision)

    def announce_products(self) -> int:
        settle_categories()
        return announce_pending()

    def get_product(self, *, product_id: UUID, include_inactive: bool = False) -> Product:
        row = ProductRow.objects.select_related("category").filter(pk=product_id, deleted_at=None).first()
        return _shown(row, include_inactive=include_inactive)

    def get_product_by_sku(self, *, sku: str, include_inactive: bool = False) -> Product:
        row = ProductRow.objects.select_related("category").filter(sku_folded=fold(sku), deleted_at=None).first()
        return _shown(row, include_inactive=include_inactive)

    def get_products(self, *, product_ids: Sequence[UUID]) -> Sequence[Product]:
        rows = ProductRow.objects.filter(pk__in=product_ids, active=True, deleted_at=None)
        return to_products(rows.select_related("category"))


def _shown(row: ProductRow | None, *, include_inactive: bool) -> Product:
    if row is None or not (row.active or include_inactive):
        raise ProductNotFound("There is no such product.")
    return to_products([row])[0]


def edit_product(product_id: UUID, edit: Callable[[ProductRow], None], if_revision: int | None = None) -> Product:
    """Change a product's row by `edit`, which may be called again when somebody else was faster; tells of the change.

    Raises:
        ProductNotFound: unknown or deleted.
        StaleProduct: the product is no longer at `if_revision`.
        SkuTaken, CategoryNotFound: the database refused the row.
    """
    while True:
        row = _live(product_id, if_revision)
        if row.unannounced:
            announce_pending(product_id=product_id)
        before = _state(row)
        try:
            with atomic("products"):
                edit(row)
                if _state(row) == before:
                    return to_products([row])[0]
                product = _advance(row)
        except _Overtaken:
            continue
        except IntegrityError as error:
            raise _refusal(error) from error
        settle(row)
        return product


class _Overtaken(Exception):
    """Somebody else changed the row between our reading and our writing: look again."""


def _new_row(new: NewProduct) -> ProductRow:
    """The row of a new product, in no category yet."""
    sku = new.sku or _make_sku(new.name)
    row = ProductRow(
        id=new_id(),
        name=new.name,
        description=new.description,
        price=new.price,
        currency=new.currency or settings.CURRENCY,
        group=new.group,
        sku=sku,
        sku_folded=fold(sku),
        tags=_once(new.tags),
        attributes=dict(new.attributes),
        active=new.active,
        unannounced=documents.are_apart(),
        opening_stock=new.stock,
    )
    row.updated_at = row.created_at
    check_fields(row, _CHECKED)
    check_price(row)
    return row


def _apply(change: ProductChange, row: ProductRow) -> None:
    """Change the row in memory; an unknown category is made."""
    changed = {name: value for name in _WRITABLE if (value := getattr(change, name)) is not None}
    for name, value in changed.items():
        setattr(row, name, value)
    row.sku_folded = fold(row.sku)
    if change.tags is not None:
        row.tags = _once(change.tags)
    if change.attributes is not None:
        row.attributes = dict(change.attributes)
    check_fields(row, changed.keys() & _CHECKED)
    check_price(row)
    if change.category is not None:
        _put_into(row, change.category)


def _put_into(row: ProductRow, category: str | None) -> None:
    """Put the row into the category that is meant; an unknown one is made, so let this come last."""
    taken = ProductRow.objects.filter(sku_folded=row.sku_folded).exclude(pk=row.pk)
    if category and documents.are_apart() and taken.exists():
        # The document store would refuse the row when it has the new category already.
        raise _sku_taken()
    row.category = resolve_category(category, current=row.category) if category else None


def _sku_taken() -> SkuTaken:
    return SkuTaken(Problem("Another product has this SKU.", attr="sku"))


def _delete(row: ProductRow) -> None:
    row.deleted_at, row.active = now(), False


def _columns(row: ProductRow) -> dict[str, object]:
    return {name: getattr(row, name) for name in _EDITABLE}


def _state(row: ProductRow) -> dict[str, object]:
    """What a change is told by: to Python 1 and true are equal, in JSON they are not."""
    return {**_columns(row), "attributes": to_json(row.attributes, orjson.OPT_SORT_KEYS)}


def _advance(row: ProductRow) -> Product:
    """Write the row's next revision, with its event, if it is still at the one at which it was read.

    Raises:
        _Overtaken: it is not.
    """
    current = ProductRow.objects.filter(pk=row.pk, revision=row.revision, deleted_at=None)
    row.revision, row.updated_at, row.unannounced = row.revision + 1, now(), documents.are_apart()
    words.index(row)
    product = to_products([row])[0]
    announce(row, product)
    # Last: a document store does not roll back with the rest.
    written = (*_EDITABLE, *words.FIELDS, "revision", "updated_at", "unannounced")
    if not current.update(**{name: getattr(row, name) for name in written}):
        raise _Overtaken
    cache.product_changed(row.pk)
    return product


def _live(product_id: UUID, if_revision: int | None = None) -> ProductRow:
    row = ProductRow.objects.select_related("category").filter(pk=product_id, deleted_at=None).first()
    if row is None:
        raise ProductNotFound("There is no such product.")
    if if_revision is not None and row.revision != if_revision:
        raise StaleProduct("The product has changed since you read it. Read it again.")
    return row


def check_price(row: ProductRow) -> None:
    """
    Raises:
        InvalidPrice: negative, too large, or with more places than its currency.
    """
    if row.price >= _TOO_DEAR:
        raise InvalidPrice(Problem(f"A price is less than {_TOO_DEAR}.", attr="price"))
    if row.price < 0:
        raise InvalidPrice(Problem("A price is not negative.", attr="price"))
    if not fits(row.price, row.currency):
        places = places_of(row.currency)
        raise InvalidPrice(Problem(f"A price in {row.currency} has at most {places} decimal places.", attr="price"))


def _make_sku(name: str) -> str:
    """A few letters of the name to recognise it by, and 40 random bits."""
    letters = "".join(character for character in "".join(words.normalise(name)) if character.isascii())
    return f"{letters[:4].upper() or 'SKU'}-{readable(secrets.randbits(40), 8)}"


def _once(tags: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(tags))


def _refusal(error: IntegrityError) -> Exception:
    """What the database has against the row, as others know it."""
    if violates(error, "sku_folded"):
        return _sku_taken()
    if documents.are_apart():
        return error  # nothing else is unique there, and nothing is referred to
    return CategoryNotFound(Problem("The category was deleted just now.", attr="category"))
