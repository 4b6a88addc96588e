"""Full-text search over one normalised text, with each database's own index.

Case, accents and punctuation are gone before a database sees the text, so that every database finds the same. Chinese
and Japanese have no spaces: a run becomes overlapping pairs of characters and its last character, so that 手机 is found
inside 智能手机, and one character as the beginning of a pair.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from uuid import UUID

from django.db.models import QuerySet
from django.db.models.expressions import RawSQL
from django.utils.functional import cached_property

from apps.common.databases import alias_of, connection_of
from apps.products.models import Product, SearchEntry

MAX_QUERY_TOKENS = 20
_MAX_TOKEN_LENGTH = 64

_CJK = r"\u3005-\u3007\u3040-\u312f\u31a0-\u31bf\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U0003ffff"
_RUN = re.compile(rf"(?P<cjk>[{_CJK}]+)|(?:(?![{_CJK}])[^\W_])+")
# Letters that Unicode does not decompose, though people type them without the stroke.
_PLAIN = str.maketrans(
    {"ł": "l", "ø": "o", "đ": "d", "ð": "d", "ħ": "h", "\u0131": "i", "æ": "ae", "œ": "oe", "þ": "th"}
)

# Per vendor: the products that match, best (lowest) rank first. A hit in the title counts ten times.
_HITS = {
    "sqlite": """
        SELECT entry.product_id, bm25(products_searchindex, 10, 1) AS rank
        FROM products_searchindex JOIN products_searchentry AS entry ON entry.id = products_searchindex.rowid
        WHERE products_searchindex MATCH %s""",
    "postgresql": """
        SELECT product_id, -ts_rank(vector, %s::tsquery) AS rank
        FROM products_searchentry WHERE vector @@ %s::tsquery""",
}


def normalise(text: str) -> list[str]:
    """The tokens of a text, as they are stored: words, and pairs of CJK characters with the last one alone."""
    tokens: list[str] = []
    for run, is_cjk in _runs(text):
        tokens += [*_pairs(run), run[-1]] if is_cjk else [run[:_MAX_TOKEN_LENGTH]]
    return tokens


def write_entries(products: Iterable[Product]) -> None:
    """Put products into the index, or renew their entries, in one statement inside the caller's transaction."""
    SearchEntry.objects.bulk_create(
        (_to_entry(product) for product in products),
        update_conflicts=True,
        unique_fields=["product_id"],
        update_fields=["title", "body"],
        batch_size=1000,
    )


def remove_entry(product_id: UUID) -> None:
    """Take a product out of the index."""
    SearchEntry.objects.filter(product_id=product_id).delete()


class Hits:
    """The products among `products` that match every word of `text`, best first; a paginator can slice it.

    `matching` is the same as a queryset, in no order, for counting and for facets.
    """

    def __init__(self, text: str, products: QuerySet[Product]) -> None:
        self._products = products
        self._terms = _terms(text)
        self.matching = products.none()
        if self._terms:
            sql, params = self._hits()
            self.matching = products.filter(id__in=RawSQL(f"SELECT product_id FROM ({sql}) AS hit", params))  # noqa: S608, S611 - constant SQL

    @cached_property
    def _count(self) -> int:
        return self.matching.count()

    def count(self) -> int:
        return self._count

    def __getitem__(self, page: slice) -> list[UUID]:
        if not self._count:
            return []
        hits, params = self._hits()
        allowed, more = self._products.order_by().values("id").query.get_compiler(alias_of("products")).as_sql()
        with connection_of("products").cursor() as cursor:
            cursor.execute(
                f"SELECT product_id FROM ({hits}) AS hit WHERE product_id IN ({allowed})"  # noqa: S608 - constant SQL
                " ORDER BY rank, product_id LIMIT %s OFFSET %s",
                [*params, *more, page.stop - page.start, page.start],
            )
            return [key if isinstance(key, UUID) else UUID(key) for (key,) in cursor.fetchall()]

    def _hits(self) -> tuple[str, list[str]]:
        """The vendor's query for the products that match, and its parameters.

        Terms are quoted letters and digits: nothing that a user types can be query syntax.
        """
        vendor = connection_of("products").vendor
        if vendor == "postgresql":
            terms = [f"'{term.token}'{':*' if term.is_prefix else ''}" for term in self._terms]
            # The rank adds up what each word found: ts_rank() of an AND would look at distances, and there are none.
            return _HITS[vendor], [" | ".join(terms), " & ".join(terms)]
        return _HITS[vendor], [" ".join(f'"{term.token}"{"*" if term.is_prefix else ""}' for term in self._terms)]


@dataclass(frozen=True)
class _Term:
    """Something that a product must have: a token, or one that begins like it."""

    token: str
    is_prefix: bool


def _terms(text: str) -> list[_Term]:
    """The terms of a query. A pair of CJK characters is wanted exactly; anything else is the beginning of a token."""
    terms: dict[_Term, None] = {}
    for run, is_cjk in _runs(text):
        if is_cjk and len(run) > 1:
            terms.update(dict.fromkeys(_Term(pair, is_prefix=False) for pair in _pairs(run)))
        else:
            terms[_Term(run[:_MAX_TOKEN_LENGTH], is_prefix=True)] = None
    return list(terms)[:MAX_QUERY_TOKENS]


def _runs(text: str) -> Iterator[tuple[str, bool]]:
    """The words of a text without case and accents, each with whether it is a run of CJK characters."""
    folded = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold()).translate(_PLAIN)
    plain = "".join(character for character in folded if unicodedata.category(character) != "Mn")
    for run in _RUN.finditer(plain):
        yield run[0], run["cjk"] is not None


def _pairs(run: str) -> list[str]:
    return [run[index : index + 2] for index in range(len(run) - 1)]


def _to_entry(product: Product) -> SearchEntry:
    category = product.category.name if product.category else ""
    return SearchEntry(
        product_id=product.id,
        title=" ".join(normalise(f"{product.name} {product.sku}")),
        body=" ".join(normalise("\n".join([product.description, *product.tags, category]))),
    )
