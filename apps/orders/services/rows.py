"""From rows to what the interface promises, and the one way in which a row changes its status."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import Exists, OuterRef, QuerySet
from django.db.models.functions import Now
from django.utils import timezone

from apps.common.cached import Cached
from apps.common.databases import alias_of
from apps.common.money import quantize
from apps.events.outbox import publish
from apps.orders import events, metrics
from apps.orders.interface import (
    SYSTEM,
    Actor,
    NextAction,
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
from apps.orders.models import ABANDONED, OPEN_PAYMENTS, OPEN_REFUNDS, OrderTransition
from apps.orders.models import Order as OrderRow
from apps.orders.models import OrderItem as ItemRow
from apps.orders.models import Payment as PaymentRow
from apps.orders.models import Refund as RefundRow
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


def require_staff(actor: Actor) -> None:
    """
    Raises:
        StaffOnly: the actor is a customer.
    """
    if not actor.is_staff:
        raise StaffOnly("Only order staff may do this.")


def find(order_id: UUID, actor: Actor) -> OrderRow:
    """The order, to look at.

    Raises:
        OrderNotFound: unknown, or somebody else's.
    """
    row = visible_to(actor).filter(pk=order_id).first()
    if row is None:
        raise OrderNotFound("There is no such order.")
    return row


def lock(order_id: UUID, actor: Actor) -> OrderRow:
    """The order, locked until the caller's transaction ends.

    Raises:
        OrderNotFound: unknown, or somebody else's.
    """
    row = visible_to(actor).select_for_update().filter(pk=order_id).first()
    if row is None:
        raise OrderNotFound("There is no such order.")
    return row


def check_idle(row: OrderRow) -> PaymentRow | None:
    """Nothing that spans several transactions is under way. Returns the one payment that has not failed, if any.

    Raises:
        OrderBusy: the order is being changed, paid or refunded.
    """
    open_refunds = RefundRow.objects.filter(payment=OuterRef("pk"), status__in=OPEN_REFUNDS)
    living = row.payments.exclude(status=PaymentStatus.FAILED).annotate(is_refunding=Exists(open_refunds)).first()
    is_open = living is not None and (living.status in OPEN_PAYMENTS or living.is_refunding)
    if row.change_began_at is not None or is_open:
        raise OrderBusy("The order is being changed, paid or refunded. Ask again in a moment.")
    return living


def abandon_unconfirmed(row: OrderRow, payment: PaymentRow | None) -> None:
    """Give up a payment that the customer has not confirmed: the locked order goes on without it, in the caller's
    transaction. `settle_open_orders` voids it at the provider.
    """
    if payment is None or payment.status != PaymentStatus.REQUIRES_ACTION:
        return
    payment.status = PaymentStatus.FAILED
    payment.failure_code, payment.failure_detail = ABANDONED, "The payment was not confirmed."
    payment.updated_at = Now()
    payment.save(update_fields=["status", "failure_code", "failure_detail", "updated_at"])
    metrics.count_payment(PaymentStatus.FAILED, ABANDONED)
    move(row, Action.FAIL_PAYMENT, SYSTEM, payment.failure_detail)


def move(
    row: OrderRow, action: Action, actor: Actor, reason: str = "", *, more: Mapping[str, Any] | None = None
) -> Order:
    """Carry out an action on a locked order: its status, its timeline and its event, in the caller's transaction.
    `more` is what the event tells besides.

    Raises:
        InvalidTransition: the order's status does not allow it.
    """
    row.status = target(action, OrderStatus(row.status))
    row.sequence += 1
    row.updated_at = timezone.now()
    row.save()
    OrderTransition.objects.create(
        order=row, sequence=row.sequence, status=row.status, action=action, actor_id=actor.user_id, reason=reason[:300]
    )
    order = to_order(row)
    publish("orders", events.order_fact(EVENTS[action], order, row.sequence, **(more or {})))
    transaction.on_commit(lambda: STATUS.forget([order.id]), using=alias_of("orders"))
    metrics.count_move(action)
    return order


def to_order(row: OrderRow, items: Sequence[ItemRow] | None = None, *, next_action: NextAction | None = None) -> Order:
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
        payment=_to_payment(max(payments, key=_weight), next_action) if payments else None,
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


def _to_payment(row: PaymentRow, next_action: NextAction | None) -> Payment:
    return Payment(
        method=row.method,
        amount=quantize(row.amount, row.currency),
        refunded_amount=quantize(row.refunded_amount, row.currency),
        status=PaymentStatus(row.status),
        transaction_id=row.transaction_id,
        paid_at=row.paid_at,
        next_action=next_action,
    )
