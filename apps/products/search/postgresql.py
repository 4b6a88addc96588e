"""PostgreSQL: a tsvector, and pg_trgm for typing errors. `indexes.py` makes the columns and indexes."""

from typing import Self
from uuid import UUID

from django.db.models import BooleanField, FloatField, QuerySet
from django.db.models.expressions import RawSQL

from apps.products.models import Product
from apps.products.search.vendor import Matches
from apps.products.search.words import Term
from apps.products.store import documents

_WHOLE = "products_product.search_vector"
# As `store/indexes.py` indexes it.
_TITLE = r"(regexp_replace(products_product.search_title, '([^ ]+)', '\1:1', 'g')::tsvector)"
# Shorter words are too much like others.
_SHORTEST_SIMILAR = 4
# From this similarity on, a word is taken for another (pg_trgm's word_similarity, 0 to 1): "labtop" for "laptop".
_SIMILAR = 0.4
_ALLOW_SIMILAR = """
    SELECT set_config('pg_trgm.word_similarity_threshold', %s, false) FROM pg_extension WHERE extname = 'pg_trgm'
"""


class PostgresqlMatches(Matches):
    """Ranked by what each word has found: ts_rank() of an AND would look at distances, and there are none."""

    @property
    def matching(self) -> QuerySet[Product]:
        every = " & ".join(_quoted(term) for term in self.terms)
        vector = _TITLE if self.only_titles else _WHOLE
        condition = RawSQL(f"{vector} @@ %s::tsquery", [every], BooleanField())  # noqa: S611 - constant SQL
        return self.products.filter(condition)

    def page(self, start: int, stop: int) -> list[UUID]:
        ranked = self.matching.annotate(rank=self._rank())
        return list(ranked.order_by("-rank", "id").values_list("id", flat=True)[start:stop])

    def nearly(self) -> Self | None:
        if not any(_is_forgiven(term) for term in self.terms):
            return None
        with documents.connection().cursor() as cursor:
            cursor.execute(_ALLOW_SIMILAR, [str(_SIMILAR)])
            is_able = cursor.fetchone() is not None
        similar = _SimilarMatches(self.terms, self.products, only_titles=self.only_titles)
        return similar if is_able else None  # type: ignore[return-value] # one of us

    def _rank(self) -> RawSQL:
        any_of = " | ".join(_quoted(term) for term in self.terms)
        return RawSQL("ts_rank(products_product.search_vector, %s::tsquery)", [any_of], FloatField())


class _SimilarMatches(PostgresqlMatches):
    """Products whose name or SKU has a word like each of the longer terms, and that match the short ones."""

    @property
    def matching(self) -> QuerySet[Product]:
        products = self.products
        for term in self.terms:
            is_forgiven = _is_forgiven(term)
            vector = _TITLE if self.only_titles else _WHOLE
            condition = "%s <%% products_product.search_title" if is_forgiven else f"{vector} @@ %s::tsquery"
            value = term.token if is_forgiven else _quoted(term)
            products = products.filter(RawSQL(condition, [value], BooleanField()))  # noqa: S611 - constant SQL
        return products

    def _rank(self) -> RawSQL:
        similar = [term.token for term in self.terms if _is_forgiven(term)]
        sum_of = " + ".join(["word_similarity(%s, products_product.search_title)"] * len(similar))
        return RawSQL(sum_of, similar, FloatField())  # noqa: S611 - constant SQL


def _is_forgiven(term: Term) -> bool:
    return term.is_prefix and len(term.token) >= _SHORTEST_SIMILAR


def _quoted(term: Term) -> str:
    """The term in quotes: letters and digits, so that nothing that a user types is query syntax."""
    return f"'{term.token}'{':*' if term.is_prefix else ''}"
