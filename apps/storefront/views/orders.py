"""Orders: paying for them, following them, calling them off."""

from urllib.parse import parse_qs, urlsplit
from uuid import UUID, uuid4

from django.conf import settings
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST, require_safe

from apps.storefront.api import JSON, Refused
from apps.storefront.forms import CARDS, PayForm
from apps.storefront.pages import Shopper, is_htmx, page, show
from apps.storefront.sentences import sentence

_WAY = ("pending", "paid", "shipped", "delivered")
# After these an order does not change by itself any more.
_ENDED = {"delivered", "cancelled", "expired", "refunded"}


@require_safe
@page
def orders(request: Shopper) -> HttpResponse:
    """The visitor's orders, newest first."""
    query = {"page_size": 10, "cursor": request.GET.get("cursor", "")}
    found = request.visitor.call("GET", "orders", query=query)
    links = {name: _cursor(found[name]) for name in ("next", "previous")}
    return show(request, "orders.html", {"orders": found["results"], **links})


@require_safe
@page
def order(request: Shopper, order_id: UUID) -> HttpResponse:
    """One order. A script asks every few seconds whether it has changed since it was `seen`."""
    found = request.visitor.call("GET", f"orders/{order_id}")
    seen = _marker(found)
    if is_htmx(request) and request.GET.get("seen") == seen:
        return HttpResponse(status=204)
    timeline = request.visitor.call("GET", f"orders/{order_id}/timeline")["results"]
    payment = found["payment"] or {}
    is_open = found["status"] == "pending" and payment.get("status") not in {"processing", "unknown"}
    context = {
        "order": found,
        "seen": seen,
        "timeline": timeline,
        "steps": [(name, _WAY.index(name) <= _WAY.index(found["status"])) for name in _WAY]
        if found["status"] in _WAY
        else [],
        "is_live": found["status"] not in _ENDED,
        "can_pay": is_open and settings.PAYMENT_PROVIDER == "sandbox",
        "can_cancel": is_open or found["status"] == "paid",
        "form": PayForm(initial={"form": uuid4()}),
        "cards": [(token, name, what) for token, (name, what) in CARDS.items()],
    }
    return show(request, "order.html", context)


@require_POST
@page
def pay(request: Shopper, order_id: UUID) -> HttpResponse:
    """Pay with one of the sandbox's cards. Sent twice, the form charges once."""
    form = PayForm(request.POST)
    if form.is_valid():
        body = {"method": "card", "token": form.cleaned_data["token"]}
        try:
            paid = request.visitor.call(
                "POST", f"orders/{order_id}/pay", body=body, key=f"pay-{form.cleaned_data['form']}-{body['token']}"
            )
        except Refused as refusal:
            _tell(request, refusal)
        else:
            _say_thanks(request, paid)
    return redirect("storefront:order", order_id)


@require_POST
@page
def cancel(request: Shopper, order_id: UUID) -> HttpResponse:
    """Call an order off; what was paid is paid back."""
    try:
        request.visitor.call("POST", f"orders/{order_id}/cancel", body={"reason": request.POST.get("reason", "")[:300]})
    except Refused as refusal:
        _tell(request, refusal)
    else:
        messages.success(request, _("The order is cancelled."))
    return redirect("storefront:order", order_id)


def _tell(request: Shopper, refusal: Refused) -> None:
    if refusal.status == 404:  # noqa: PLR2004 - what HTTP calls it
        raise refusal
    # Nobody knows yet what became of the payment: that is no fault.
    tell = messages.warning if refusal.has("payment_outcome_unknown") else messages.error
    for problem in refusal.problems:
        tell(request, sentence(problem))


def _say_thanks(request: Shopper, order: JSON) -> None:
    if order["status"] == "paid":
        messages.success(request, _("Thank you. Your order is paid, and we are packing it."))


def _marker(order: JSON) -> str:
    payment = order["payment"] or {}
    return f"{order['status']}.{payment.get('status', '')}.{order['updated_at']}"


def _cursor(address: str | None) -> str:
    return parse_qs(urlsplit(address or "").query).get("cursor", [""])[0]
