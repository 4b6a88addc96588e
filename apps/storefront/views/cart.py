"""The cart."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from uuid import UUID

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST, require_safe

from apps.storefront.api import JSON, Refused
from apps.storefront.pages import Shopper, is_htmx, number_in, page, show
from apps.storefront.visitor import MOST_OF_ONE, Visitor


@dataclass(frozen=True)
class Line:
    """A product in the cart as it is sold now."""

    product: JSON
    quantity: int

    @property
    def total(self) -> Decimal:
        return Decimal(self.product["price"]) * self.quantity

    @property
    def left(self) -> int:
        """How many of them there are."""
        return int(self.product["stock"]) if self.product["active"] else 0

    @property
    def is_short(self) -> bool:
        return self.left < self.quantity


@require_safe
@page
def cart(request: Shopper) -> HttpResponse:
    """What is in it, at today's prices, and whether there is enough of it."""
    lines = lines_of(request.visitor)
    return show(request, "cart.html", {"lines": lines, "most": MOST_OF_ONE, **summary(lines)})


@require_POST
@page
def add(request: Shopper) -> HttpResponse:
    """Put so many more of a product into the cart."""
    product_id = _product_id(request)
    # Asked first, so that nothing gets into the cart that is not sold.
    product = request.visitor.api.get(f"products/{product_id}")
    before = request.visitor.cart.get(product_id, 0)
    has_room = request.visitor.put(product_id, before + max(1, _quantity(request, 1)))
    if is_htmx(request):
        return show(request, "_added.html", {"product": product, "has_room": has_room})
    if has_room:
        messages.success(request, _("“%(name)s” is in your cart.") % {"name": product["name"]})
    else:
        messages.error(request, _("Your cart is full. Order what is in it first."))
    return redirect("storefront:cart")


@require_POST
@page
def change(request: Shopper) -> HttpResponse:
    """Have another number of a product in the cart, or none."""
    product_id = _product_id(request)
    if product_id in request.visitor.cart:
        request.visitor.put(product_id, _quantity(request, request.visitor.cart[product_id]))
    return redirect("storefront:cart")


def lines_of(visitor: Visitor) -> list[Line]:
    """The cart's lines; what is not sold any more leaves it."""
    lines = []
    for product_id, quantity in list(visitor.cart.items()):
        try:
            lines.append(Line(visitor.api.get(f"products/{product_id}"), quantity))
        except Refused as refusal:
            if refusal.status != 404:  # noqa: PLR2004 - what HTTP calls it
                raise
            visitor.put(product_id, 0)
    return lines


def summary(lines: Sequence[Line]) -> JSON:
    """What the lines cost together, and whether they can be ordered."""
    currencies = {line.product["currency"] for line in lines}
    return {
        "currency": next(iter(currencies), ""),
        "total": sum((line.total for line in lines), Decimal()),
        "is_mixed": len(currencies) > 1,
        "can_order": bool(lines) and len(currencies) == 1 and not any(line.is_short for line in lines),
    }


def _product_id(request: Shopper) -> str:
    try:
        return str(UUID(request.POST.get("product", "")))
    except ValueError as error:
        raise Refused(404, []) from error


def _quantity(request: Shopper, default: int) -> int:
    return min(number_in(request.POST.get("quantity", ""), default), MOST_OF_ONE)
