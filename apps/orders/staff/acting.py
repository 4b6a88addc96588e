"""What staff do to an order from its page: each step is one page to confirm it, and one call of the service."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from uuid import UUID

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, gettext_noop
from unfold.widgets import UnfoldAdminTextInputWidget

from apps.common.admin import ReadOnlyAdmin, record
from apps.common.errors import DomainError
from apps.orders.interface import Actor, OrderStatus, PaymentUnknown
from apps.orders.models import Order
from apps.orders.staff.names import ORDER_COLOURS, ORDER_NAMES, money
from apps.orders.states import MOVES, Action
from config import services

_LONGEST_REASON = 300


def staff_of(request: HttpRequest) -> Actor:
    """The person at the staff pages, which admit no one else."""
    return Actor(user_id=request.user.pk, is_staff=True)


class StepForm(forms.Form):
    """Why it is done. The timeline keeps it."""

    note = forms.CharField(
        label=gettext_lazy("Note"),
        max_length=_LONGEST_REASON,
        required=False,
        widget=UnfoldAdminTextInputWidget,
        help_text=gettext_lazy("Kept in the order's timeline, which its customer can read."),
    )

    def reason(self) -> str:
        note: str = self.cleaned_data["note"]
        return note


class ShipForm(StepForm):
    """The parcel, too, if it can be followed."""

    carrier = forms.CharField(
        label=gettext_lazy("Carrier"), max_length=60, required=False, widget=UnfoldAdminTextInputWidget
    )
    tracking_number = forms.CharField(
        label=gettext_lazy("Tracking number"), max_length=80, required=False, widget=UnfoldAdminTextInputWidget
    )
    field_order = ("carrier", "tracking_number", "note")

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        if not self.errors and len(self.reason()) > _LONGEST_REASON:
            self.add_error("note", _("Carrier, tracking number and note are too long together; shorten the note."))
        return cleaned

    def reason(self) -> str:
        """The timeline has one text for all of it, for instance: DHL 00340434161094. Left with the neighbour."""
        given = self.cleaned_data
        parcel = " ".join(filter(None, (given.get("carrier"), given.get("tracking_number"))))
        return ". ".join(filter(None, (parcel, given.get("note"))))


@dataclass(frozen=True)
class Step:
    """One way on for an order. `act` is called with the order, who acts and why."""

    action: Action
    form: type[StepForm]
    title: str | Promise
    button: str | Promise
    done: str | Promise
    noted: str
    act: Callable[..., object]
    is_grave: bool = False


STEPS: Mapping[str, Step] = {
    "ship": Step(
        Action.SHIP,
        ShipForm,
        gettext_lazy("Ship order %(number)s"),
        gettext_lazy("Ship"),
        gettext_lazy("Order %(number)s is shipped."),
        gettext_noop("Shipped"),
        lambda **order: services.orders().ship_order(**order),
    ),
    "deliver": Step(
        Action.DELIVER,
        StepForm,
        gettext_lazy("Mark order %(number)s as delivered"),
        gettext_lazy("Mark as delivered"),
        gettext_lazy("Order %(number)s is delivered."),
        gettext_noop("Delivered"),
        lambda **order: services.orders().deliver_order(**order),
    ),
    "cancel": Step(
        Action.CANCEL,
        StepForm,
        gettext_lazy("Cancel order %(number)s"),
        gettext_lazy("Cancel the order"),
        gettext_lazy("Order %(number)s is cancelled."),
        gettext_noop("Cancelled"),
        lambda **order: services.orders().cancel_order(**order),
        is_grave=True,
    ),
    "refund": Step(
        Action.REFUND,
        StepForm,
        gettext_lazy("Refund order %(number)s"),
        gettext_lazy("Refund"),
        gettext_lazy("Order %(number)s is refunded."),
        gettext_noop("Refunded"),
        lambda **order: services.orders().refund_order(**order),
        is_grave=True,
    ),
}


def take(request: HttpRequest, order: Order, step: Step, reason: str) -> bool:
    """Have the service do it once. Whether it did; the page says what it answered, and the log what has changed."""
    before = state_of(order)
    try:
        step.act(order_id=order.pk, actor=staff_of(request), reason=reason)
    except PaymentUnknown as pending:
        messages.warning(request, _("Order %(number)s: %(problem)s") % {"number": order.number, "problem": pending})
    except DomainError as refusal:
        messages.error(request, _("Order %(number)s: %(problem)s") % {"number": order.number, "problem": refusal})
        return False
    record(request, order, step.noted, before=before, after={**state_of(order), "reason": reason})
    return True


def state_of(order: Order) -> dict[str, object]:
    """What staff can change of an order, as it is now."""
    row = Order.objects.prefetch_related("payments").get(pk=order.pk)
    refunded = sum((payment.refunded_amount for payment in row.payments.all()), Decimal(0))
    return {"status": row.status, "refunded": money(refunded, row.currency), "reason": ""}


class SteppedAdmin(ReadOnlyAdmin[Order]):
    """Adds a page for each step to each order."""

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.step_view)
        return [
            path(f"<uuid:order_id>/{name}/", view, {"name": name}, name=f"orders_order_{name}")
            for name in ("ship", "deliver", "cancel")
        ] + super().get_urls()

    def step_view(self, request: HttpRequest, order_id: UUID, name: str) -> HttpResponse:
        order, step = self.visible(request, order_id), STEPS[name]
        form = step.form(request.POST if request.method == "POST" else None)
        back = HttpResponseRedirect(reverse("admin:orders_order_change", args=[order_id]))
        if form.is_valid():
            if take(request, order, step, form.reason()):
                messages.success(request, step.done % {"number": order.number})
            return back
        if OrderStatus(order.status) not in MOVES[step.action]:
            status = ORDER_NAMES[order.status]
            messages.error(
                request,
                _("Order %(number)s is %(status)s, so that this cannot be done to it.")
                % {"number": order.number, "status": status},
            )
            return back
        title = step.title % {"number": order.number}
        return self.page(request, order, "step.html", {"title": title, "step": step, "form": form})

    def visible(self, request: HttpRequest, order_id: UUID | str) -> Order:
        """The order, for those who may look at orders.

        Raises:
            PermissionDenied, Http404.
        """
        if not self.has_view_permission(request):
            raise PermissionDenied
        try:
            key = UUID(str(order_id))
        except ValueError:
            raise Http404 from None
        order = Order.objects.prefetch_related("items", "payments", "refunds").filter(pk=key).first()
        if order is None:
            raise Http404
        return order

    def page(self, request: HttpRequest, order: Order, template: str, context: Mapping[str, Any]) -> HttpResponse:
        """A page about the order, which says what it comes to and where it stands."""
        context = {
            **self.admin_site.each_context(request),
            "opts": Order._meta,
            "original": order,
            "order": order,
            "status": ORDER_NAMES[order.status],
            "colour": ORDER_COLOURS.get(order.status),
            "total": money(order.total, order.currency),
            "left": left_of(order),
            **context,
        }
        return TemplateResponse(request, f"admin/orders/order/{template}", context)


def left_of(order: Order) -> str:
    """What could still be paid back, or nothing."""
    left = sum(payment.amount - payment.refunded_amount for payment in order.payments.all() if payment.paid_at)
    return money(left, order.currency) if left else ""


def take_all(request: HttpRequest, orders: Sequence[Order], step: Step, reason: str) -> int:
    """The step with each of the orders; how many it was taken with."""
    return sum(take(request, order, step, reason) for order in orders)
