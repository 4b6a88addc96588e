"""What every staff page is made of, in the theme of django-unfold, and pages that only show."""

from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from typing import Any, TypeVar

from django.contrib import admin
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth import get_user_model
from django.contrib.contenttypes.models import ContentType
from django.core.paginator import Paginator
from django.db.models import Model, QuerySet
from django.forms import Form
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _
from unfold.admin import ModelAdmin as ThemedModelAdmin
from unfold.admin import TabularInline as ThemedTabularInline
from unfold.paginator import InfinitePaginator

from apps.common import staff_log
from apps.common.money import quantize

_Row = TypeVar("_Row", bound=Model)
_LONGEST_NAME = 200

admin.site.site_title = admin.site.site_header = "Cartwright"
admin.site.index_title = _("Dashboard")


def amount_column(name: str, currency: str = "currency") -> Callable[[Model], str]:
    """Shows an amount with the places of its currency, which is beside it or in a row that it belongs to."""

    @admin.display(description=_(name.replace("_", " ")), ordering=name)
    def show(row: Model) -> str:
        code = attrgetter(currency)(row)
        return f"{quantize(getattr(row, name), code)}\N{NO-BREAK SPACE}{code}"

    return show


def record(
    request: HttpRequest, row: Model, action: str, *, before: Mapping[str, object], after: Mapping[str, object]
) -> None:
    """Note in the row's history what the person at the staff pages has just done to it by a service.

    `action` says it in English, as in "Shipped"; it is translated when it is read. `before` and `after` hold values by
    the names of fields; of those that are the same, nothing is noted, and no value of a field named as a secret.
    """
    assert request.user.pk is not None  # noqa: S101 - the staff pages ask for a log-in
    LogEntry.objects.create(
        user_id=request.user.pk,
        content_type=ContentType.objects.get_for_model(row, for_concrete_model=False),
        object_id=str(row.pk),
        object_repr=str(row)[:_LONGEST_NAME],
        action_flag=CHANGE,
        change_message=staff_log.message_of(action, before, after),
    )


class ModelAdmin(ThemedModelAdmin, admin.ModelAdmin[_Row]):  # type: ignore[misc] # the theme has no types
    """A page of rows. It costs the same however many there are: none is counted, one leafs to the next page."""

    paginator = InfinitePaginator
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    list_disable_select_all = True
    list_per_page = 50
    # Fields of which the history tells that they have changed, and not what they held.
    private_fields: Sequence[str] = ()

    def get_paginator(
        self,
        request: HttpRequest,
        queryset: QuerySet[Any],
        per_page: int,
        orphans: int = 0,
        allow_empty_first_page: bool = True,  # noqa: FBT001, FBT002 - as in Django
    ) -> Paginator[Any]:
        """The history of one row is counted: it is short."""
        is_history = queryset.model is LogEntry and self.model is not LogEntry
        paginator = Paginator if is_history else self.paginator
        return paginator(queryset, per_page, orphans, allow_empty_first_page)

    def construct_change_message(
        self,
        request: HttpRequest,
        form: Form,
        formsets: Any,  # noqa: ANN401 - as in Django
        add: bool = False,  # noqa: FBT001, FBT002 - as in Django
    ) -> list[dict[str, Any]]:
        """Django's message, and in it what the form's fields held before and after."""
        message: list[dict[str, Any]] = super().construct_change_message(request, form, formsets, add)
        if not add and form.changed_data:
            changes = staff_log.changes_of(form, self.private_fields)
            message[0]["changed"].update(staff_log.to_message(changes))
        return message


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


@admin.register(LogEntry)
class StaffLogAdmin(ReadOnlyAdmin[LogEntry]):
    """All that staff have done, newest first: who, when, and what. For admins, as Django's own pages are."""

    list_display = ("action_time", "person", "what", "action")
    list_display_links = None
    list_filter = ("action_flag", "action_time")
    list_select_related = ("user", "content_type")
    ordering = ("-pk",)
    search_help_text = _("Username or e-mail address of the person, in full; or the id of what was changed.")

    def get_search_fields(self, request: HttpRequest) -> tuple[str, ...]:
        person = get_user_model()
        return (f"=user__{person.USERNAME_FIELD}", f"=user__{person.EMAIL_FIELD}", "=object_id")

    @admin.display(description=_("who"))
    def person(self, entry: LogEntry) -> str:
        """By a click only theirs are left."""
        return format_html('<a href="?user__id__exact={}">{}</a>', entry.user_id, entry.user)

    @admin.display(description=_("to what"))
    def what(self, entry: LogEntry) -> str:
        address = None if entry.is_deletion() else entry.get_admin_url()
        kind = entry.content_type.name if entry.content_type else ""
        if address is None:
            return format_html("{} {}", kind, entry.object_repr)
        return format_html('{} <a class="font-medium" href="{}">{}</a>', kind, address, entry.object_repr)

    @admin.display(description=_("action"))
    def action(self, entry: LogEntry) -> str:
        return render_to_string("admin/staff/entry.html", {"entry": entry})
