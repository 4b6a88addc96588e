"""What must hold of the catalogue, for `manage.py audit`."""

from collections.abc import Iterator
from datetime import timedelta
from itertools import islice

from django.utils import timezone

from apps.common.audit import Rule
from apps.products.models import Category, Product, StockLevel
from apps.products.search import words

# Housekeeping announces within seconds; what is overdue for longer was forgotten.
_GRACE = timedelta(minutes=10)


def _paths() -> Iterator[str]:
    for row in Category.objects.select_related("parent").iterator():
        if row.path != f"{row.parent.path if row.parent else '/'}{row.id}/":
            yield f"category {row.id}: its path is not below its parent's"


def _homeless() -> Iterator[str]:
    """MongoDB keeps no foreign keys."""
    known = set(Category.objects.values_list("pk", flat=True))
    parents = Category.objects.exclude(parent=None).order_by().values_list("pk", "parent")
    for pk, parent in parents.iterator():
        if parent not in known:
            yield f"category {pk}: its parent {parent} does not exist"
    homes = Product.objects.exclude(category=None).order_by().values_list("pk", "category")
    for pk, category in homes.iterator():
        if category not in known:
            yield f"product {pk}: its category {category} does not exist"


def _texts() -> Iterator[str]:
    rows = Product.objects.defer(None).filter(deleted_at=None, unannounced=False).select_related("category")
    for row in rows.order_by().iterator(chunk_size=1000):
        kept = [getattr(row, name) for name in words.FIELDS]
        words.index(row)
        if kept != [getattr(row, name) for name in words.FIELDS]:
            yield f"product {row.id}: it is found by old words; manage.py reindex renews them"


def _levels() -> Iterator[str]:
    keys = Product.objects.order_by().values_list("id", flat=True).iterator(chunk_size=1000)
    while page := list(islice(keys, 1000)):
        known = set(StockLevel.objects.filter(product_id__in=page).values_list("product_id", flat=True))
        for product_id in page:
            if product_id not in known:
                yield f"product {product_id}: it has no stock level"


def _overdue() -> Iterator[str]:
    overdue = Product.objects.filter(unannounced=True, updated_at__lt=timezone.now() - _GRACE)
    for product_id in overdue.values_list("id", flat=True):
        yield f"product {product_id}: the event of its last change is not out yet"


CATALOGUE_RULES = [
    Rule("a category's path is its parent's and its own id", Category.objects.count, _paths),
    Rule("every category that is referred to exists", Category.objects.count, _homeless),
    Rule("every product in the shop is found by its own words", Product.objects.filter(deleted_at=None).count, _texts),
    Rule("every product has a stock level", Product.objects.count, _levels),
    Rule("every change of a product has been announced", Product.objects.filter(unannounced=True).count, _overdue),
]
