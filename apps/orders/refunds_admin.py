"""The staff page on which some of an order is paid back."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from unfold.widgets import (
    UnfoldAdminDecimalFieldWidget,
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextInputWidget,
    UnfoldBooleanWidget,
)

from apps.common.admin import record
from apps.common.errors import DomainError
from apps.common.ids import new_id
from apps.common.money import MAX_DIGITS, MAX_PLACES, places_of, quantize
from apps.orders.interface import Actor, OrderStatus, PaymentUnknown, RefundStatus
from apps.orders.models import Order, OrderItem
from apps.orders.staff.acting import SteppedAdmin, staff_of, state_of
from apps.orders.staff.names import ORDER_NAMES, money
from apps.orders.states import MOVES, Action
from apps.products.interface import StockLine
from config import services

_RESTOCK = (
    ("", gettext_lazy("as usual: yes until the order is shipped, then no")),
    ("yes", gettext_lazy("yes")),
    ("no", gettext_lazy("no")),
)


class RefundForm(forms.Form):
    """Units of each line, or an amount, or neither for all that is left."""

    # The same for a form that is sent twice, so that it pays back once.
    refund_id = forms.UUIDField(widget=forms.HiddenInput)
    amount = forms.DecimalField(
        label=gettext_lazy("Another amount"),
        max_digits=MAX_DIGITS,
        decimal_places=MAX_PLACES,
        required=False,
        widget=UnfoldAdminDecimalFieldWidget,
        help_text=gettext_lazy("Instead of what the units above cost."),
    )
    restock = forms.ChoiceField(
        label=gettext_lazy("Back on the shelves"),
        choices=_RESTOCK,
        required=False,
        widget=UnfoldAdminSelectWidget,
    )
    reason = forms.CharField(
        label=gettext_lazy("Reason"),
        help_text=gettext_lazy("Kept in the order's timeline, which its customer can read."),
        max_length=300,
        required=False,
        widget=UnfoldAdminTextInputWidget,
    )
    confirmed = forms.BooleanField(
        label=gettext_lazy("Pay the money back. This cannot be undone."),
        widget=UnfoldBooleanWidget,
        error_messages={"required": gettext_lazy("Tick this to say that the money is to be paid back.")},
    )

    def __init__(self, *args: Any, items: Sequence[OrderItem], currency: str, **kwargs: Any) -> None:  # noqa: ANN401 - Django's own
        super().__init__(*args, **kwargs)
        self._items, self._currency = items, currency
        for item in items:
            price = quantize(item.price, currency)
            units = {"min": 0, "max": item.quantity, "data-price": price, "class": "max-w-24", "placeholder": "0"}
            self.fields[str(item.product_id)] = forms.IntegerField(
                label=_("Units of %(name)s (%(sku)s)") % {"name": item.product_name, "sku": item.sku},
                min_value=0,
                max_value=item.quantity,
                required=False,
                widget=UnfoldAdminIntegerFieldWidget(attrs=units),
            )

    def lines(self) -> list[dict[str, Any]]:
        """Each line of the order, and the field for its units."""
        return [
            {"item": item, "price": money(item.price, self._currency), "field": self[str(item.product_id)]}
            for item in self._items
        ]

    def carry_out(self, order_id: UUID, actor: Actor) -> bool:
        """Whether it was paid back; if not, the form says why.

        Raises:
            PaymentUnknown: it has begun, and will be paid back.
        """
        data = self.cleaned_data
        lines = [
            StockLine(product_id=UUID(name), quantity=data[name])
            for name in self.fields.keys() - type(self).base_fields.keys()
            if data[name]
        ]
        try:
            services.orders().refund_order(
                order_id=order_id,
                actor=actor,
                refund_id=data["refund_id"],
                amount=data["amount"],
                lines=lines or None,
                restock={"yes": True, "no": False}.get(data["restock"]),
                reason=data["reason"],
            )
        except PaymentUnknown:
            raise
        except DomainError as refusal:
            # Under the old id there may be a refund that was refused for good.
            self.data = {**dict(self.data.items()), "refund_id": str(new_id())}
            for problem in refusal.problems:
                name = (problem.attr or "").removeprefix("items.")
                self.add_error(name if name in self.fields else None, problem.detail)
            return False
        return True


class RefundableAdmin(SteppedAdmin):
    """Adds a page that pays back to each order."""

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.refund_view)
        return [path("<uuid:order_id>/refund/", view, name="orders_order_refund"), *super().get_urls()]

    def refund_view(self, request: HttpRequest, order_id: UUID) -> HttpResponse:
        order = self.visible(request, order_id)
        form = RefundForm(
            request.POST if request.method == "POST" else None,
            items=list(order.items.all()),
            currency=order.currency,
            initial={"refund_id": new_id()},
        )
        back = HttpResponseRedirect(reverse("admin:orders_order_change", args=[order_id]))
        if request.method != "POST" and OrderStatus(order.status) not in MOVES[Action.REFUND]:
            told = {"number": order.number, "status": ORDER_NAMES[order.status]}
            messages.error(request, _("Order %(number)s is %(status)s, so that this cannot be done to it.") % told)
            return back
        if form.is_valid() and self._refund(request, order, form):
            return back
        refunds = [refund for refund in order.refunds.all() if refund.status != RefundStatus.FAILED]
        context = {
            "title": _("Refund order %(number)s") % {"number": order.number},
            "form": form,
            "places": places_of(order.currency),
            "refunds": sorted(refunds, key=lambda refund: refund.created_at),
        }
        return self.page(request, order, "refund.html", context)

    def _refund(self, request: HttpRequest, order: Order, form: RefundForm) -> bool:
        """Whether it was paid back, or will be."""
        before = state_of(order)
        try:
            if not form.carry_out(order.pk, staff_of(request)):
                return False
            messages.success(request, _("Order %(number)s: paid back.") % {"number": order.number})
        except PaymentUnknown as pending:
            messages.warning(request, _("Order %(number)s: %(problem)s") % {"number": order.number, "problem": pending})
        after = {**state_of(order), "reason": form.cleaned_data["reason"]}
        record(request, order, "Refunded", before=before, after=after)
        return True
