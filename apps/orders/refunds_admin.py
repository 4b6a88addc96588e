"""The staff page on which some of an order is paid back."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse

from apps.common.admin import ReadOnlyAdmin
from apps.common.errors import DomainError
from apps.common.ids import new_id
from apps.common.money import MAX_DIGITS, MAX_PLACES, quantize
from apps.orders.interface import Actor, PaymentUnknown, RefundStatus
from apps.orders.models import Order, OrderItem
from apps.products.interface import StockLine
from config import services

_RESTOCK = (("", "as usual: until the order is shipped"), ("yes", "yes"), ("no", "no"))


def staff_of(request: HttpRequest) -> Actor:
    """The person at the staff pages, which admit no one else."""
    return Actor(user_id=request.user.pk, is_staff=True)


class RefundForm(forms.Form):
    """Units of each line, or an amount, or neither for all that is left."""

    # The same for a form that is sent twice, so that it pays back once.
    refund_id = forms.UUIDField(widget=forms.HiddenInput)
    amount = forms.DecimalField(
        max_digits=MAX_DIGITS,
        decimal_places=MAX_PLACES,
        required=False,
        help_text="Instead of what the units below cost. Leave it and the units empty to pay back all that is left.",
    )
    restock = forms.ChoiceField(label="Back on the shelves", choices=_RESTOCK, required=False)
    reason = forms.CharField(max_length=300, required=False)

    def __init__(self, *args: Any, items: Sequence[OrderItem], **kwargs: Any) -> None:  # noqa: ANN401 - Django's own
        super().__init__(*args, **kwargs)
        for item in items:
            self.fields[str(item.product_id)] = forms.IntegerField(
                label=f"{item.product_name} ({item.sku})",
                min_value=0,
                max_value=item.quantity,
                required=False,
                help_text=f"of {item.quantity}",
            )

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


class RefundableAdmin(ReadOnlyAdmin[Order]):
    """Adds a page that pays back to each order."""

    change_form_template = "admin/orders/order/change_form.html"

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.refund_view)
        return [path("<uuid:order_id>/refund/", view, name="orders_order_refund"), *super().get_urls()]

    def refund_view(self, request: HttpRequest, order_id: UUID) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        order = self._orders().filter(pk=order_id).first()
        if order is None:
            raise Http404
        items = list(order.items.all())
        form = RefundForm(request.POST or None, items=items, initial={"refund_id": new_id()})
        back = HttpResponseRedirect(reverse("admin:orders_order_change", args=[order_id]))
        try:
            if form.is_valid() and form.carry_out(order_id, staff_of(request)):
                messages.success(request, f"Order {order.number}: paid back.")
                return back
        except PaymentUnknown as pending:
            messages.warning(request, f"Order {order.number}: {pending}")
            return back
        context = {
            **self.admin_site.each_context(request),
            "opts": Order._meta,
            "title": f"Refund order {order.number}",
            "order": order,
            "total": quantize(order.total, order.currency),
            "form": form,
            "refunds": order.refunds.exclude(status=RefundStatus.FAILED).order_by("created_at"),
        }
        return TemplateResponse(request, "admin/orders/order/refund.html", context)

    def _orders(self) -> QuerySet[Order]:
        return Order.objects.prefetch_related("items")
