"""MongoDB: words are arrays, and an ordinary index finds those that begin with a term.

Not `$text`: it knows whole words only, and a search must find their beginnings (docs/decisions/0011).
"""

from typing import Any
from uuid import UUID

from django.db.models import Q, QuerySet

from apps.products.models import Product
from apps.products.search.vendor import TITLE_WEIGHT, Matches
from apps.products.search.words import Term
from apps.products.store import documents


class MongodbMatches(Matches):
    """Ranked by how many terms are in the title, and in the rest."""

    @property
    def matching(self) -> QuerySet[Product]:
        products = self.products
        for term in self.terms:
            lookup = "begins" if term.is_prefix else "has"
            found = Q(**{f"search_title__{lookup}": term.token})
            if not self.only_titles:
                found |= Q(**{f"search_body__{lookup}": term.token})
            products = products.filter(found)
        return products

    def page(self, start: int, stop: int) -> list[UUID]:
        rank = {"$sum": [_hit(term, field) for term in self.terms for field in ("search_title", "search_body")]}
        stages: list[documents.Stage] = [
            {"$project": {"rank": rank}},
            {"$sort": {"rank": -1, "_id": 1}},
            {"$skip": start},
            {"$limit": stop - start},
        ]
        return [UUID(hit["_id"]) for hit in documents.aggregate(self.matching, stages)]


def _hit(term: Term, field: str) -> dict[str, Any]:
    """What a term counts in a field: something, if a word there fits."""
    if term.is_prefix:
        fits = {"$eq": [{"$substrCP": ["$$word", 0, len(term.token)]}, term.token]}
        found: dict[str, Any] = {"$anyElementTrue": {"$map": {"input": f"${field}", "as": "word", "in": fits}}}
    else:
        found = {"$in": [term.token, f"${field}"]}
    return {"$cond": [found, TITLE_WEIGHT if field == "search_title" else 1, 0]}
