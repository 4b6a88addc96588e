"""Which products a list or a search is about: reads, composed on the ORM."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from django.db.models import Exists, F, OuterRef, Q, QuerySet

from apps.products.interface import Attributes, AttributeValue, ProductFilter
from apps.products.models import Category, Product, StockLevel
from apps.products.search.hits import Hits
from apps.products.services.categories import find_categories, fold
from apps.products.store import documents, lookups


@dataclass(frozen=True)
class Suggestion:
    """What somebody who has typed a few letters may mean. `type` is `product` or `category`."""

    type: str
    id: UUID
    text: str


def select_products(filters: ProductFilter) -> QuerySet[Product]:
    """The products that pass the filters, in no order. A category costs two queries; an unknown one leaves nothing."""
    # What is deleted is inactive.
    active = filters.active if filters.include_inactive else True
    wanted = Q(deleted_at=None) if active is None else Q(active=active)
    if active is False:
        wanted &= Q(deleted_at=None)
    if filters.category is not None:
        wanted &= Q(category__in=_subtrees(filters.category))
    if filters.min_price is not None:
        wanted &= Q(price__gte=filters.min_price)
    if filters.max_price is not None:
        wanted &= Q(price__lte=filters.max_price)
    if filters.tag is not None:
        wanted &= lookups.has_member("tags", filters.tag)
    if filters.group is not None:
        wanted &= Q(group=filters.group)
    for name, values in filters.attributes.items():
        wanted &= lookups.has_pair("attributes", name, values)
    products = Product.objects.filter(wanted).order_by()
    return products if filters.in_stock is None else _narrow_by_stock(products, in_stock=filters.in_stock)


def suggest(text: str, limit: int) -> list[Suggestion]:
    """Categories whose name begins so, then products with these words in their name."""
    start = fold(text)
    if not start:
        return []
    named = Category.objects.filter(name_folded__startswith=start).order_by("name_folded", "id")[:limit]
    found = [Suggestion("category", row.pk, row.name) for row in named]
    hits = Hits(text, select_products(ProductFilter()), only_titles=True)
    keys = hits.first(limit - len(found)) if len(found) < limit else []
    names = dict(Product.objects.filter(pk__in=keys).order_by().values_list("pk", "name"))
    return found + [Suggestion("product", key, names[key]) for key in keys if key in names]


def variants_of(group: str) -> QuerySet[Product]:
    """The products for sale that share the group, in the order in which they were made."""
    return Product.objects.filter(group=group, active=True).order_by("id")


def differences(variants: Sequence[Attributes]) -> dict[str, list[AttributeValue]]:
    """The attributes that differ between variants, each with its values in the order of their first appearance."""
    names = dict.fromkeys(name for attributes in variants for name in attributes)
    # To Python 1 and true are equal.
    values = {name: dict.fromkeys((type(each.get(name)), each.get(name)) for each in variants) for name in names}
    return {name: [value for _, value in found] for name, found in values.items() if len(found) > 1}


def _subtrees(category: str) -> list[UUID]:
    """The categories that are meant, and all below them."""
    below = Q(pk__in=[])
    for path in find_categories(category).values_list("path", flat=True):
        below |= Q(path__startswith=path)
    return list(Category.objects.filter(below).values_list("pk", flat=True))


def _narrow_by_stock(products: QuerySet[Product], *, in_stock: bool) -> QuerySet[Product]:
    if documents.are_apart():
        # No join reaches the inventory. What is sold out is the smaller part of a shop: 10,000 of them are 350 kB.
        sold_out = list(StockLevel.objects.filter(on_hand__lte=F("reserved")).values_list("product_id", flat=True))
        return products.exclude(pk__in=sold_out) if in_stock else products.filter(pk__in=sold_out)
    available = StockLevel.objects.filter(product_id=OuterRef("pk"), on_hand__gt=F("reserved"))
    return products.filter(Exists(available) if in_stock else ~Exists(available))
