"""What every staff page is made of, in the theme of django-unfold, and pages that only show."""

from collections.abc import Callable
from operator import attrgetter
from typing import TypeVar

from django.contrib import admin
from django.db.models import Model
from django.http import HttpRequest
from unfold.admin import ModelAdmin as ThemedModelAdmin
from unfold.admin import TabularInline as ThemedTabularInline

from apps.common.money import quantize

_Row = TypeVar("_Row", bound=Model)

admin.site.site_title = admin.site.site_header = "Cartwright"
admin.site.index_title = "Staff pages"


def amount_column(name: str, currency: str = "currency") -> Callable[[Model], str]:
    """Shows an amount with the places of its currency, which is beside it or in a row that it belongs to."""

    @admin.display(description=name.replace("_", " "), ordering=name)
    def show(row: Model) -> str:
        code = attrgetter(currency)(row)
        return f"{quantize(getattr(row, name), code)}\N{NO-BREAK SPACE}{code}"

    return show


class ModelAdmin(ThemedModelAdmin, admin.ModelAdmin[_Row]):  # type: ignore[misc] # the theme has no types
    """A page of rows. Counts no more rows than it shows, unless something is searched for."""

    show_full_result_count = False
    list_per_page = 50


class ReadOnly:
    """Shows rows and changes none: what is here changes through a service, or is history."""

    def has_add_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False


class ReadOnlyAdmin(ReadOnly, ModelAdmin[_Row]):
    """A page of rows to look at."""


class ReadOnlyInline(ReadOnly, ThemedTabularInline, admin.TabularInline[Model, Model]):  # type: ignore[misc] # as above
    """Rows to look at below the row that they belong to."""

    extra = 0
    can_delete = False
