"""Staff pages of the inventory: what is there, what moved, and the form by which a count is corrected."""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any, TypeVar
from uuid import UUID

from django import forms
from django.contrib import admin
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from unfold.decorators import action, display
from unfold.widgets import UnfoldAdminIntegerFieldWidget, UnfoldAdminRadioSelectWidget, UnfoldAdminTextInputWidget

from apps.common.admin import ModelAdmin, ReadOnlyAdmin, record
from apps.common.errors import DomainError
from apps.common.long_lists import found_by_any, key_in
from apps.common.validators import no_control_characters, single_line
from apps.products.interface import MovementKind, ProductNotFound, ReservationState
from apps.products.interface import StockLevel as Level
from apps.products.models import MAX_STOCK, Product, Reservation, StockLevel, StockMovement
from apps.products.pages_admin import PageAdmin
from apps.products.services.reserved import unpack
from apps.users.interface import UserNotFound
from config import services

_Row = TypeVar("_Row", bound=Model)
_LAST_MOVEMENTS = 10
KIND_TONES = {
    MovementKind.ADJUSTMENT.value: "info",
    MovementKind.SALE.value: "success",
    MovementKind.RETURN.value: "warning",
}


class CorrectionForm(forms.Form):
    """What was counted, or what came or went; and why."""

    COUNTED, CAME, WENT = "counted", "came", "went"

    how = forms.ChoiceField(
        label=_("What has happened"),
        choices=[
            (COUNTED, _("I have counted: so many are there")),
            (CAME, _("So many came in")),
            (WENT, _("So many went out, are broken or lost")),
        ],
        initial=COUNTED,
        widget=UnfoldAdminRadioSelectWidget,
    )
    units = forms.IntegerField(label=_("Units"), min_value=0, max_value=MAX_STOCK, widget=UnfoldAdminIntegerFieldWidget)
    reason = forms.CharField(
        label=_("Reason"),
        max_length=200,
        validators=[no_control_characters, single_line],
        widget=UnfoldAdminTextInputWidget,
        help_text=_("The ledger keeps it, with your name and the time."),
    )

    def carry_out(self, product_id: UUID, actor_id: UUID | None) -> Level | None:
        """The level after the correction; none, with an error of the form, when the service refuses it."""
        how, units = self.cleaned_data["how"], self.cleaned_data["units"]
        delta = None if how == self.COUNTED else units if how == self.CAME else -units
        try:
            return services.products().adjust_stock(
                product_id=product_id,
                delta=delta,
                on_hand=units if delta is None else None,
                reason=self.cleaned_data["reason"],
                actor_id=actor_id,
            )
        except DomainError as refusal:
            for problem in refusal.problems:
                self.add_error(problem.attr if problem.attr in self.fields else "units", problem.detail)
            return None


class CorrectStockAdmin(ModelAdmin):  # type: ignore[type-arg] # Django's own class takes no parameter
    """Adds to each product the page on which its stock is corrected."""

    actions_detail = ["correct_stock"]
    actions_row = ["correct_stock"]

    @action(description=_("Correct stock"), permissions=["change"], icon="inventory")  # type: ignore[untyped-decorator] # the theme has no types
    def correct_stock(self, request: HttpRequest, object_id: str) -> HttpResponse:
        product = self.get_object(request, object_id)
        if product is None:
            return self._get_obj_does_not_exist_redirect(request, self.opts, object_id)  # type: ignore[no-any-return]
        before = services.products().get_stock(product_id=product.pk)
        form = CorrectionForm(request.POST or None)
        level = form.carry_out(product.pk, request.user.pk) if form.is_valid() else None
        if level:
            return self._corrected(request, product, before, level, form.cleaned_data["reason"])
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "original": product,
            "title": gettext("Correct the stock of %(product)s") % {"product": product.name},
            "level": before,
            "form": form,
            "movements": movements_of(product.pk),
        }
        return TemplateResponse(request, "admin/products/product/correct_stock.html", context)

    def _corrected(
        self, request: HttpRequest, product: Product, before: Level, after: Level, reason: str
    ) -> HttpResponse:
        record(
            request,
            product,
            "Stock corrected",
            before={"on hand": before.on_hand},
            after={"on hand": after.on_hand, "reason": reason},
        )
        said = gettext("%(product)s: %(before)s → %(after)s on hand, %(available)s for sale.")
        figures = {"before": before.on_hand, "after": after.on_hand, "available": after.available}
        self.message_user(request, said % {"product": product.name, **figures})
        return HttpResponseRedirect(reverse("admin:products_product_change", args=[product.pk]))


def movements_of(product_id: UUID) -> Sequence[StockMovement]:
    """The last lines of the product's ledger."""
    return list(StockMovement.objects.filter(product_id=product_id).order_by("-id")[:_LAST_MOVEMENTS])


class FoundByKeys(ReadOnlyAdmin[_Row]):
    """A list that is searched by ids alone. Django would compare texts, for which it looks at every row."""

    keys: tuple[str, ...]
    search_fields = ("pk",)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[_Row], search_term: str
    ) -> tuple[QuerySet[_Row], bool]:
        if not search_term.strip():
            return queryset, False
        key = self.key_of(search_term)
        ways = [self.get_queryset(request).filter(**{name: key}).values("pk") for name in self.keys]
        return (found_by_any(queryset, ways) if key else queryset.none()), False

    def key_of(self, text: str) -> UUID | None:
        """The id that is meant."""
        return key_in(text)


class AboutProducts(PageAdmin, FoundByKeys[_Row]):
    """Rows that belong to a product: the list names it, by its link, and is searched by its SKU too."""

    def key_of(self, text: str) -> UUID | None:
        if key := super().key_of(text):
            return key
        with suppress(ProductNotFound):
            return services.products().get_product_by_sku(sku=text.strip()).id
        return None

    def look_up(self, rows: Sequence[Any]) -> None:
        products = Product.objects.filter(pk__in={row.product_id for row in rows}).order_by()
        names = dict(products.values_list("pk", "name"))
        for row in rows:
            row.product_name = names.get(row.product_id, "")

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> _Row | None:
        row: _Row | None = super().get_object(request, object_id, from_field)
        if row is not None:
            self.look_up([row])
        return row

    @admin.display(description=_("product"))
    def product(self, row: Any) -> str:  # noqa: ANN401 - a row of any of the models
        address = reverse("admin:products_product_change", args=[row.product_id])
        name = row.product_name or row.product_id
        return format_html('<a class="font-medium" href="{}">{}</a>', address, name)


@admin.register(StockLevel)
class StockLevelAdmin(AboutProducts[StockLevel]):
    list_display = ("product", "on_hand", "reserved", "available")
    list_display_links = None
    fields = ("product", "on_hand", "reserved", "available")
    keys = ("product_id",)
    search_help_text = _("A SKU, or the id of a product.")
    ordering = ("product_id",)

    @admin.display(description=_("for sale"))
    def available(self, level: StockLevel) -> int:
        return level.on_hand - level.reserved


@admin.register(StockMovement)
class StockMovementAdmin(AboutProducts[StockMovement]):
    list_display = ("created_at", "product", "change", "kind_label", "reason", "order_id")
    fields = ("created_at", "product", "change", "kind_name", "reason", "order_id", "made_by")
    list_filter = ("kind",)
    keys = ("product_id", "order_id")
    search_help_text = _("A SKU, or the id of a product or of an order.")

    @admin.display(description=_("change"))
    def change(self, row: StockMovement) -> str:
        return f"{row.delta:+d}"

    @display(description=_("kind"), label=KIND_TONES)  # type: ignore[untyped-decorator] # the theme has no types
    def kind_label(self, row: StockMovement) -> tuple[str, str]:
        return row.kind, gettext(row.kind)

    @admin.display(description=_("kind"))
    def kind_name(self, row: StockMovement) -> str:
        return gettext(row.kind)

    @admin.display(description=_("by"))
    def made_by(self, row: StockMovement) -> str:
        if row.actor_id is None:
            return "-"
        try:
            return services.users().get_user(user_id=row.actor_id).username
        except UserNotFound:
            return str(row.actor_id)


_STATE_TONES = {
    ReservationState.ACTIVE.value: "info",
    ReservationState.COMMITTED.value: "success",
}


@admin.register(Reservation)
class ReservationAdmin(FoundByKeys[Reservation]):
    list_display = ("order_id", "contents", "state_label", "expires_at")
    fields = ("order_id", "contents", "state_name", "expires_at")
    list_filter = ("state",)
    keys = ("order_id",)
    search_help_text = _("The id of an order.")
    ordering = ("-pk",)

    @admin.display(description=_("contents"))
    def contents(self, row: Reservation) -> str:
        return ", ".join(
            f"{line.quantity}\N{NO-BREAK SPACE}\N{MULTIPLICATION SIGN} {line.name}" for line in unpack(row)
        )

    @display(description=_("state"), label=_STATE_TONES)  # type: ignore[untyped-decorator] # as above
    def state_label(self, row: Reservation) -> tuple[str, str]:
        return row.state, gettext(row.state)

    @admin.display(description=_("state"))
    def state_name(self, row: Reservation) -> str:
        return gettext(row.state)
