"""The counts beside a search: how many of its products are in each category, have each tag, and cost how much."""

from collections import Counter
from collections.abc import Iterable
from decimal import Decimal
from uuid import UUID

from django.db.models import QuerySet

from apps.products.interface import CategoryCount, Facets, PriceBand, TagCount
from apps.products.models import Category, Product
from apps.products.services.categories import ancestors_of
from apps.products.store import documents

MAX_FACETS = 20
# Where one price band ends and the next begins; the last has no end.
_PRICE_STEPS = [Decimal(step) for step in (0, 10, 25, 50, 100, 250, 500, 1000)]
# The products are looked at once, and counted from there.
_COUNT = """
    WITH hit AS MATERIALIZED ({hits})
    SELECT 'category', CAST(category_id AS text), count(*) FROM hit WHERE category_id IS NOT NULL GROUP BY category_id
    UNION ALL
    SELECT 'tag', value, number FROM (
        SELECT tag.value AS value, count(*) AS number FROM hit, {each_tag}
        GROUP BY tag.value ORDER BY count(*) DESC, tag.value LIMIT {most}
    ) AS tags
    UNION ALL
    SELECT 'price', CAST({band} AS text), count(*) FROM hit GROUP BY {band}
"""
_EACH_TAG = {
    "sqlite": "json_each(hit.tags) AS tag",
    "postgresql": "jsonb_array_elements_text(hit.tags) AS tag (value)",
}
# How many steps the price has reached.
_BAND = " + ".join(f"CASE WHEN price >= {step} THEN 1 ELSE 0 END" for step in _PRICE_STEPS[1:])
_MONGODB_COUNT: list[documents.Stage] = [
    {
        "$facet": {
            "category": [{"$group": {"_id": "$category_id", "number": {"$sum": 1}}}],
            "tag": [
                {"$unwind": "$tags"},
                {"$group": {"_id": "$tags", "number": {"$sum": 1}}},
                {"$sort": {"number": -1, "_id": 1}},
                {"$limit": MAX_FACETS},
            ],
            "price": [
                {
                    "$group": {
                        "_id": {"$sum": [{"$cond": [{"$gte": ["$price", int(s)]}, 1, 0]} for s in _PRICE_STEPS[1:]]},
                        "number": {"$sum": 1},
                    }
                }
            ],
        }
    }
]


def count_facets(products: QuerySet[Product]) -> Facets:
    """The facets of all these products, in three queries."""
    rows = _count_documents(products) if documents.are_apart() else _count_rows(products)
    found: dict[str, list[tuple[str, int]]] = {"category": [], "tag": [], "price": []}
    for facet, value, number in rows:
        found[facet].append((value, number))
    return Facets(
        categories=_roll_up({UUID(key): number for key, number in found["category"]}),
        tags=[TagCount(*each) for each in sorted(found["tag"], key=lambda each: (-each[1], each[0]))],
        price_bands=[_to_band(int(steps), number) for steps, number in sorted(found["price"])],
    )


def _count_rows(products: QuerySet[Product]) -> list[tuple[str, str, int]]:
    connection = documents.connection()
    hits, params = (
        products.order_by().values("category_id", "price", "tags").query.get_compiler(connection=connection).as_sql()
    )
    statement = _COUNT.format(hits=hits, each_tag=_EACH_TAG[connection.vendor], most=MAX_FACETS, band=_BAND)
    with connection.cursor() as cursor:
        cursor.execute(statement, params)
        return list(cursor.fetchall())


def _count_documents(products: QuerySet[Product]) -> Iterable[tuple[str, str, int]]:
    for counted in documents.aggregate(products, _MONGODB_COUNT):
        for facet, groups in counted.items():
            yield from ((facet, group["_id"], group["number"]) for group in groups if group["_id"] is not None)


def _roll_up(direct: dict[UUID, int]) -> list[CategoryCount]:
    """A product counts in its category and in all above that."""
    counts: Counter[UUID] = Counter()
    for pk, path in Category.objects.filter(pk__in=direct).order_by().values_list("pk", "path"):
        for above in ancestors_of(path):
            counts[above] += direct[pk]
    rows = Category.objects.in_bulk(list(counts))
    found = [CategoryCount(row.id, row.name, row.slug, counts[row.id]) for row in rows.values()]
    return sorted(found, key=lambda each: (-each.count, each.name, each.id))[:MAX_FACETS]


def _to_band(steps: int, number: int) -> PriceBand:
    return PriceBand(_PRICE_STEPS[steps], (*_PRICE_STEPS, None)[steps + 1], number)
