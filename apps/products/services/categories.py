"""The category tree.

A category's `path` holds the ids of its ancestors and its own, so that a subtree is one prefix and a move is one
statement. Whoever changes the tree locks it first, all of it, by one row beside the inventory: of two simultaneous
moves that would make a circle, the second sees the first, also where the documents' own store has no locks.
"""

import unicodedata
from collections.abc import Iterable
from itertools import chain, count
from uuid import UUID

from django.db import IntegrityError
from django.db.models import F, Max, Q, QuerySet, Value
from django.db.models.functions import Concat, Length, Substr
from django.utils.text import slugify

from apps.common.databases import atomic
from apps.common.errors import Problem
from apps.common.ids import new_id
from apps.products import cache
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
from apps.products.models import TreeLock
from apps.products.services.announcing import announce_pending
from apps.products.services.checking import check_fields, check_line
from apps.products.store import documents
from apps.products.store.clock import now

MAX_DEPTH = 10
_STEP = len(f"{UUID(int=0)}/")
_MAX_SLUG = 100
_WRITTEN = ("name", "name_folded", "sibling_key", "slug", "parent", "path", "unsettled", "updated_at")


class Categories:
    """The part of the products service that keeps the tree."""

    def get_category(self, *, category_id: UUID) -> Category:
        return to_category(_get(category_id))

    def create_category(self, *, name: str, slug: str | None = None, parent_id: UUID | None = None) -> Category:
        with atomic("products"):
            lock_tree()
            parent = _parent(parent_id)
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
        # What is pending of its products must be out before a new name raises their revisions once more.
        while name is not None and announce_pending(category_id=category_id):
            pass
        try:
            with atomic("products"):
                lock_tree()
                row = _get(category_id)
                path, renamed = row.path, name is not None and name != row.name
                row.name, row.slug = name or row.name, slug or row.slug
                _check(row, slug)
                row.name_folded = fold(row.name)
                if move and parent_id != row.parent_id:
                    _put_below(row, _parent(parent_id))
                row.sibling_key, row.updated_at = _sibling_key(row), now()
                row.unsettled = documents.are_apart() and (renamed or row.path != path)
                # The row first, for it may be refused: a document store would not take the rest back.
                row.save(update_fields=_WRITTEN)
                _move_subtree(path, row.path)
                cache.product_changed(*(_mark_products(row) if renamed else ()))
                if row.unsettled:
                    CategoryRow.objects.filter(pk=row.pk).update(unsettled=False)
        except IntegrityError as error:
            raise _exists(error) from error
        if renamed:
            # The first ones at once; a periodic task sees to the rest.
            announce_pending(category_id=row.pk)
        return to_category(row)

    def delete_category(self, *, category_id: UUID) -> None:
        try:
            with atomic("products"):
                lock_tree()
                row = _get(category_id)
                if row.children.exists() or ProductRow.objects.filter(category=row, deleted_at=None).exists():
                    raise CategoryInUse("The category still has products or categories below it.")
                ProductRow.objects.filter(category=row).update(category=None)
                CategoryRow.objects.filter(pk=row.pk).delete()
                cache.product_changed()
        except IntegrityError as error:
            raise CategoryInUse("The category got a product or a category below it just now.") from error


def settle_categories() -> None:
    """Finish what a process that died has begun: a document store keeps the first of several writes."""
    if not CategoryRow.objects.filter(unsettled=True).exists():
        return
    with atomic("products"):
        lock_tree()
        for row in CategoryRow.objects.filter(unsettled=True).select_related("parent"):
            _settle_paths(row, row.parent.path if row.parent else "/")
            cache.product_changed(*_mark_products(row))
            CategoryRow.objects.filter(pk=row.pk).update(unsettled=False)


def resolve_category(reference: str, *, current: CategoryRow | None = None) -> CategoryRow:
    """The category that an id, a slug or a name means; an unknown name is made at the top, in the caller's transaction.

    Raises:
        CategoryNotFound: the id is unknown.
        AmbiguousCategory: several categories have that name, and `current` is not one of them.
    """
    # So it is neither renamed nor deleted before the product is written, and everybody locks in one order.
    lock_tree()
    chosen = choose_category(find_categories(reference), reference, current=current)
    return chosen or _insert(name=reference.strip(), slug=None, parent=None)


def choose_category(
    found: Iterable[CategoryRow], reference: str, *, current: CategoryRow | None = None
) -> CategoryRow | None:
    """The one of these categories that the reference means; None when it is a name that none of them has.

    Raises:
        CategoryNotFound, AmbiguousCategory: as for `resolve_category`.
    """
    key, slug, name = as_id(reference), reference.strip(), fold(reference)
    fitting = [row for row in found if (row.pk == key if key else slug == row.slug or name == row.name_folded)]
    meant = fitting
    if len(fitting) > 1:
        meant = [row for row in fitting if row.slug == slug] or [row for row in fitting if row == current]
    if meant:
        return meant[0]
    if fitting:
        raise AmbiguousCategory(Problem("Several categories have that name: use an id or a slug.", attr="category"))
    if key:
        raise CategoryNotFound(Problem("There is no category with that id.", attr="category"))
    return None


def find_categories(*references: str) -> QuerySet[CategoryRow]:
    """The categories with these ids, or with these slugs or names."""
    keys = [key for key in map(as_id, references) if key]
    texts = [text for text in references if not as_id(text)]
    meant = Q(slug__in=[text.strip() for text in texts]) | Q(name_folded__in=[fold(text) for text in texts])
    return CategoryRow.objects.filter(Q(pk__in=keys) | meant)


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


def ancestors_of(path: str) -> list[UUID]:
    """The ids that a category's path is made of: those above it, and its own."""
    return [UUID(step) for step in path.strip("/").split("/")]


def violates(error: IntegrityError, column: str) -> bool:
    """Whether the column's unique constraint was violated. (PostgreSQL's message holds values: it proves nothing.)"""
    if diagnosis := getattr(error.__cause__, "diag", None):
        return column in (diagnosis.constraint_name or "")
    if details := getattr(error.__cause__, "details", None):
        # MongoDB's: of one document, or of the first of several.
        return column in (details.get("writeErrors") or [details])[0].get("keyPattern", {})
    return column in str(error)


def lock_tree() -> None:
    """Hold the tree until the transaction ends. Changes of it are rare."""
    TreeLock.objects.select_for_update().get_or_create(pk=1)


def _insert(*, name: str, slug: str | None, parent: CategoryRow | None) -> CategoryRow:
    """Write a category in the caller's transaction, which holds the tree."""
    row = CategoryRow(id=new_id(), name=name, name_folded=fold(name), slug=slug or _free_slug(name), parent=parent)
    _check(row, slug)
    row.path = f"{parent.path if parent else '/'}{row.id}/"
    row.sibling_key = _sibling_key(row)
    try:
        with atomic("products"):
            row.save(force_insert=True)
    except IntegrityError as error:
        raise _exists(error) from error
    cache.product_changed()
    return row


def _check(row: CategoryRow, slug: str | None) -> None:
    """
    Raises:
        InvalidInput: the name, or the slug if one was given, is not what categories have.
    """
    check_line(slug or "", "slug", most=_MAX_SLUG)
    check_fields(row, {"name", "slug"})


def _sibling_key(row: CategoryRow) -> str:
    return f"{row.parent_id or ''}/{row.name_folded}"


def _free_slug(name: str) -> str:
    base = slugify(name, allow_unicode=True)[:_MAX_SLUG] or "category"
    taken = set(CategoryRow.objects.filter(slug__startswith=base).values_list("slug", flat=True))
    return next(slug for slug in chain([base], (f"{base}-{n}" for n in count(2))) if slug not in taken)


def _put_below(row: CategoryRow, parent: CategoryRow | None) -> None:
    """Give the row another parent and the path that goes with it, in memory.

    Raises:
        CategoryCycle, CategoryTooDeep: as for `update_category`.
    """
    if parent and parent.path.startswith(row.path):
        raise CategoryCycle(Problem("A category cannot be below itself.", attr="parent_id"))
    above = parent.path if parent else "/"
    subtree = CategoryRow.objects.filter(path__startswith=row.path)
    deepest: int = subtree.aggregate(length=Max(Length("path")))["length"]
    if (len(above) + deepest - len(row.path)) // _STEP + 1 > MAX_DEPTH:
        raise _too_deep()
    row.parent, row.path = parent, f"{above}{row.id}/"


def _move_subtree(before: str, after: str) -> None:
    """Write the paths of a category and of all below it, in one statement."""
    if before != after:
        rows = CategoryRow.objects.filter(path__startswith=before)
        rows.update(path=Concat(Value(after), Substr("path", len(before) + 1)))


def _settle_paths(row: CategoryRow, above: str) -> None:
    """Give the category, and all that say that they are below it, the paths that follow from that."""
    path = f"{above}{row.pk}/"
    CategoryRow.objects.filter(pk=row.pk).exclude(path=path).update(path=path)
    for child in CategoryRow.objects.filter(parent=row.pk):
        _settle_paths(child, path)


def _mark_products(row: CategoryRow) -> list[UUID]:
    """Products show the name of their category: their ETags change with it, and their events are to follow. Returns
    which they are.
    """
    products = ProductRow.objects.filter(category=row, deleted_at=None).order_by()
    products.update(revision=F("revision") + 1, updated_at=now(), unannounced=True)
    return list(products.values_list("pk", flat=True))


def _get(category_id: UUID) -> CategoryRow:
    row = CategoryRow.objects.filter(pk=category_id).first()
    if row is None:
        raise CategoryNotFound("There is no such category.")
    return row


def _parent(parent_id: UUID | None) -> CategoryRow | None:
    if parent_id is None:
        return None
    row = CategoryRow.objects.filter(pk=parent_id).first()
    if row is None:
        raise CategoryNotFound(Problem("There is no such parent category.", attr="parent_id"))
    return row


def _depth(path: str) -> int:
    return len(path) // _STEP


def _too_deep() -> CategoryTooDeep:
    return CategoryTooDeep(Problem(f"Categories are at most {MAX_DEPTH} levels deep.", attr="parent_id"))


def _exists(error: IntegrityError) -> CategoryExists:
    if violates(error, "slug"):
        return CategoryExists(Problem("Another category has that slug.", attr="slug"))
    return CategoryExists(Problem("There is a category of that name already.", attr="name"))
