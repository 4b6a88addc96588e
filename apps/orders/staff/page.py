"""What the page of an order shows."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.http import HttpRequest
from django.urls import reverse
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from apps.common.errors import DomainError
from apps.orders.interface import SYSTEM, OrderStatus
from apps.orders.models import Order, Payment, Refund
from apps.orders.staff.names import (
    CHANGES,
    MONEY_COLOURS,
    ORDER_COLOURS,
    ORDER_NAMES,
    PAYMENT_NAMES,
    REFUND_NAMES,
    money,
)
from apps.orders.states import MOVES, Action
from apps.users.interface import User
from config import services

# Of few orders as many people are told. The others are shown by their ids.
_MOST_PEOPLE = 10
_PACKED = {OrderStatus.PAID, OrderStatus.SHIPPED, OrderStatus.DELIVERED}


@dataclass(frozen=True)
class Button:
    """Something that can be done to the order as it stands."""

    title: str | Promise
    url: str
    icon: str
    variant: str = "default"


@dataclass(frozen=True)
class Person:
    """Somebody who has to do with an order; without a name it is known by the id alone."""

    id: UUID | None
    name: str
    email: str = ""
    url: str = ""


_STEPS = (
    ("ship", gettext_lazy("Ship"), "local_shipping", "primary", Action.SHIP),
    ("deliver", gettext_lazy("Mark as delivered"), "check_circle", "primary", Action.DELIVER),
    ("refund", gettext_lazy("Refund"), "currency_exchange", "default", Action.REFUND),
    ("cancel", gettext_lazy("Cancel order"), "cancel", "default", Action.CANCEL),
)


def buttons(order: Order) -> list[Button]:
    """What the order's state allows."""
    status = OrderStatus(order.status)
    allowed = [
        Button(title, reverse(f"admin:orders_order_{name}", args=[order.pk]), icon, variant)
        for name, title, icon, variant, action in _STEPS
        if status in MOVES[action]
    ]
    papers = [
        Button(title, reverse(f"admin:orders_order_{name}", args=[order.pk]), icon)
        for name, title, icon, has in (
            ("packing_slip", _("Packing slip"), "package_2", can_be_packed(order)),
            ("invoice", _("Invoice"), "receipt_long", is_invoiced(order)),
        )
        if has
    ]
    # What cannot be undone comes last.
    return [*allowed[:-1], *papers, *allowed[-1:]] if status in MOVES[Action.CANCEL] else [*allowed, *papers]


def can_be_packed(order: Order) -> bool:
    """Whether somebody may have to put the goods into a parcel, or has."""
    return order.status in _PACKED


def is_invoiced(order: Order) -> bool:
    """Whether money was taken for the order, also if it was given back."""
    return any(payment.paid_at for payment in order.payments.all())


def order_page(request: HttpRequest, order: Order) -> dict[str, Any]:
    """All that the template needs."""
    people = _People(request)
    items = order.items.all()
    return {
        "order": order,
        "status": ORDER_NAMES[order.status],
        "colour": ORDER_COLOURS.get(order.status),
        "customer": people.find(order.user_id),
        "buttons": buttons(order),
        "address": address_lines(order),
        "method": (order.shipping or {}).get("method", ""),
        "items": [
            {
                "row": item,
                "price": money(item.price, order.currency),
                "total": money(item.total, order.currency),
            }
            for item in items
        ],
        "units": sum(item.quantity for item in items),
        "totals": totals(order),
        "timeline": _timeline(order, people),
        "payments": [_payment(payment) for payment in sorted(order.payments.all(), key=_by_time)],
        "refunds": [_refund(refund, order, people) for refund in sorted(order.refunds.all(), key=_by_time)],
    }


def address_lines(order: Order) -> list[str]:
    """Where the order goes, a line for each part that is known."""
    shipping = {name: str(text) for name, text in (order.shipping or {}).items() if text}
    region = " ".join(shipping[name] for name in ("state", "zip_code") if name in shipping)
    town = ", ".join(filter(None, (shipping.get("city"), region)))
    lines = (shipping.get("name"), shipping.get("address"), town, shipping.get("country"))
    return [line for line in lines if line]


def totals(order: Order) -> list[tuple[str, str]]:
    """The sums below the lines, from the subtotal to what the shop keeps."""
    sums = [(_("Subtotal"), order.subtotal), (_("Shipping"), order.shipping_cost), (_("Total"), order.total)]
    given_back = sum(payment.refunded_amount for payment in order.payments.all())
    if given_back:
        paid = sum(payment.amount for payment in order.payments.all() if payment.paid_at)
        sums += [(_("Refunded"), -given_back), (_("Left of the payment"), paid - given_back)]
    return [(name, money(amount, order.currency)) for name, amount in sums]


def _by_time(row: Payment | Refund) -> datetime:
    return row.created_at


def _payment(payment: Payment) -> dict[str, Any]:
    return {
        "row": payment,
        "amount": money(payment.amount, payment.currency),
        "refunded": money(payment.refunded_amount, payment.currency) if payment.refunded_amount else "",
        "status": PAYMENT_NAMES[payment.status],
        "colour": MONEY_COLOURS[payment.status],
    }


def _refund(refund: Refund, order: Order, people: "_People") -> dict[str, Any]:
    names = {str(item.product_id): item.product_name for item in order.items.all()}
    return {
        "row": refund,
        "amount": money(refund.amount, refund.currency),
        "status": REFUND_NAMES[refund.status],
        "colour": MONEY_COLOURS[refund.status],
        "lines": [
            f"{line['quantity']} \N{MULTIPLICATION SIGN} {names.get(line['product_id'], line['product_id'])}"
            for line in refund.lines
        ],
        "by": people.find(refund.actor_id),
    }


def _timeline(order: Order, people: "_People") -> Sequence[dict[str, Any]]:
    entries = services.orders().get_timeline(order_id=order.pk, actor=SYSTEM)
    return list(_told(entries, people))


def _told(entries: Sequence[Any], people: "_People") -> Iterator[dict[str, Any]]:
    for entry in entries:
        title, icon = CHANGES.get(entry.action, (entry.action, "circle"))
        yield {"entry": entry, "title": title, "icon": icon, "by": people.find(entry.actor_id)}


class _People:
    """Who did what, each looked up once."""

    def __init__(self, request: HttpRequest) -> None:
        self._may_open = request.user.has_perm("users.view_user")
        self._known: dict[UUID | None, Person] = {None: Person(None, _("the shop"))}

    def find(self, user_id: UUID | None) -> Person:
        if user_id not in self._known:
            found = self._look_up(user_id) if len(self._known) <= _MOST_PEOPLE else None
            self._known[user_id] = self._to_person(user_id, found)
        return self._known[user_id]

    def _look_up(self, user_id: UUID | None) -> User | None:
        if user_id is None:
            return None
        try:
            return services.users().get_user(user_id=user_id)
        except DomainError:
            return None

    def _to_person(self, user_id: UUID | None, user: User | None) -> Person:
        url = reverse("admin:users_user_change", args=[user_id]) if self._may_open else ""
        if user is None:
            return Person(user_id, str(user_id), url=url)
        name = f"{user.first_name} {user.last_name}".strip() or user.username
        return Person(user_id, name, user.email, url)
