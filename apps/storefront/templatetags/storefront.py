"""How values are written on pages."""

from datetime import datetime
from hashlib import sha256

from django import template
from django.http import HttpRequest
from django.utils.formats import date_format
from django.utils.functional import Promise
from django.utils.translation import get_language, gettext_lazy, pgettext_lazy

from apps.storefront.api import JSON, Refused
from apps.storefront.pages import categories
from apps.storefront.visitor import Visitor

register = template.Library()

_SIGNS = {"USD": "$", "EUR": "€", "GBP": "£", "JPY": "¥", "CNY": "CN¥", "INR": "₹", "KRW": "₩"}
_SIGNS_IN_CHINESE = {**_SIGNS, "USD": "US$", "JPY": "JP¥", "CNY": "¥"}
_TINTS = 10
_SHAPES = 6
STATUSES: dict[str, Promise] = {
    "pending": pgettext_lazy("order", "Waiting for payment"),
    "paid": pgettext_lazy("order", "Paid"),
    "shipped": pgettext_lazy("order", "On its way"),
    "delivered": pgettext_lazy("order", "Delivered"),
    "cancelled": pgettext_lazy("order", "Cancelled"),
    "expired": pgettext_lazy("order", "Expired"),
    "refunded": pgettext_lazy("order", "Refunded"),
}
_STEPS: dict[str, Promise] = {**STATUSES, "pending": pgettext_lazy("order", "Ordered")}
# What was done to an order; whatever is not named here is told by where the order then stood.
_ACTIONS: dict[str, Promise] = {
    "place": pgettext_lazy("order", "Ordered"),
    "change": pgettext_lazy("order", "Changed"),
    "fail_payment": pgettext_lazy("order", "A payment did not go through"),
    "fail_refund": pgettext_lazy("order", "A refund did not go through"),
    "refund_part": pgettext_lazy("order", "Some of it was refunded"),
}
_METHODS: dict[str, Promise] = {
    "standard": gettext_lazy("Standard"),
    "express": gettext_lazy("Express"),
    "pickup": gettext_lazy("Pick-up in the shop"),
}


@register.filter
def money(amount: str | None, currency: str) -> str:
    """An amount as people write it: `$1,234.50`. It has the places that the API gives it."""
    if amount is None:
        return ""
    whole, point, places = str(amount).partition(".")
    number = f"{int(whole):,}{point}{places}"
    signs = _SIGNS_IN_CHINESE if (get_language() or "").startswith("zh") else _SIGNS
    return f"{signs[currency]}{number}" if currency in signs else f"{currency} {number}"


@register.filter
def when(text: str) -> str:
    """A time of the API, in the visitor's language. It is UTC, as everywhere in the shop."""
    return f"{date_format(datetime.fromisoformat(text), 'DATETIME_FORMAT')} UTC"


@register.filter
def status_name(status: str) -> str:
    return str(STATUSES.get(status, status))


@register.filter
def step_name(status: str) -> str:
    """A status as a step on an order's way, which may have been taken."""
    return str(_STEPS.get(status, status))


@register.filter
def happened(entry: JSON) -> str:
    """An entry of an order's timeline."""
    return str(_ACTIONS.get(entry["action"]) or status_name(entry["status"]))


@register.filter
def method_name(method: str) -> str:
    return str(_METHODS.get(method, method))


@register.filter
def tint(product: JSON) -> int:
    """Which of the stylesheet's tints stands for the product's category."""
    return _number(product.get("category_id") or product["id"]) % _TINTS


@register.filter
def shape(product: JSON) -> int:
    """Which drawing stands in for the product's picture."""
    return _number(product["id"]) % _SHAPES


@register.filter
def attribute(text: str) -> str:
    """The name of an attribute, as a person would write it: `power_watts` → `Power watts`."""
    return text.replace("_", " ").strip().capitalize()


@register.filter
def value(given: object) -> str:
    """The value of an attribute."""
    if isinstance(given, bool):
        return str(gettext_lazy("yes") if given else gettext_lazy("no"))
    return ", ".join(str(each) for each in given) if isinstance(given, list) else str(given)


@register.simple_tag(takes_context=True)
def visitor_of(context: JSON) -> Visitor:
    request: HttpRequest = context["request"]
    return Visitor(request)


@register.simple_tag
def departments(visitor: Visitor) -> list[JSON]:
    """The categories at the top; none while the API does not say."""
    try:
        return [each for each in categories(visitor) if each["parent_id"] is None]
    except Refused:
        return []


def _number(text: str) -> int:
    return int.from_bytes(sha256(text.encode()).digest()[:4])
