"""What a database must be able to do to be searched."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Self
from uuid import UUID

from django.db.models import QuerySet

from apps.products.models import Product
from apps.products.search.words import Term

TITLE_WEIGHT = 10


class Matches(ABC):
    """The products among `products` that have every term, `only_titles` of them in name or SKU."""

    def __init__(self, terms: Sequence[Term], products: QuerySet[Product], *, only_titles: bool) -> None:
        self.terms = terms
        self.products = products
        self.only_titles = only_titles

    @property
    @abstractmethod
    def matching(self) -> QuerySet[Product]:
        """All of them, in no order."""

    @abstractmethod
    def page(self, start: int, stop: int) -> list[UUID]:
        """Some of them, best first, equals by id."""

    def nearly(self) -> Self | None:
        """What matches nearly, for words with typing errors; None where the database cannot tell."""
        return None
