"""What customers are written: for each event a subject, a text and a page, from templates that a shop can replace."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from django.core.mail import EmailMultiAlternatives

from apps.common import mail
from apps.events.envelope import Event
from apps.orders import events

# Of other events nobody is written.
MAILED = frozenset(
    {
        events.CREATED,
        events.PAID,
        events.SHIPPED,
        events.DELIVERED,
        events.CANCELLED,
        events.EXPIRED,
        events.REFUNDED,
        events.REFUND_COMPLETED,
    }
)


def order_mail(event: Event, *, to: str, name: str) -> EmailMultiAlternatives:
    """The mail that tells a customer of an event of their order, as things stood when it happened."""
    return mail.compose(f"orders/mail/{event.type}", _context(event, name), to=to, message_id=event.id)


def _context(event: Event, name: str) -> dict[str, Any]:
    """What the templates are given: docs/mail.md lists it."""
    data, currency = event.data, event.data["currency"]
    shipping_cost = Decimal(data.get("shipping_cost", 0))
    return {
        "shop": mail.shop(),
        "name": mail.greeting(name),
        "at": event.timestamp,
        "order": {
            "id": data["order_id"],
            "number": data["number"],
            "status": data["status"],
            "currency": currency,
            "items": [_item(item, currency) for item in data["items"]],
            "has_shipping_cost": shipping_cost > 0,
            "shipping_cost": _amount(shipping_cost, currency),
            "total": _amount(data["total"], currency),
        },
        "refund": _refund(data.get("refund"), data["items"], currency),
    }


def _item(item: Mapping[str, Any], currency: str) -> dict[str, object]:
    return {
        "product_name": _name_of(item),
        "quantity": item["quantity"],
        "price": _amount(item["price"], currency),
        "total": _amount(Decimal(item["price"]) * item["quantity"], currency),
    }


def _refund(
    refund: Mapping[str, Any] | None, items: Sequence[Mapping[str, Any]], currency: str
) -> dict[str, object] | None:
    """What was paid back of an order, and for which of its items."""
    if refund is None:
        return None
    names = {item["product_id"]: _name_of(item) for item in items}
    lines = [
        {"product_name": names.get(line["product_id"], ""), "quantity": line["quantity"]}
        for line in refund.get("lines") or ()
    ]
    return {"amount": _amount(refund["amount"], currency), "items": lines}


def _name_of(item: Mapping[str, Any]) -> str:
    return mail.one_line(str(item["product_name"]), mail.LONGEST_LINE)


def _amount(amount: str | Decimal, currency: str) -> str:
    """An amount to be read: `1,234.50 USD`."""
    return f"{Decimal(amount):,f} {currency}"
