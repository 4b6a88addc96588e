"""What an app shows on the dashboard of the staff pages. Figures link to the list that they were counted from."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.http import urlencode

# Beyond it nobody needs to know how many there are, and a database need not look.
MOST = 100


@dataclass(frozen=True)
class Figure:
    """A number at the top of the page. `tone` is "" or one of the theme's: info, success, warning, danger."""

    title: object
    value: str
    link: str
    icon: str
    tone: str = ""
    note: object = ""


@dataclass(frozen=True)
class Bars:
    """A chart of a number for each label. `summary` says it in words, for those who do not see it."""

    title: object
    labels: Sequence[str]
    numbers: Sequence[float]
    summary: object
    link: str


@dataclass(frozen=True)
class Cell:
    """A text in a table; with a link or a tone, if it has one."""

    text: object
    link: str = ""
    tone: str = ""


@dataclass(frozen=True)
class Rows:
    """A short table, and the list that has more of it."""

    title: object
    headers: Sequence[object]
    rows: Sequence[Sequence[Cell]]
    link: str
    empty: object


@dataclass(frozen=True)
class Cards:
    """All that one app shows."""

    figures: Sequence[Figure] = ()
    charts: Sequence[Bars] = ()
    tables: Sequence[Rows] = field(default_factory=tuple)


Offer = Callable[[HttpRequest], Cards]


def address(model: str, **filters: str) -> str:
    """The page of rows of `app_model`, narrowed to these filters."""
    page = reverse(f"admin:{model}_changelist")
    return f"{page}?{urlencode(filters)}" if filters else page


def count_some(rows: QuerySet[Any, Any]) -> int:
    """How many there are, at most `MOST`: so many rows are looked at and no more."""
    return rows.order_by()[:MOST].count()


def as_text(count: int) -> str:
    """A number that `count_some` has found."""
    return f"{count}+" if count >= MOST else str(count)


def alarm(count: int, tone: str = "danger") -> str:
    """The tone of a number that had better be zero."""
    return tone if count else ""
