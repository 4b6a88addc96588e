"""From rows to what the interface promises, and the one way in which a row changes its status."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from apps.common.cached import Cached
from apps.common.databases import alias_of
from apps.common.money import quantize
from apps.events.outbox import publish
from apps.orders import events
from apps.orders.interface import (
    Actor,
    Order,
    OrderBusy,
    OrderItem,
    OrderNotFound,
    OrderStatus,
    Payment,
    PaymentStatus,
    Shipping,
    StaffOnly,
    TimelineEntry,
)
from apps.orders.models import OPEN_PAYMENTS, OrderTransition
from apps.orders.models import Order as OrderRow
from apps.orders.models import OrderItem as ItemRow
from apps.orders.models import Payment as PaymentRow
from apps.orders.states import ENDED, EVENTS, Action, target

# An order's `(owner, status)`, if all processes share a cache: orders also move in the relay and in beat.
STATUS = Cached("orders:status", seconds=10)
# The sequence number of an order's placing.
PLACED = 1
# Stock stays reserved a little longer than the order may be paid, so that the order ends first.
RESERVATION_MARGIN = timedelta(minutes=15)
_SHIPPING_STATUS = {OrderStatus.SHIPPED: "shipped", OrderStatus.DELIVERED: "delivered"}


def visible_to(actor: Actor) -> QuerySet[OrderRow]:
    """The orders that the actor may see: their own; all of them for staff."""
    if actor.is_staff:
        return OrderRow.objects.all()
    return OrderRow.objects.filter(user_id=actor.user_id) if actor.user_id else OrderRow.objects.none()


def find(order_id: UUID, actor: Actor) -> OrderRow:
    """
    Raises:
        OrderNotFound: unknown, or somebody else's.
    """
    row = visible_to(actor).filter(pk=order_id).first()
    if row is None:
        raise OrderNotFound("There is no such order.")
    return row


def require_staff(actor: Actor) -> None:
    """
    Raises:
        StaffOnly: the actor is a customer.
    """
    if not actor.is_staff:
        raise StaffOnly("Only order staff may do this.")


def lock(order_id: UUID, actor: Actor) -> OrderRow:
    """The order, locked until the caller's transaction ends.

    Raises:
        OrderNotFound: unknown, or somebody else's.
    """
    row = visible_to(actor).select_for_update().filter(pk=order_id).first()
    if row is None:
        raise OrderNotFound("There is no such order.")
    return row


def check_idle(row: OrderRow) -> None:
    """Nothing that spans several transactions is under way.

    Raises:
        OrderBusy: the order is being changed, paid or refunded.
    """
    if row.change_began_at is not None or row.payments.filter(status__in=OPEN_PAYMENTS).exists():
        raise OrderBusy("The order is being changed, paid or refunded. Ask again in a moment.")


def move(row: OrderRow, action: Action, actor: Actor, reason: str = "") -> Order:
    """Carry out an action on a locked order: its status, its timeline and its event, in the caller's transaction.

    Raises:
        InvalidTransition: the order's status does not allow it.
    """
    before = OrderStatus(row.status)
    row.status = target(action, before)
    row.sequence += 1
    row.updated_at = timezone.now()
    row.save()
    OrderTransition.objects.create(
        order=row, sequence=row.sequence, status=row.status, action=action, actor_id=actor.user_id, reason=reason[:300]
    )
    order = to_order(row)
    # Goods that never left the shop go back on its shelves.
    more = {"restock": before == OrderStatus.PAID} if action == Action.REFUND else {}
    publish("orders", events.order_fact(EVENTS[action], order, row.sequence, **more))
    transaction.on_commit(lambda: STATUS.forget([order.id]), using=alias_of("orders"))
    return order


def to_order(row: OrderRow, items: Sequence[ItemRow] | None = None) -> Order:
    """The order behind a row. With `items` given, the order is new and has no payments: nothing is read."""
    payments = [] if items is not None else list(row.payments.all())
    return Order(
        id=row.id,
        number=row.number,
        user_id=row.user_id,
        status=OrderStatus(row.status),
        currency=row.currency,
        subtotal=quantize(row.subtotal, row.currency),
        total=quantize(row.total, row.currency),
        items=[_to_item(item, row.currency) for item in (row.items.all() if items is None else items)],
        shipping=_to_shipping(row),
        payment=_to_payment(max(payments, key=_weight)) if payments else None,
        note=row.note,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )


def placing_of(row: OrderRow) -> TimelineEntry:
    """An order's first change, which leaves no other trace than the order."""
    return TimelineEntry(
        sequence=PLACED,
        status=OrderStatus.PENDING,
        action="place",
        actor_id=row.user_id,
        reason="",
        at=row.created_at,
    )


def to_entry(row: OrderTransition) -> TimelineEntry:
    return TimelineEntry(
        sequence=row.sequence,
        status=OrderStatus(row.status),
        action=row.action,
        actor_id=row.actor_id,
        reason=row.reason,
        at=row.at,
    )


def _weight(payment: PaymentRow) -> tuple[bool, datetime]:
    """The payment that counts is the one that has not failed, or else the latest."""
    return payment.status != PaymentStatus.FAILED, payment.created_at


def _to_item(row: ItemRow, currency: str) -> OrderItem:
    return OrderItem(
        id=row.id,
        product_id=row.product_id,
        product_name=row.product_name,
        sku=row.sku,
        quantity=row.quantity,
        price=quantize(row.price, currency),
        total=quantize(row.total, currency),
    )


def _to_shipping(row: OrderRow) -> Shipping | None:
    if row.shipping is None:
        return None
    address: dict[str, Any] = row.shipping
    status = OrderStatus(row.status)
    return Shipping(
        **address,
        cost=quantize(row.shipping_cost, row.currency),
        status="cancelled" if status in ENDED else _SHIPPING_STATUS.get(status, "pending"),
    )


def _to_payment(row: PaymentRow) -> Payment:
    return Payment(
        method=row.method,
        amount=quantize(row.amount, row.currency),
        status=PaymentStatus(row.status),
        transaction_id=row.transaction_id,
        paid_at=row.paid_at,
    )


def expiry() -> datetime:
    """Until when an order placed now can be paid."""
    return timezone.now() + settings.RESERVATION_TTL
