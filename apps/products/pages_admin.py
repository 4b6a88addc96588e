"""What the catalogue's staff pages have in common: forms that a service may refuse, and lists that look things up."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from django import forms
from django.contrib import messages
from django.contrib.admin.views.main import ChangeList
from django.contrib.admin.widgets import AutocompleteSelect
from django.db.models import ForeignKey, Model, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.translation import gettext_noop

from apps.common.admin import ModelAdmin
from apps.common.errors import DomainError

# What models keep in a word, and pages show in the language of whoever looks.
WORDS = (
    *(gettext_noop("adjustment"), gettext_noop("sale"), gettext_noop("return")),
    *(gettext_noop("active"), gettext_noop("committed"), gettext_noop("released")),
    *(gettext_noop("queued"), gettext_noop("running"), gettext_noop("finished"), gettext_noop("failed")),
    *(gettext_noop("created"), gettext_noop("updated"), gettext_noop("unchanged")),
    *(gettext_noop("Stock corrected"), gettext_noop("on hand"), gettext_noop("reason"), gettext_noop("price")),
)


class ServiceForm(forms.ModelForm):  # type: ignore[type-arg] # Django's own class takes no parameter
    """A form that shows what the service refused."""

    refusal: DomainError | None = None

    def clean(self) -> dict[str, Any] | None:
        cleaned = super().clean()
        for problem in self.refusal.problems if self.refusal else ():
            self.add_error(problem.attr if problem.attr in self.fields else None, problem.detail)
        return cleaned


class CategorySelect(AutocompleteSelect):
    """Shows the form again with what was chosen, unless that is no id."""

    def optgroups(self, name: str, value: Sequence[str], attr: dict[str, Any] | None = None) -> Any:  # noqa: ANN401 - as in Django
        return super().optgroups(name, [each for each in value if _is_id(each)], attr)


def _is_id(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True


class ServiceAdmin(ModelAdmin):  # type: ignore[type-arg] # Django's own class takes no parameter
    """Pages whose saving may be refused by the service: the form is shown again, with what was typed and why not."""

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        try:
            return super().changeform_view(request, object_id, form_url, extra_context)
        except DomainError as refusal:
            # Django saves after it has validated: the transaction is gone, and the form is now invalid.
            request.refusal = refusal  # type: ignore[attr-defined]
            return super().changeform_view(request, object_id, form_url, extra_context)

    def delete_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        try:
            return super().delete_view(request, object_id, extra_context)
        except DomainError as refusal:
            self.message_user(request, str(refusal), messages.ERROR)
            return HttpResponseRedirect("../change/")

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:  # noqa: ANN401, FBT001, FBT002 - as in Django
        form = super().get_form(request, obj, change, **kwargs)
        form.refusal = getattr(request, "refusal", None)  # type: ignore[attr-defined] # it is a ServiceForm
        return form

    def formfield_for_foreignkey(self, db_field: ForeignKey[Any, Any], request: HttpRequest, **kwargs: Any) -> Any:  # noqa: ANN401 - as in Django
        return super().formfield_for_foreignkey(
            db_field, request, widget=CategorySelect(db_field, self.admin_site), **kwargs
        )

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Model]) -> None:
        for row in queryset:
            try:
                self.delete_model(request, row)
            except DomainError as refusal:
                self.message_user(request, f"{row}: {refusal}", messages.ERROR)


class PageList(ChangeList):
    """A list that looks up what belongs to the rows of its page: products may be elsewhere than their stock."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        self.result_list: Any = list(self.result_list)
        self.model_admin.look_up(self.result_list)  # type: ignore[attr-defined] # it is a PageAdmin


class PageAdmin(ModelAdmin):  # type: ignore[type-arg] # Django's own class takes no parameter
    """Pages with such a list."""

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:  # noqa: ANN401 - as in Django
        return PageList

    def look_up(self, rows: Sequence[Any]) -> None:
        """Give the rows what their columns show, in one query."""
        raise NotImplementedError
