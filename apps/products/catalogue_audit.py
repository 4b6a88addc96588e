"""What must hold of the catalogue, for `manage.py audit`."""

from collections.abc import Iterator

from django.db.models import Exists, OuterRef

from apps.common.audit import Rule
from apps.products.models import Category, Product, SearchEntry, StockLevel


def _paths() -> Iterator[str]:
    for row in Category.objects.select_related("parent").iterator():
        if row.path != f"{row.parent.path if row.parent else '/'}{row.id}/":
            yield f"category {row.id}: its path is not below its parent's"


def _entries() -> Iterator[str]:
    entry = SearchEntry.objects.filter(product_id=OuterRef("pk"))
    for product_id in Product.objects.filter(~Exists(entry), deleted_at=None).values_list("id", flat=True):
        yield f"product {product_id}: it cannot be found by searching"


def _levels() -> Iterator[str]:
    level = StockLevel.objects.filter(product_id=OuterRef("pk"))
    for product_id in Product.objects.filter(~Exists(level)).values_list("id", flat=True):
        yield f"product {product_id}: it has no stock level"


CATALOGUE_RULES = [
    Rule("a category's path is its parent's and its own id", Category.objects.count, _paths),
    Rule("every product in the shop is in the search index", Product.objects.filter(deleted_at=None).count, _entries),
    Rule("every product has a stock level", Product.objects.count, _levels),
]
