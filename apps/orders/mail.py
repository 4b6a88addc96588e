"""What customers are written: for each event a subject, a text and a page, from templates that a shop can replace."""

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from email.utils import parseaddr
from typing import Any

from django.conf import settings
from django.core.mail import EmailMultiAlternatives
from django.template import Context, Engine

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
_LINK = re.compile(r"[/@]|\.\w")
_LONGEST_NAME = 80
# RFC 5322 allows 998 characters in a line; nobody reads as many.
_LONGEST_SUBJECT = 200


def order_mail(event: Event, *, to: str, name: str) -> EmailMultiAlternatives:
    """The mail that tells a customer of an event of their order, as things stood when it happened."""
    context = _context(event, name)
    subject = _one_line(_render(event, "subject.txt", context), _LONGEST_SUBJECT)
    context["subject"] = subject
    message = EmailMultiAlternatives(
        subject=subject,
        body=_render(event, "txt", context),
        to=[to],
        reply_to=[settings.SUPPORT_EMAIL] if settings.SUPPORT_EMAIL else [],
        headers={
            # A mail that had to be sent twice is known by it as one.
            "Message-ID": f"<{event.id}@{_domain()}>",
            # Nobody's absence is answered to us (RFC 3834).
            "Auto-Submitted": "auto-generated",
        },
    )
    message.attach_alternative(_render(event, "html", context), "text/html")
    return message


def _render(event: Event, kind: str, context: Mapping[str, Any]) -> str:
    """One of the event's templates. Only a page is escaped: its name decides, not whoever writes the template."""
    template = Engine.get_default().get_template(f"orders/mail/{event.type}.{kind}")
    return template.render(Context(dict(context), autoescape=kind == "html"))


def _context(event: Event, name: str) -> dict[str, Any]:
    """What the templates are given: docs/mail.md lists it."""
    data, currency = event.data, event.data["currency"]
    shipping_cost = Decimal(data.get("shipping_cost", 0))
    return {
        "shop": {
            "name": settings.SHOP_NAME,
            "address": settings.SHOP_ADDRESS,
            "support_email": settings.SUPPORT_EMAIL or parseaddr(settings.DEFAULT_FROM_EMAIL)[1],
        },
        # Anybody can register somebody else's address: our mail must not carry a link of theirs.
        "name": "" if _LINK.search(name) else _one_line(name, _LONGEST_NAME),
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
    return _one_line(str(item["product_name"]), _LONGEST_SUBJECT)


def _amount(amount: str | Decimal, currency: str) -> str:
    """An amount to be read: `1,234.50 USD`."""
    return f"{Decimal(amount):,f} {currency}"


def _one_line(text: str, longest: int) -> str:
    """The text without line breaks, which would begin another header or another paragraph."""
    return " ".join(text.split())[:longest]


def _domain() -> str:
    return parseaddr(settings.DEFAULT_FROM_EMAIL)[1].rpartition("@")[2] or "localhost"
