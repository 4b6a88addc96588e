"""What must hold of orders, their payments and their stock, for `manage.py audit`.

The shop runs meanwhile: what is under way is not a violation. An effect that is still to come must have an event that
the products service has not handled yet; what is open must be younger than `_GRACE`.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import TypeVar
from uuid import UUID

from django.db.models import Count, F, Model, OuterRef, Q, QuerySet, Subquery, Value
from django.db.models.functions import Coalesce
from django.utils import timezone

from apps.common.audit import Rule
from apps.common.databases import alias_of
from apps.events.models import InboxEntry, OutboxEvent
from apps.orders import events
from apps.orders.interface import OrderStatus, PaymentStatus
from apps.orders.models import OPEN_PAYMENTS, Order, OrderItem, OrderTransition, Payment, SandboxCharge
from apps.orders.reports.rebuilding import differences
from apps.orders.states import Action
from apps.products.interface import Reservation, ReservationState
from config import services

_GRACE = timedelta(minutes=10)
_PAGE = 1000
_REPORTS_LOOKED_AT = timedelta(days=31)
_HAS_BEEN_PAID = (OrderStatus.PAID, OrderStatus.SHIPPED, OrderStatus.DELIVERED)
_Row = TypeVar("_Row", bound=Model)
_CHARGED = (PaymentStatus.SUCCEEDED, PaymentStatus.REFUNDING, PaymentStatus.REFUNDED)
_STOCK_CONSUMER = "products.settle_reservation"
_STOCK_EVENTS = (events.PAID, events.CANCELLED, events.EXPIRED, events.REFUNDED)


def _totals() -> Iterator[str]:
    for rows in _pages(Order.objects.prefetch_related("items")):
        for row in rows:
            lines = [item.total for item in row.items.all()]
            if not lines or sum(lines) != row.subtotal or row.subtotal + row.shipping_cost != row.total:
                yield f"order {row.number}: {len(lines)} lines of {sum(lines)}, not {row.subtotal}; total {row.total}"


def _line_totals() -> Iterator[str]:
    for item in OrderItem.objects.only("order_id", "sku", "price", "quantity", "total").iterator():
        if item.price * item.quantity != item.total:
            yield f"order {item.order_id}: {item.quantity} of {item.sku} at {item.price} are not {item.total}"


def _timelines() -> Iterator[str]:
    told = Order.objects.annotate(count=Count("transitions"))
    for row in told.exclude(sequence=F("count") + 1).iterator():
        yield f"order {row.number}: {row.count} changes in its timeline, but it counts {row.sequence - 1}"


def _statuses() -> Iterator[str]:
    last = OrderTransition.objects.filter(order=OuterRef("pk")).order_by("-sequence").values("status")[:1]
    ends = Order.objects.annotate(end=Coalesce(Subquery(last), Value(OrderStatus.PENDING.value)))
    for row in ends.exclude(status=F("end")).iterator():
        yield f"order {row.number} is {row.status}, but its timeline ends {row.end}"


def _overdue() -> Iterator[str]:
    late = Order.objects.filter(status=OrderStatus.PENDING, expires_at__lt=timezone.now() - _GRACE)
    for row in late.filter(change_began_at=None).exclude(payments__status__in=OPEN_PAYMENTS).iterator():
        yield f"order {row.number} should have expired at {row.expires_at}"


def _paid_orders() -> Iterator[str]:
    paid = Payment.objects.filter(status__in=(PaymentStatus.SUCCEEDED, PaymentStatus.REFUNDING))
    rows = Order.objects.filter(status__in=_HAS_BEEN_PAID).exclude(
        pk__in=paid.filter(amount=F("order__total"), currency=F("order__currency")).values("order_id")
    )
    for row in rows.iterator():
        yield f"order {row.number} is {row.status}, but no payment of {row.total} {row.currency} succeeded"


def _unpaid_orders() -> Iterator[str]:
    unpaid = Q(order__status__in=(OrderStatus.PENDING, OrderStatus.EXPIRED), status=PaymentStatus.SUCCEEDED)
    ended = Q(order__status__in=(OrderStatus.CANCELLED, OrderStatus.REFUNDED)) & ~Q(
        status__in=(PaymentStatus.REFUNDED, PaymentStatus.FAILED)
    )
    for payment in Payment.objects.filter(unpaid | ended).select_related("order").iterator():
        yield f"order {payment.order.number} is {payment.order.status}, but payment {payment.id} is {payment.status}"
    was_paid = Order.objects.filter(
        status__in=(OrderStatus.CANCELLED, OrderStatus.REFUNDED), transitions__action=Action.PAY
    )
    for row in was_paid.exclude(payments__status=PaymentStatus.REFUNDED).iterator():
        yield f"order {row.number} was paid and is {row.status}, but no payment of it was refunded"


def _open_payments() -> Iterator[str]:
    for payment in Payment.objects.filter(status__in=OPEN_PAYMENTS, updated_at__lt=timezone.now() - _GRACE).iterator():
        yield f"payment {payment.id} has been {payment.status} since {payment.updated_at}"


def _open_changes() -> Iterator[str]:
    for row in Order.objects.filter(change_began_at__lt=timezone.now() - _GRACE).iterator():
        yield f"order {row.number} has been changing since {row.change_began_at}"


def _provider() -> Iterator[str]:
    """The sandbox's own books against ours, both ways."""
    for charges in _pages(SandboxCharge.objects.all()):
        payments = {str(row.id): row for row in Payment.objects.filter(pk__in=[charge.pk for charge in charges])}
        for charge in charges:
            fault = _compare_books(charge, payments.get(charge.pk))
            if fault:
                yield f"charge {charge.transaction_id} {fault}"
    known = SandboxCharge.objects.values("transaction_id")
    ours = Payment.objects.filter(provider="sandbox", status__in=_CHARGED).exclude(transaction_id__in=known)
    for payment in ours.iterator():
        yield f"payment {payment.id} is {payment.status}, but the provider knows no charge {payment.transaction_id!r}"


def _compare_books(charge: SandboxCharge, payment: Payment | None) -> str | None:
    """What is wrong between a charge and its payment, if anything. One that is open is being settled."""
    if payment is None:
        return "belongs to no payment"
    if payment.status in OPEN_PAYMENTS:
        return None
    if charge.refunded == (payment.status == PaymentStatus.SUCCEEDED):
        return f"has refunded={charge.refunded}, but payment {payment.id} is {payment.status}"
    if (charge.amount, charge.currency) != (payment.amount, payment.currency):
        return (
            f"took {charge.amount} {charge.currency}, but payment {payment.id} is {payment.amount} {payment.currency}"
        )
    if payment.status != PaymentStatus.FAILED and charge.transaction_id != payment.transaction_id:
        return f"is {payment.transaction_id!r} in payment {payment.id}"
    return None


def _reservations() -> Iterator[str]:
    """Each order against what the products service holds for it."""
    for rows in _pages(Order.objects.prefetch_related("items")):
        reservations = {found.order_id: found for found in _held(row.id for row in rows)}
        waiting = _effects_to_come([row.id for row in rows])
        left = OrderTransition.objects.filter(order__in=rows, action=Action.SHIP)
        shipped = set(left.values_list("order_id", flat=True))
        for row in rows:
            fault = _compare(row, reservations.get(row.id), shipped)
            if fault and row.id not in waiting:
                yield f"order {row.number} is {row.status}, but {fault}"


def _orphans() -> Iterator[str]:
    """Stock that is held for no order must at least be about to come back."""
    after: UUID | None = None
    while page := services.products().list_active_reservations(after=after, limit=_PAGE):
        known = set(Order.objects.filter(pk__in=[held.order_id for held in page]).values_list("id", flat=True))
        for held in page:
            if held.order_id not in known and held.expires_at < timezone.now() - _GRACE:
                yield f"order {held.order_id} does not exist, but stock was held for it until {held.expires_at}"
        after = page[-1].order_id


def _compare(row: Order, held: Reservation | None, shipped: Collection[UUID]) -> str | None:
    """What is wrong between an order and its reservation, if anything."""
    if held is None:
        return "nothing was ever reserved for it"
    wanted = {item.product_id: item.quantity for item in row.items.all()}
    if held.state != _expected_state(row, shipped):
        return f"its stock is {held.state}"
    if row.change_began_at is None and wanted != {line.product_id: line.quantity for line in held.lines}:
        return "its stock is reserved for other lines"
    return None


def _expected_state(row: Order, shipped: Collection[UUID]) -> ReservationState:
    match OrderStatus(row.status):
        case OrderStatus.PENDING:
            return ReservationState.ACTIVE
        case OrderStatus.PAID | OrderStatus.SHIPPED | OrderStatus.DELIVERED:
            return ReservationState.COMMITTED
        case OrderStatus.REFUNDED if row.id in shipped:
            # Goods that have left do not come back by themselves.
            return ReservationState.COMMITTED
        case _:
            return ReservationState.RELEASED


def _effects_to_come(order_ids: Sequence[UUID]) -> set[UUID]:
    """The orders among these of which the products service has yet to hear something."""
    told = dict(
        OutboxEvent.objects.using(alias_of("orders"))
        .filter(subject__in=order_ids, type__in=_STOCK_EVENTS)
        .values_list("id", "subject")
    )
    heard = InboxEntry.objects.using(alias_of("products")).filter(consumer=_STOCK_CONSUMER, event_id__in=list(told))
    return {told[event_id] for event_id in told.keys() - set(heard.values_list("event_id", flat=True))}


def _held(order_ids: Iterable[UUID]) -> Sequence[Reservation]:
    return services.products().list_reservations(order_ids=list(order_ids))


def _pages(rows: QuerySet[_Row]) -> Iterator[list[_Row]]:
    """All rows in pages by primary key, in bounded memory."""
    rows = rows.order_by("pk")
    page = list(rows[:_PAGE])
    while page:
        yield page
        page = list(rows.filter(pk__gt=page[-1].pk)[:_PAGE])


def _reports() -> Iterator[str]:
    """The last days only; `manage.py rebuild_reports --check` looks at all of them."""
    return differences(since=_reported_since().date())


def _count_reported() -> int:
    return Order.objects.filter(created_at__gte=_reported_since()).count()


def _reported_since() -> datetime:
    return timezone.now() - _REPORTS_LOOKED_AT


RULES = [
    Rule("an order's total is the sum of its lines and its shipping", Order.objects.count, _totals),
    Rule("a line's total is price times quantity", OrderItem.objects.count, _line_totals),
    Rule("a timeline has every change once", Order.objects.count, _timelines),
    Rule("an order stands where its timeline ends", Order.objects.count, _statuses),
    Rule("no order is pending past its time", Order.objects.count, _overdue),
    Rule("a paid order has one payment of its total", Order.objects.count, _paid_orders),
    Rule("no money is kept for an order that is not paid or has ended", Payment.objects.count, _unpaid_orders),
    Rule("no payment or refund is left open", Payment.objects.count, _open_payments),
    Rule("no change is left half done", Order.objects.count, _open_changes),
    Rule("the sandbox's books agree with the payments", SandboxCharge.objects.count, _provider),
    Rule("the stock of every order is where its status says", Order.objects.count, _reservations),
    Rule("no stock is held for an order that does not exist", Order.objects.count, _orphans),
    Rule("the reports of the last month agree with the orders", _count_reported, _reports),
]
