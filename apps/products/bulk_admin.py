"""What staff do to several products at once. A page first shows what would become of each, and what would be refused;
then each is changed by the service, unless somebody else has changed it since.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from uuid import UUID

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _
from unfold.widgets import UnfoldAdminDecimalFieldWidget, UnfoldAdminSelectWidget

from apps.common.admin import ModelAdmin, record
from apps.common.errors import DomainError
from apps.common.money import MAX_DIGITS, MAX_PLACES, quantize
from apps.products.interface import ProductChange
from apps.products.models import Product
from config import services

_TOO_DEAR = Decimal(10) ** (MAX_DIGITS - MAX_PLACES)
_SHOWN_REFUSALS = 5


@dataclass(frozen=True)
class Planned:
    """What would become of one product: `refusal` says why nothing, if so; `is_same` that nothing would change."""

    product: Product
    before: object
    after: object
    change: ProductChange
    refusal: str = ""

    @property
    def is_same(self) -> bool:
        return self.before == self.after

    @property
    def is_to_do(self) -> bool:
        return not self.refusal and not self.is_same


Plan = Callable[[Product], Planned]


class PriceForm(forms.Form):
    """By how much prices change."""

    PERCENT, AMOUNT = "percent", "amount"

    by = forms.DecimalField(
        label=_("Change prices by"),
        max_digits=MAX_DIGITS,
        decimal_places=MAX_PLACES,
        widget=UnfoldAdminDecimalFieldWidget(attrs={"step": "any"}),
        help_text=_("Negative to make them cheaper."),
    )
    unit = forms.ChoiceField(
        label=_("Of what"),
        choices=[(PERCENT, _("percent of each price")), (AMOUNT, _("an amount, in the currency of each product"))],
        widget=UnfoldAdminSelectWidget,
    )

    def plan(self, product: Product) -> Planned:
        """The new price, rounded to what the currency has."""
        by, before = self.cleaned_data["by"], quantize(product.price, product.currency)
        exact = before * (100 + by) / 100 if self.cleaned_data["unit"] == self.PERCENT else before + by
        refusal = gettext("The price would be below zero.") if exact < 0 else ""
        if exact >= _TOO_DEAR:
            return Planned(product, before, "∞", ProductChange(), gettext("The price would be too high."))
        after = quantize(exact, product.currency)
        return Planned(product, before, after, ProductChange(price=after), refusal)


class BulkAdmin(ModelAdmin):  # type: ignore[type-arg] # Django's own class takes no parameter
    """Adds the actions to the list of products."""

    actions = ["change_prices", "show", "hide"]

    @admin.action(description=_("Change prices"), permissions=["change"])
    def change_prices(self, request: HttpRequest, chosen: QuerySet[Product]) -> HttpResponse | None:
        is_sent = "by" in request.POST
        form = PriceForm(request.POST if is_sent else None)
        plan = form.plan if is_sent and form.is_valid() else None
        return self._carry_out(request, chosen, plan, title=gettext("Change prices"), action="change_prices", form=form)

    @admin.action(description=_("Show in the shop"), permissions=["change"])
    def show(self, request: HttpRequest, chosen: QuerySet[Product]) -> HttpResponse | None:
        return self._carry_out(request, chosen, _activate, title=gettext("Show in the shop"), action="show")

    @admin.action(description=_("Hide from the shop"), permissions=["change"])
    def hide(self, request: HttpRequest, chosen: QuerySet[Product]) -> HttpResponse | None:
        return self._carry_out(request, chosen, _deactivate, title=gettext("Hide from the shop"), action="hide")

    def _carry_out(
        self,
        request: HttpRequest,
        chosen: QuerySet[Product],
        plan: Plan | None,
        *,
        title: str,
        action: str,
        form: PriceForm | None = None,
    ) -> HttpResponse | None:
        products = list(chosen.order_by("name_key", "pk"))
        planned = [plan(product) for product in products] if plan else []
        if plan and "confirmed" in request.POST:
            self._change_all(request, planned)
            return None  # to the list
        context: dict[str, Any] = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": title,
            "action": action,
            "form": form,
            "products": products,
            "planned": planned,
            "to_do": sum(each.is_to_do for each in planned),
            "checkbox_name": ACTION_CHECKBOX_NAME,
        }
        return TemplateResponse(request, "admin/products/product/bulk.html", context)

    def _change_all(self, request: HttpRequest, planned: Sequence[Planned]) -> None:
        refusals = list(self._change(request, [each for each in planned if each.is_to_do]))
        changed = sum(each.is_to_do for each in planned) - len(refusals)
        refusals += [f"{each.product}: {each.refusal}" for each in planned if each.refusal]
        if changed:
            said = ngettext("%(count)s product was changed.", "%(count)s products were changed.", changed)
            self.message_user(request, said % {"count": changed})
        elif not refusals:
            self.message_user(request, gettext("Nothing was to be changed."), messages.INFO)
        for refusal in refusals[:_SHOWN_REFUSALS]:
            self.message_user(request, refusal, messages.ERROR)
        if more := len(refusals[_SHOWN_REFUSALS:]):
            self.message_user(request, gettext("%(count)s more were not changed.") % {"count": more}, messages.ERROR)

    def _change(self, request: HttpRequest, planned: Sequence[Planned]) -> Iterator[str]:
        """What was refused, of products that were read a moment ago or, by a person, on the page before."""
        for each in planned:
            try:
                revision = _revision_read(request, each.product.pk)
                services.products().update_product(product_id=each.product.pk, change=each.change, if_revision=revision)
            except DomainError as refusal:
                yield f"{each.product}: {refusal}"
            else:
                name = "price" if each.change.price is not None else "active"
                record(request, each.product, "Changed", before={name: each.before}, after={name: each.after})


def _activate(product: Product) -> Planned:
    return Planned(product, product.active, True, ProductChange(active=True))


def _deactivate(product: Product) -> Planned:
    return Planned(product, product.active, False, ProductChange(active=False))


def _revision_read(request: HttpRequest, product_id: UUID) -> int:
    """Which revision the page before has shown. One that says none has shown none."""
    text = request.POST.get(f"revision-{product_id}", "")
    return int(text) if text.isdecimal() and len(text) < len(str(2**31)) else 0
