"""Staff lists that cost the same however long they are: no row is counted, and a search asks each index by itself."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar
from uuid import UUID

from django.contrib import admin
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _
from unfold.contrib.filters.admin import CheckboxFilter, DropdownFilter
from unfold.utils import display_for_label

_Row = TypeVar("_Row", bound=Model)


class LongList:
    """For a page of rows: one leafs through it without knowing how many there are."""

    list_filter_submit = True

    class Media:
        css = {"all": ("common/long_lists.css",)}

    def get_sortable_by(self, request: HttpRequest) -> tuple[()]:  # noqa: ARG002
        """By any column but the key's, all rows would have to be sorted."""
        return ()


def state_column(
    names: Mapping[str, Any], colours: Mapping[str, str], field: str = "status"
) -> Callable[[Model], SafeString]:
    """Shows a state as a coloured label, by the name that people have for it; in lists and on pages alike."""

    @admin.display(description=_("status"))
    def show(row: Model) -> SafeString:
        value = getattr(row, field)
        label: SafeString = display_for_label(
            (value, names.get(value, value)), "-", {**dict.fromkeys(names), **colours}
        )
        return label

    return show


def found_by_any(rows: QuerySet[_Row], ways: Sequence[QuerySet[Any]]) -> QuerySet[_Row]:
    """The rows whose keys any of the queries finds. A database that is asked for one thing *or* another in one
    condition looks at every row; asked so, it takes an index for each.
    """
    first, *others = (way.order_by() for way in ways)
    return rows.filter(pk__in=first.union(*others, all=True) if others else first)


def key_in(text: str) -> UUID | None:
    """The id that somebody searches for, if it is one."""
    try:
        return UUID(text.strip())
    except ValueError:
        return None


class ChoiceFilter(CheckboxFilter):  # type: ignore[misc] # the theme has no types
    """Boxes to tick, any of which a row may be. `field` is the column; `names` are its values and what people call
    them. Django's own would look at every row to know which values there are.
    """

    field: str
    names: Mapping[str, Any]

    def lookups(self, request: HttpRequest, model_admin: object) -> list[tuple[str, Any]]:  # noqa: ARG002
        return list(self.names.items())

    def queryset(self, request: HttpRequest, queryset: QuerySet[_Row]) -> QuerySet[_Row]:  # noqa: ARG002
        chosen = self.value()
        return queryset.filter(**{f"{self.field}__in": chosen}) if chosen else queryset


def choice_filter(field: str, names: Mapping[str, Any], title: object) -> type[ChoiceFilter]:
    """A filter of that column, by a title. Its parameter is Django's, so that links from elsewhere mean it."""
    return type(
        "Filter",
        (ChoiceFilter,),
        {"field": field, "parameter_name": f"{field}__exact", "names": names, "title": title},
    )


def pick_filter(field: str, names: Sequence[str], title: object) -> type[DropdownFilter]:
    """A filter of that column by one of many values."""

    class Filter(DropdownFilter):  # type: ignore[misc] # the theme has no types
        parameter_name = f"{field}__exact"

        def lookups(self, request: HttpRequest, model_admin: object) -> list[tuple[str, str]]:  # noqa: ARG002
            return [(name, name) for name in names]

        def queryset(self, request: HttpRequest, queryset: QuerySet[_Row]) -> QuerySet[_Row]:  # noqa: ARG002
            return queryset.filter(**{field: self.value()}) if self.value() else queryset

    Filter.title = title
    return Filter
