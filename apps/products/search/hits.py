"""Full-text search: the products that match a text, best first, on each database by its own means."""

from functools import cached_property
from uuid import UUID

from django.db.models import QuerySet

from apps.products.models import Product
from apps.products.search import mongodb, postgresql, sqlite
from apps.products.search.vendor import Matches
from apps.products.search.words import Term, terms
from apps.products.store import documents

_VENDORS: dict[str, type[Matches]] = {
    "sqlite": sqlite.SqliteMatches,
    "postgresql": postgresql.PostgresqlMatches,
    "mongodb": mongodb.MongodbMatches,
}


class Hits:
    """The products among `products` that match every word of `text`, best first; a paginator can slice it.

    A hit in the name or the SKU counts ten times; equals are in the order of their ids. Where nothing matches, typing
    errors are forgiven, as far as the database can. `only_titles` looks at names and SKUs alone.
    """

    def __init__(self, text: str, products: QuerySet[Product], *, only_titles: bool = False) -> None:
        self._products = products
        self._terms = terms(text)
        self._only_titles = only_titles

    @property
    def matching(self) -> QuerySet[Product]:
        """The hits as a queryset, in no order, for counting and for facets."""
        return self._found[0].matching

    def count(self) -> int:
        return self._found[1]

    def first(self, number: int) -> list[UUID]:
        """The best ones, without counting them all."""
        exact = self._match(self._terms)
        if exact.matching.query.is_empty():
            return []
        nearly = None if (found := exact.page(0, number)) else exact.nearly()
        return nearly.page(0, number) if nearly else found

    def __getitem__(self, page: slice) -> list[UUID]:
        matches, count = self._found
        return matches.page(page.start, min(page.stop, count)) if page.start < count else []

    @cached_property
    def _found(self) -> tuple[Matches, int]:
        """What matches and how many these are: exactly or, when nothing does, nearly."""
        exact = self._match(self._terms)
        if exact.matching.query.is_empty():
            return exact, 0
        count = exact.matching.count()
        nearly = None if count else exact.nearly()
        return (nearly, nearly.matching.count()) if nearly else (exact, count)

    def _match(self, wanted: list[Term]) -> Matches:
        products = self._products if wanted else self._products.none()
        return _VENDORS[documents.connection().vendor](wanted, products, only_titles=self._only_titles)
