"""Pages of the catalogue: which products, in which order. REST and gRPC answer from here."""

from collections.abc import Sequence
from uuid import UUID

from django.db.models import QuerySet

from apps.common.errors import InvalidInput, Problem
from apps.common.paging import MAX_PAGE_SIZE, PAGE_SIZE
from apps.products.interface import EVERYTHING, Facets, Ordering, Product, ProductFilter, ProductPage, SearchPage
from apps.products.models import Product as ProductRow
from apps.products.search.hits import Hits
from apps.products.services.announcing import to_products
from apps.products.services.checking import check_filter, check_query
from apps.products.services.facets import count_facets
from apps.products.services.selection import select_products

# Ids are in the order of creation; they also keep rows that are equal otherwise in one order.
_COLUMNS = {
    Ordering.OLDEST: "id",
    Ordering.NEWEST: "-id",
    Ordering.NAME: "name_key",
    Ordering.NAME_DESCENDING: "-name_key",
}
_NO_FACETS = Facets(categories=[], tags=[], price_bands=[])

Keys = QuerySet[ProductRow, UUID] | Hits


class Listing:
    """The part of the products service that shows the catalogue."""

    def list_products(
        self,
        *,
        narrowed: ProductFilter = EVERYTHING,
        ordering: Ordering = Ordering.NEWEST,
        page: int = 1,
        page_size: int = PAGE_SIZE,
    ) -> ProductPage:
        check_filter(narrowed)
        keys = in_order(select_products(narrowed), ordering)
        products, count, next_page = _cut(keys, page, page_size)
        return ProductPage(products=products, count=count, next_page=next_page)

    def search_products(
        self,
        *,
        text: str,
        narrowed: ProductFilter = EVERYTHING,
        ordering: Ordering | None = None,
        page: int = 1,
        page_size: int = PAGE_SIZE,
    ) -> SearchPage:
        check_query(text)
        check_filter(narrowed)
        hits = Hits(text, select_products(narrowed))
        products, count, next_page = _cut(
            hits if ordering is None else in_order(hits.matching, ordering), page, page_size
        )
        return SearchPage(products=products, count=count, next_page=next_page, facets=facets_of(hits))


def in_order(products: QuerySet[ProductRow], ordering: Ordering) -> QuerySet[ProductRow, UUID]:
    """The ids of these products. An index has them in order, so that a deep page reads no product but its own."""
    by = [_COLUMNS.get(ordering, ordering.value), "-id" if ordering[0] == "-" else "id"]
    return products.order_by(*dict.fromkeys(by)).values_list("id", flat=True)


def facets_of(hits: Hits) -> Facets:
    """The facets of a search; no query for one that has found nothing."""
    return count_facets(hits.matching) if hits.count() else _NO_FACETS


def read_products(product_ids: Sequence[UUID]) -> list[Product]:
    """These products in this order, in two queries; one that was deleted meanwhile is left out."""
    rows = ProductRow.objects.filter(pk__in=product_ids).select_related("category").order_by()
    found = {product.id: product for product in to_products(rows)}
    return [found[key] for key in product_ids if key in found]


def _cut(keys: Keys, page: int, page_size: int) -> tuple[list[Product], int, int | None]:
    """The products of a page, how many there are on all pages, and the number of the page after it."""
    for value, attr in ((page, "page"), (page_size, "page_size")):
        if value < 1:
            raise InvalidInput(Problem("Ensure this value is greater than or equal to 1.", attr=attr))
    size = min(page_size, MAX_PAGE_SIZE)
    count = keys.count()
    start, stop = (page - 1) * size, min(page * size, count)
    products = read_products(list(keys[start:stop])) if start < stop else []
    return products, count, page + 1 if stop < count and start < stop else None
