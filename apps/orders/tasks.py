"""What the orders service does when it hears of something, and its periodic work."""

from collections.abc import Sequence
from uuid import UUID

from celery import shared_task

from apps.common.databases import atomic
from apps.events.consumer import batch_subscriber, subscriber
from apps.events.envelope import Event
from apps.events.webhooks.mail import send_stopped
from apps.orders.events import order_id_of
from apps.orders.interface import SYSTEM, InvalidTransition, PaymentUnknown
from apps.orders.mail import MAILED, order_mail
from apps.orders.reports.counting import count_orders
from apps.orders.services.forgetting import clear_done, forget
from apps.orders.states import ENDED
from apps.users.interface import UserNotFound
from config import services


@subscriber("orders.mail_customer", ordered=True, transactional=False)
def mail_customer(event: Event) -> None:
    """Write to the customer; somebody who has left is not written to, nor is what a later mail has overtaken.

    The mail goes out before the inbox knows of it: after a crash in between it is sent a second time, under the same
    `Message-ID`.
    """
    if event.type not in MAILED:
        return
    try:
        user = services.users().get_user(user_id=UUID(event.data["user_id"]))
    except UserNotFound:
        return
    if user.email:
        order_mail(event, to=user.email, name=user.first_name).send()


@subscriber("orders.mail_webhook_owner", transactional=False)
def mail_webhook_owner(event: Event) -> None:
    """Tell the owner of an endpoint that the shop has stopped it; of one that was deleted there is nobody to tell."""
    send_stopped(event.subject, state=event.data["state"], reason=event.data["reason"])


@subscriber("orders.cancel_unfulfillable", transactional=False)
def cancel_unfulfillable(event: Event) -> None:
    """Cancel, and pay back, an order whose stock has gone to others; one that has ended meanwhile is left alone.

    An order that was sent all the same is for a person to look at: the delivery fails, and is kept.
    """
    order_id, orders = order_id_of(event.data), services.orders()
    try:
        orders.cancel_order(order_id=order_id, actor=SYSTEM, reason="the goods are no longer in stock")
    except InvalidTransition:
        if orders.get_status(order_id=order_id, actor=SYSTEM) not in ENDED:
            raise
    except PaymentUnknown:
        # The refund has begun: `settle_open_orders` completes it.
        return


@batch_subscriber("orders.count_sales")
def count_sales(events: Sequence[Event]) -> None:
    """Bring the reports up to what the orders of these events are now."""
    count_orders(order_id_of(event.data) for event in events)


@subscriber("orders.forget_customer")
def forget_customer(event: Event) -> None:
    """Have the orders of a customer who has left say nothing about them."""
    forget(UUID(event.data["user_id"]))


@shared_task(name="orders.clear_forgotten")
def clear_forgotten() -> None:
    """Have orders say nothing about customers who have left, once they are done."""
    with atomic("orders"):
        clear_done()


@shared_task(name="orders.expire_orders")
def expire_orders() -> None:
    """Expire orders that were not paid in time."""
    services.orders().expire_orders()


@shared_task(name="orders.settle_open_orders")
def settle_open_orders() -> None:
    """Finish what a crash or a silent provider left open."""
    services.orders().settle_open_orders()
