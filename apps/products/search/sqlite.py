"""SQLite: FTS5 (https://www.sqlite.org/fts5.html). `indexes.py` makes the tables."""

from uuid import UUID

from django.db.models import QuerySet
from django.db.models.expressions import RawSQL

from apps.products.models import Product
from apps.products.search.vendor import TITLE_WEIGHT, Matches
from apps.products.store import documents

_HITS = f"""
    SELECT hit.product_id, bm25(products_searchindex, {TITLE_WEIGHT}, 1) AS rank
    FROM products_searchindex JOIN products_searchkey AS hit ON hit.number = products_searchindex.rowid
    WHERE products_searchindex MATCH %s
"""  # noqa: S608 - a number of ours


class SqliteMatches(Matches):
    """Ranked by BM25."""

    @property
    def matching(self) -> QuerySet[Product]:
        return self.products.filter(id__in=RawSQL(f"SELECT product_id FROM ({_HITS}) AS hits", [self._query]))  # noqa: S608, S611 - constant SQL

    def page(self, start: int, stop: int) -> list[UUID]:
        connection = documents.connection()
        products = self.products.order_by().values("id").query.get_compiler(connection=connection)
        allowed, params = products.as_sql()
        with connection.cursor() as cursor:
            cursor.execute(
                f"SELECT product_id FROM ({_HITS}) AS hits WHERE product_id IN ({allowed})"  # noqa: S608 - constant SQL
                " ORDER BY rank, product_id LIMIT %s OFFSET %s",
                [self._query, *params, stop - start, start],
            )
            return [UUID(key) for (key,) in cursor.fetchall()]

    @property
    def _query(self) -> str:
        """Every term, in quotes: letters and digits, so that nothing that a user types is query syntax."""
        every = " ".join(f'"{term.token}"{"*" if term.is_prefix else ""}' for term in self.terms)
        return f"{{title}} : ({every})" if self.only_titles else every
