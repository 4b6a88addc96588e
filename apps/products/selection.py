"""Which products a list or a search is about, and the counts beside a search: reads, composed on the ORM."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from uuid import UUID

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import BooleanField, Count, Exists, F, Func, OuterRef, Q, QuerySet, Value
from django.db.models.sql.compiler import SQLCompiler

from apps.common.databases import alias_of, connection_of
from apps.products.models import Product, StockLevel
from apps.products.services.categories import find_categories

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


def select_products(filters: Filters) -> QuerySet[Product]:
    """The products that pass the filters, in no order. A category costs a query; an unknown one leaves nothing."""
    products = Product.objects.filter(deleted_at=None).order_by()
    if filters.active is not None:
        products = products.filter(active=filters.active)
    if filters.category is not None:
        paths = list(find_categories(filters.category).values_list("path", flat=True))
        below = Q(pk__in=[])
        for path in paths:
            below |= Q(category__path__startswith=path)
        products = products.filter(below)
    if filters.min_price is not None:
        products = products.filter(price__gte=filters.min_price)
    if filters.max_price is not None:
        products = products.filter(price__lte=filters.max_price)
    if filters.tag is not None:
        products = products.filter(_HasTag(F("tags"), Value(filters.tag)))
    if filters.in_stock is not None:
        available = StockLevel.objects.filter(product_id=OuterRef("pk"), on_hand__gt=F("reserved"))
        products = products.filter(Exists(available) if filters.in_stock else ~Exists(available))
    return products


def count_facets(products: QuerySet[Product]) -> Facets:
    """The facets of all these products, in three queries."""
    categories = (
        products.exclude(category=None)
        .values("category_id", "category__name", "category__slug")
        .annotate(count=Count("pk"))
        .order_by("-count", "category__name", "category_id")[:MAX_FACETS]
    )
    return Facets(
        categories=[
            CategoryCount(row["category_id"], row["category__name"], row["category__slug"], row["count"])
            for row in categories
        ],
        tags=_count_tags(products),
        price_bands=_count_prices(products),
    )


def _count_prices(products: QuerySet[Product]) -> list[PriceBand]:
    within = [Q(price__gte=low) if high is None else Q(price__gte=low, price__lt=high) for low, high in _PRICE_BANDS]
    counts = products.aggregate(**{f"band{i}": Count("pk", filter=band) for i, band in enumerate(within)}).values()
    return [PriceBand(low, high, n) for (low, high), n in zip(_PRICE_BANDS, counts, strict=True) if n]


# What JSON arrays can be asked differs by database: here, and nowhere else.


class _HasTag(Func):
    """Whether the array holds the text."""

    output_field = BooleanField()
    function = "jsonb_exists"

    def as_sqlite(
        self,
        compiler: SQLCompiler,
        connection: BaseDatabaseWrapper,
        **context: Any,  # noqa: ANN401 - as in Django
    ) -> tuple[str, tuple[str | int, ...]]:
        return self.as_sql(
            compiler,
            connection,
            template="EXISTS (SELECT 1 FROM json_each(%(expressions)s))",
            arg_joiner=") WHERE value = (",
            **context,
        )


_EACH_TAG = {
    "sqlite": "json_each(product.tags) AS tag",
    "postgresql": "jsonb_array_elements_text(product.tags) AS tag (value)",
}


def _count_tags(products: QuerySet[Product]) -> list[TagCount]:
    connection = connection_of("products")
    sql, params = products.values("tags").query.get_compiler(alias_of("products")).as_sql()
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT tag.value, count(*) FROM ({sql}) AS product, {_EACH_TAG[connection.vendor]}"  # noqa: S608 - our own
            " GROUP BY tag.value ORDER BY count(*) DESC, tag.value LIMIT %s",
            [*params, MAX_FACETS],
        )
        return [TagCount(*row) for row in cursor.fetchall()]
