"""Which products a list or a search is about, and the counts beside a search: reads, composed on the ORM."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from uuid import UUID

from django.db.models import Count, Exists, F, OuterRef, Q, QuerySet

from apps.products.interface import Attributes, AttributeValue
from apps.products.models import Category, Product, StockLevel
from apps.products.search.hits import Hits
from apps.products.services.categories import ancestors_of, find_categories, fold
from apps.products.store import documents, lookups

MAX_FACETS = 20
# Where one price band ends and the next begins; the last has no end.
_PRICE_STEPS = [Decimal(step) for step in (0, 10, 25, 50, 100, 250, 500, 1000)]
_PRICE_BANDS = list(zip(_PRICE_STEPS, [*_PRICE_STEPS[1:], None], strict=True))


@dataclass(frozen=True)
class Filters:
    """What a list is narrowed to; None does not narrow. `category` is an id, a slug or a name, with all below it."""

    category: str | None = None
    min_price: Decimal | None = None
    max_price: Decimal | None = None
    tag: str | None = None
    in_stock: bool | None = None
    active: bool | None = True
    group: str | None = None
    # Name → values of which one must fit, all as texts.
    attributes: Mapping[str, Sequence[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class CategoryCount:
    id: UUID
    name: str
    slug: str
    count: int


@dataclass(frozen=True)
class TagCount:
    tag: str
    count: int


@dataclass(frozen=True)
class PriceBand:
    """Products that cost at least `min` and less than `max`."""

    min: Decimal
    max: Decimal | None
    count: int


@dataclass(frozen=True)
class Facets:
    """How many products of a search are in each category, have each tag, and cost how much; the most frequent ones."""

    categories: Sequence[CategoryCount]
    tags: Sequence[TagCount]
    price_bands: Sequence[PriceBand]


@dataclass(frozen=True)
class Suggestion:
    """What somebody who has typed a few letters may mean. `type` is `product` or `category`."""

    type: str
    id: UUID
    text: str


def select_products(filters: Filters) -> QuerySet[Product]:
    """The products that pass the filters, in no order. A category costs two queries; an unknown one leaves nothing."""
    # What is deleted is inactive.
    wanted = Q(deleted_at=None) if filters.active is None else Q(active=filters.active)
    if filters.active is False:
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


def count_facets(products: QuerySet[Product]) -> Facets:
    """The facets of all these products, in five queries."""
    return Facets(
        categories=_count_categories(products), tags=_count_tags(products), price_bands=_count_prices(products)
    )


def suggest(text: str, limit: int) -> list[Suggestion]:
    """Categories whose name begins so, then products with these words in their name; in three queries."""
    start = fold(text)
    if not start:
        return []
    named = Category.objects.filter(name_folded__startswith=start).order_by("name_folded", "id")[:limit]
    found = [Suggestion("category", row.pk, row.name) for row in named]
    hits = Hits(text, select_products(Filters()), only_titles=True)
    keys = hits[0 : limit - len(found)] if len(found) < limit else []
    names = dict(Product.objects.filter(pk__in=keys).order_by().values_list("pk", "name"))
    return found + [Suggestion("product", key, names[key]) for key in keys if key in names]


def variants_of(group: str) -> QuerySet[Product]:
    """The products for sale that share the group, in the order in which they were made."""
    return Product.objects.filter(group=group, active=True).order_by("id")


def differences(variants: Sequence[Attributes]) -> dict[str, list[AttributeValue]]:
    """The attributes that differ between variants, each with its values in the order of their first appearance."""
    names = dict.fromkeys(name for attributes in variants for name in attributes)
    values = {name: list(dict.fromkeys(each.get(name) for each in variants)) for name in names}
    return {name: found for name, found in values.items() if len(found) > 1}


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


def _count_categories(products: QuerySet[Product]) -> list[CategoryCount]:
    """A product counts in its category and in all above that."""
    direct = dict(products.exclude(category=None).values_list("category").annotate(count=Count("pk")).order_by())
    counts: Counter[UUID] = Counter()
    for pk, path in Category.objects.filter(pk__in=direct).values_list("pk", "path"):
        for above in ancestors_of(path):
            counts[above] += direct[pk]
    rows = Category.objects.in_bulk(list(counts))
    found = [CategoryCount(row.id, row.name, row.slug, counts[row.id]) for row in rows.values()]
    return sorted(found, key=lambda each: (-each.count, each.name, each.id))[:MAX_FACETS]


def _count_prices(products: QuerySet[Product]) -> list[PriceBand]:
    within = [Q(price__gte=low) if high is None else Q(price__gte=low, price__lt=high) for low, high in _PRICE_BANDS]
    counts = products.aggregate(**{f"band{i}": Count("pk", filter=band) for i, band in enumerate(within)}).values()
    return [PriceBand(low, high, n) for (low, high), n in zip(_PRICE_BANDS, counts, strict=True) if n]


_EACH_TAG = {
    "sqlite": "json_each(product.tags) AS tag",
    "postgresql": "jsonb_array_elements_text(product.tags) AS tag (value)",
}


def _count_tags(products: QuerySet[Product]) -> list[TagCount]:
    connection = documents.connection()
    if documents.are_apart():
        return [TagCount(row["_id"], row["count"]) for row in documents.aggregate(products, _MONGODB_TAGS)]
    sql, params = products.order_by().values("tags").query.get_compiler(connection=connection).as_sql()
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT tag.value, count(*) FROM ({sql}) AS product, {_EACH_TAG[connection.vendor]}"  # noqa: S608 - our own
            " GROUP BY tag.value ORDER BY count(*) DESC, tag.value LIMIT %s",
            [*params, MAX_FACETS],
        )
        return [TagCount(*row) for row in cursor.fetchall()]


_MONGODB_TAGS: list[documents.Stage] = [
    {"$unwind": "$tags"},
    {"$group": {"_id": "$tags", "count": {"$sum": 1}}},
    {"$sort": {"count": -1, "_id": 1}},
    {"$limit": MAX_FACETS},
]
