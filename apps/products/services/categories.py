"""The category tree.

A category's `path` holds the ids of its ancestors and its own, so that a subtree is one prefix and a move is one
statement. Whoever moves a category first locks the whole tree: of two simultaneous moves that would make a circle, the
second sees the first. Whoever adds below a category locks that category, so that it cannot move meanwhile.
"""

import unicodedata
from itertools import chain, count
from uuid import UUID

from django.db import IntegrityError
from django.db.models import F, Max, Q, QuerySet, Value
from django.db.models.functions import Concat, Length, Substr
from django.utils import timezone
from django.utils.text import slugify

from apps.common.databases import atomic
from apps.common.errors import Problem
from apps.common.ids import new_id
from apps.products import search
from apps.products.interface import (
    AmbiguousCategory,
    Category,
    CategoryCycle,
    CategoryExists,
    CategoryInUse,
    CategoryNotFound,
    CategoryTooDeep,
)
from apps.products.models import Category as CategoryRow
from apps.products.models import Product as ProductRow

MAX_DEPTH = 10
_STEP = len(f"{UUID(int=0)}/")
_MAX_SLUG = 100


class Categories:
    """The part of the products service that keeps the tree."""

    def get_category(self, *, category_id: UUID) -> Category:
        return to_category(_get(category_id))

    def create_category(self, *, name: str, slug: str | None = None, parent_id: UUID | None = None) -> Category:
        with atomic("products"):
            parent = _lock_parent(parent_id)
            if parent and _depth(parent.path) >= MAX_DEPTH:
                raise _too_deep()
            return to_category(_insert(name=name, slug=slug, parent=parent))

    def update_category(
        self,
        *,
        category_id: UUID,
        name: str | None = None,
        slug: str | None = None,
        move: bool = False,
        parent_id: UUID | None = None,
    ) -> Category:
        try:
            with atomic("products"):
                if move:
                    _lock_tree()
                row = _get(category_id, lock=True)
                renamed = name is not None and name != row.name
                row.name, row.slug = name or row.name, slug or row.slug
                row.name_folded = fold(row.name)
                if move and parent_id != row.parent_id:
                    _move(row, _lock_parent(parent_id))
                row.save(update_fields=["name", "name_folded", "slug", "parent", "updated_at"])
                if renamed:
                    _rename_in_products(row)
        except IntegrityError as error:
            raise _exists(error) from error
        return to_category(row)

    def delete_category(self, *, category_id: UUID) -> None:
        try:
            with atomic("products"):
                row = _get(category_id, lock=True)
                if row.children.exists() or ProductRow.objects.filter(category=row, deleted_at=None).exists():
                    raise CategoryInUse("The category still has products or categories below it.")
                ProductRow.objects.filter(category=row).update(category=None)
                CategoryRow.objects.filter(pk=row.pk).delete()
        except IntegrityError as error:
            raise CategoryInUse("The category got a product or a category below it just now.") from error


def resolve_category(reference: str, *, current: CategoryRow | None = None) -> CategoryRow:
    """The category that an id, a slug or a name means; an unknown name is made at the top, in the caller's transaction.

    Raises:
        CategoryNotFound: the id is unknown.
        AmbiguousCategory: several categories have that name, and `current` is not one of them.
    """
    found = list(find_categories(reference))
    meant = found
    if len(found) > 1:
        meant = [row for row in found if row.slug == reference.strip()] or [row for row in found if row == current]
    if meant:
        return meant[0]
    if found:
        raise AmbiguousCategory(Problem("Several categories have that name: use an id or a slug.", attr="category"))
    if as_id(reference):
        raise CategoryNotFound(Problem("There is no category with that id.", attr="category"))
    try:
        return _insert(name=reference.strip(), slug=None, parent=None)
    except CategoryExists:
        # Somebody else made it at the same time.
        return CategoryRow.objects.get(name_folded=fold(reference), parent=None)


def find_categories(reference: str) -> QuerySet[CategoryRow]:
    """The categories with that id, or with that slug or name."""
    key = as_id(reference)
    meant = Q(pk=key) if key else Q(slug=reference.strip()) | Q(name_folded=fold(reference))
    return CategoryRow.objects.filter(meant)


def as_id(reference: str) -> UUID | None:
    """The id that the text is, in the usual form with dashes."""
    text = reference.strip()
    try:
        return UUID(text) if len(text) == _STEP - 1 else None
    except ValueError:
        return None


def fold(text: str) -> str:
    """The form in which names and SKUs are compared: two that differ in case only are the same."""
    return unicodedata.normalize("NFC", text.strip()).casefold()


def to_category(row: CategoryRow) -> Category:
    """The category as others see it."""
    return Category(
        id=row.id,
        name=row.name,
        slug=row.slug,
        parent_id=row.parent_id,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )


def violates(error: IntegrityError, column: str) -> bool:
    """Whether the column's unique constraint was violated. (PostgreSQL's message holds values: it proves nothing.)"""
    diagnosis = getattr(error.__cause__, "diag", None)
    return column in (diagnosis.constraint_name or "" if diagnosis else str(error))


def _insert(*, name: str, slug: str | None, parent: CategoryRow | None) -> CategoryRow:
    """Write a category in the caller's transaction; a slug that is made anew gives way to one that is taken."""
    while True:
        row = CategoryRow(id=new_id(), name=name, name_folded=fold(name), slug=slug or _free_slug(name), parent=parent)
        row.path = f"{parent.path if parent else '/'}{row.id}/"
        try:
            with atomic("products"):
                row.save(force_insert=True)
        except IntegrityError as error:
            if slug or not violates(error, "slug"):
                raise _exists(error) from error
        else:
            return row


def _free_slug(name: str) -> str:
    base = slugify(name, allow_unicode=True)[:_MAX_SLUG] or "category"
    taken = set(CategoryRow.objects.filter(slug__startswith=base).values_list("slug", flat=True))
    return next(slug for slug in chain([base], (f"{base}-{n}" for n in count(2))) if slug not in taken)


def _move(row: CategoryRow, parent: CategoryRow | None) -> None:
    """Put a category and all below it under another parent: one statement for every path."""
    if parent and parent.path.startswith(row.path):
        raise CategoryCycle(Problem("A category cannot be below itself.", attr="parent_id"))
    above = parent.path if parent else "/"
    subtree = CategoryRow.objects.filter(path__startswith=row.path)
    deepest: int = subtree.aggregate(length=Max(Length("path")))["length"]
    if (len(above) + deepest - len(row.path)) // _STEP + 1 > MAX_DEPTH:
        raise _too_deep()
    own = len(row.path) - _STEP + 1
    subtree.update(path=Concat(Value(above), Substr("path", own)))
    row.parent = parent


def _rename_in_products(row: CategoryRow) -> None:
    """Products show the name of their category: they are found by it, and their ETags change with it."""
    products = ProductRow.objects.filter(category=row, deleted_at=None)
    products.update(revision=F("revision") + 1, updated_at=timezone.now())
    search.write_entries(products.select_related("category"))


def _get(category_id: UUID, *, lock: bool = False) -> CategoryRow:
    rows = CategoryRow.objects.select_for_update() if lock else CategoryRow.objects.all()
    row = rows.filter(pk=category_id).first()
    if row is None:
        raise CategoryNotFound("There is no such category.")
    return row


def _lock_parent(parent_id: UUID | None) -> CategoryRow | None:
    if parent_id is None:
        return None
    row = CategoryRow.objects.select_for_update().filter(pk=parent_id).first()
    if row is None:
        raise CategoryNotFound(Problem("There is no such parent category.", attr="parent_id"))
    return row


def _lock_tree() -> None:
    """Hold every category until the transaction ends, in one order for everybody. Moves are rare, trees are small."""
    list(CategoryRow.objects.select_for_update().order_by("pk").values_list("pk"))


def _depth(path: str) -> int:
    return len(path) // _STEP


def _too_deep() -> CategoryTooDeep:
    return CategoryTooDeep(Problem(f"Categories are at most {MAX_DEPTH} levels deep.", attr="parent_id"))


def _exists(error: IntegrityError) -> CategoryExists:
    if violates(error, "slug"):
        return CategoryExists(Problem("Another category has that slug.", attr="slug"))
    return CategoryExists(Problem("There is a category of that name already.", attr="name"))
