"""What customers and staff are written."""

from collections.abc import Mapping
from typing import Any

from django.conf import settings
from django.core.mail import send_mail
from django.template.loader import render_to_string

from apps.orders import events

_SUBJECTS = {
    events.CREATED: "Your order {number}",
    events.PAID: "Payment received for order {number}",
    events.SHIPPED: "Your order {number} is on its way",
    events.CANCELLED: "Your order {number} was cancelled",
    events.EXPIRED: "Your order {number} was not paid in time",
    events.REFUND_COMPLETED: "A refund for your order {number}",
    events.REFUNDED: "Your order {number} was refunded",
}


def send_order_mail(*, to: str, name: str, event_type: str, order: Mapping[str, Any]) -> None:
    """Tell a customer what became of an order.

    Raises:
        OSError: the mail server did not take it.
    """
    body = render_to_string("orders/mail/order.txt", {"event_type": event_type, "order": order, "name": name})
    send_mail(_SUBJECTS[event_type].format(number=order["number"]), body, settings.DEFAULT_FROM_EMAIL, [to])
