"""From the cart to an order."""

import hashlib
import json
from time import sleep
from uuid import uuid4

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods

from apps.storefront.api import JSON, Refused
from apps.storefront.forms import CheckoutForm
from apps.storefront.pages import Shopper, page, show
from apps.storefront.sentences import sentence, write_beside
from apps.storefront.views.cart import Line, lines_of, summary
from apps.storefront.visitor import LoggedOut, Visitor

# Such a refusal is seen in the cart, which says what is left of each product.
_ABOUT_CART = ("out_of_stock", "product_not_found", "currency_mismatch")
_TRIES, _PAUSE = 10, 0.5


@require_http_methods(["GET", "HEAD", "POST"])
@page
def checkout(request: Shopper) -> HttpResponse:
    """Where the order goes. Sent twice, the form places one order."""
    visitor = request.visitor
    if visitor.account is None:
        raise LoggedOut
    if order_id := visitor.placed_by(request.POST.get("form", "")):
        return redirect("storefront:order", order_id)
    lines = lines_of(visitor)
    total = summary(lines)
    if not total["can_order"]:
        return redirect("storefront:cart")
    if request.method != "POST":
        form = CheckoutForm(currency=total["currency"], initial={"form": uuid4(), "name": _name(visitor.account)})
        return _page(request, form, lines, 200)
    form = CheckoutForm(request.POST, currency=total["currency"])
    if not form.is_valid():
        return _page(request, form, lines, 400)
    return _place(request, form, lines)


def _place(request: Shopper, form: CheckoutForm, lines: list[Line]) -> HttpResponse:
    visitor = request.visitor
    body = _order(form, lines)
    try:
        order = _placed(visitor, body, _key(form, body))
    except Refused as refusal:
        if any(refusal.has(code) for code in _ABOUT_CART):
            messages.error(request, sentence(refusal.problems[0]))
            return redirect("storefront:cart")
        if refusal.status not in {400, 409}:
            raise
        write_beside(form, refusal.problems)
        return _page(request, form, lines, refusal.status)
    visitor.empty_cart()
    visitor.remember_placed(str(form.cleaned_data["form"]), order["id"])
    return redirect("storefront:order", order["id"])


def _placed(visitor: Visitor, body: JSON, key: str) -> JSON:
    """The order. While a first click is still at it, a second waits for the same order."""
    for _attempt in range(_TRIES):
        try:
            return visitor.call("POST", "orders", body=body, key=key)
        except Refused as refusal:
            if not refusal.has("idempotency_in_progress"):
                raise
        sleep(_PAUSE)
    return visitor.call("POST", "orders", body=body, key=key)


def _order(form: CheckoutForm, lines: list[Line]) -> JSON:
    given = form.cleaned_data
    where = ("name", "address", "zip_code", "city", "country", "method")
    return {
        "items": [{"product_id": line.product["id"], "quantity": line.quantity} for line in lines],
        "shipping": {name: given[name] for name in where},
        "note": given["note"],
    }


def _key(form: CheckoutForm, body: JSON) -> str:
    """The same for the same form with the same content: what was corrected after a refusal is another request."""
    content = json.dumps([str(form.cleaned_data["form"]), body], sort_keys=True)
    return f"checkout-{hashlib.sha256(content.encode()).hexdigest()}"


def _name(account: JSON) -> str:
    return f"{account['first_name']} {account['last_name']}".strip()


def _page(request: Shopper, form: CheckoutForm, lines: list[Line], status: int) -> HttpResponse:
    title = _("Checkout")
    return show(request, "checkout.html", {"form": form, "lines": lines, "title": title, **summary(lines)}, status)
