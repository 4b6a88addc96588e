"""What must hold of orders, their payments and their stock, for `manage.py audit`.

The shop runs meanwhile: what is under way is not a violation. An effect that is still to come must have an event that
the products service has not handled yet; what is open must be younger than `_GRACE`.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TypeVar
from uuid import UUID

from django.db.models import Count, F, Model, OuterRef, Q, QuerySet, Subquery, Value
from django.db.models.functions import Coalesce
from django.utils import timezone

from apps.common.audit import Rule
from apps.common.databases import alias_of
from apps.events.models import InboxEntry, OutboxEvent
from apps.orders import events
from apps.orders.interface import OrderStatus, PaymentStatus, RefundStatus
from apps.orders.models import (
    ABANDONED,
    NEVER_ARRIVED,
    OPEN_PAYMENTS,
    OPEN_REFUNDS,
    UNSETTLED_PAYMENTS,
    Order,
    OrderItem,
    OrderTransition,
    Payment,
    Refund,
    SandboxCharge,
    SandboxRefund,
)
from apps.orders.reports.rebuilding import differences
from apps.orders.states import Action
from apps.products.interface import Reservation, ReservationState
from config import services

_GRACE = timedelta(minutes=10)
_PAGE = 1000
_REPORTS_LOOKED_AT = timedelta(days=31)
_HAS_BEEN_PAID = (OrderStatus.PAID, OrderStatus.SHIPPED, OrderStatus.DELIVERED)
_Row = TypeVar("_Row", bound=Model)
_KEPT = (PaymentStatus.SUCCEEDED, PaymentStatus.PARTIALLY_REFUNDED)
_CHARGED = (*_KEPT, PaymentStatus.REFUNDED)
_ENDED_PAID = (OrderStatus.CANCELLED, OrderStatus.REFUNDED)
_STOCK_CONSUMER = "products.settle_reservation"
_STOCK_EVENTS = (events.PAID, events.CANCELLED, events.EXPIRED, events.REFUNDED, events.REFUND_COMPLETED)


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
    paid = Payment.objects.filter(status__in=_KEPT)
    rows = Order.objects.filter(status__in=_HAS_BEEN_PAID).exclude(
        pk__in=paid.filter(amount=F("order__total"), currency=F("order__currency")).values("order_id")
    )
    for row in rows.iterator():
        yield f"order {row.number} is {row.status}, but no payment of {row.total} {row.currency} succeeded"


def _unpaid_orders() -> Iterator[str]:
    unpaid = Q(order__status__in=(OrderStatus.PENDING, OrderStatus.EXPIRED), status__in=_KEPT)
    ended = Q(order__status__in=_ENDED_PAID) & ~Q(status__in=(PaymentStatus.REFUNDED, PaymentStatus.FAILED))
    for payment in Payment.objects.filter(unpaid | ended).select_related("order").iterator():
        yield f"order {payment.order.number} is {payment.order.status}, but payment {payment.id} is {payment.status}"
    was_paid = Order.objects.filter(status__in=_ENDED_PAID, transitions__action=Action.PAY)
    for row in was_paid.exclude(payments__status=PaymentStatus.REFUNDED).iterator():
        yield f"order {row.number} was paid and is {row.status}, but no payment of it was refunded"


def _refunds() -> Iterator[str]:
    """What each payment has promised back, against its refunds and its status."""
    for payments in _pages(Payment.objects.all()):
        promised: dict[UUID, Decimal] = defaultdict(Decimal)
        paid_back: dict[UUID, Decimal] = defaultdict(Decimal)
        # Added up here: SQLite adds up in floating point.
        alive = Refund.objects.filter(payment__in=payments).exclude(status=RefundStatus.FAILED).order_by()
        for payment_id, status, amount in alive.values_list("payment_id", "status", "amount"):
            promised[payment_id] += amount
            if status == RefundStatus.SUCCEEDED:
                paid_back[payment_id] += amount
        for payment in payments:
            done = paid_back[payment.id]
            if payment.refunded_amount != promised[payment.id] or not _fits(payment, done):
                yield (
                    f"payment {payment.id} of {payment.amount} is {payment.status} and has promised "
                    f"{payment.refunded_amount}, but its refunds come to {promised[payment.id]}, of which {done} went "
                    "through"
                )


def _fits(payment: Payment, paid_back: Decimal) -> bool:
    """Whether a payment's status says how much of it has been paid back."""
    match payment.status:
        case PaymentStatus.REFUNDED:
            return paid_back == payment.amount
        case PaymentStatus.PARTIALLY_REFUNDED:
            return 0 < paid_back < payment.amount
        case _:
            return not paid_back


def _open_payments() -> Iterator[str]:
    late = Q(updated_at__lt=timezone.now() - _GRACE)
    for payment in Payment.objects.filter(late, status__in=OPEN_PAYMENTS).iterator():
        yield f"payment {payment.id} has been {payment.status} since {payment.updated_at}"
    for refund in Refund.objects.filter(late, status__in=OPEN_REFUNDS).iterator():
        yield f"refund {refund.id} has been {refund.status} since {refund.updated_at}"


def _open_changes() -> Iterator[str]:
    for row in Order.objects.filter(change_began_at__lt=timezone.now() - _GRACE).iterator():
        yield f"order {row.number} has been changing since {row.change_began_at}"


def _provider() -> Iterator[str]:
    """The sandbox's own books against ours, both ways."""
    for charges in _pages(SandboxCharge.objects.all()):
        open_refunds = Refund.objects.filter(payment__in=[charge.pk for charge in charges], status__in=OPEN_REFUNDS)
        refunding = set(open_refunds.values_list("payment_id", flat=True))
        payments = {str(row.id): row for row in Payment.objects.filter(pk__in=[charge.pk for charge in charges])}
        for charge in charges:
            payment = payments.get(charge.pk)
            fault = _compare_books(charge, payment)
            if payment and payment.status in _CHARGED and payment.id not in refunding and not fault:
                fault = _compare_refunded(charge, payment)
            if fault:
                yield f"charge {charge.transaction_id} {fault}"
    captured = SandboxCharge.objects.filter(state=SandboxCharge.State.CAPTURED).values("transaction_id")
    ours = Payment.objects.filter(provider="sandbox", status__in=_CHARGED).exclude(transaction_id__in=captured)
    for payment in ours.iterator():
        yield f"payment {payment.id} is {payment.status}, but the provider has not captured {payment.transaction_id!r}"
    yield from _provider_refunds()


def _provider_refunds() -> Iterator[str]:
    for booked in _pages(SandboxRefund.objects.select_related("charge")):
        ours = {str(row.id): row for row in Refund.objects.filter(pk__in=_uuids(each.pk for each in booked))}
        failed = Payment.objects.filter(pk__in=[each.charge_id for each in booked], status=PaymentStatus.FAILED)
        given_up = {str(key) for key in failed.values_list("pk", flat=True)}
        for each in booked:
            refund = ours.get(each.pk)
            # What was captured for a payment that had been given up went back without a refund of ours.
            fits = each.charge_id in given_up if refund is None else _agree(each, refund)
            if not fits:
                yield f"refund {each.transaction_id} of {each.amount} does not agree with ours"
    known = SandboxRefund.objects.values("transaction_id")
    succeeded = Refund.objects.filter(payment__provider="sandbox", status=RefundStatus.SUCCEEDED)
    for refund in succeeded.exclude(transaction_id__in=known).iterator():
        yield f"refund {refund.id} succeeded, but the provider knows no {refund.transaction_id!r}"


def _agree(booked: SandboxRefund, refund: Refund) -> bool:
    """Whether a refund is the same in both books. One that is open is being settled."""
    is_same = (booked.charge_id, booked.amount, booked.charge.currency) == (
        *(str(refund.payment_id), refund.amount),
        refund.currency,
    )
    is_known = refund.status == RefundStatus.SUCCEEDED and refund.transaction_id == booked.transaction_id
    return is_same and (is_known or refund.status in OPEN_REFUNDS)


def _uuids(keys: Iterable[str]) -> list[UUID]:
    """Those keys that can be the id of a refund."""
    return [UUID(key) for key in keys if len(key) == len(str(UUID(int=0)))]


def _compare_books(charge: SandboxCharge, payment: Payment | None) -> str | None:
    """What is wrong between a charge and its payment, if anything. One that is being settled may differ."""
    if payment is None:
        return "belongs to no payment"
    if payment.status in UNSETTLED_PAYMENTS:
        return None
    if (charge.amount, charge.currency) != (payment.amount, payment.currency):
        return f"is {charge.amount} {charge.currency}, but payment {payment.id} {payment.amount} {payment.currency}"
    if payment.status == PaymentStatus.FAILED:
        kept = charge.amount - charge.refunded_amount if charge.state == SandboxCharge.State.CAPTURED else 0
        is_watched = payment.failure_code in (NEVER_ARRIVED, ABANDONED)
        return None if not kept or is_watched else f"keeps {kept}, but payment {payment.id} failed"
    if charge.transaction_id != payment.transaction_id:
        return f"is {payment.transaction_id!r} in payment {payment.id}"
    return None


def _compare_refunded(charge: SandboxCharge, payment: Payment) -> str | None:
    if charge.refunded_amount == payment.refunded_amount:
        return None
    return f"has paid back {charge.refunded_amount}, but payment {payment.id} {payment.refunded_amount}"


def _reservations() -> Iterator[str]:
    """Each order against what the products service holds for it."""
    for rows in _pages(Order.objects.prefetch_related("items")):
        reservations = {found.order_id: found for found in _held(row.id for row in rows)}
        waiting = _effects_to_come([row.id for row in rows])
        paid = set(OrderTransition.objects.filter(order__in=rows, action=Action.PAY).values_list("order_id", flat=True))
        returned = _restocked(rows)
        for row in rows:
            fault = _compare(row, reservations.get(row.id), returned[row.id], was_paid=row.id in paid)
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


def _restocked(rows: Iterable[Order]) -> dict[UUID, Counter[UUID]]:
    """What refunds have put back on the shelves, by order and product."""
    returned: dict[UUID, Counter[UUID]] = defaultdict(Counter)
    refunds = Refund.objects.filter(order__in=rows, status=RefundStatus.SUCCEEDED, restock=True)
    for order_id, lines in refunds.order_by().values_list("order_id", "lines"):
        returned[order_id].update({UUID(line["product_id"]): line["quantity"] for line in lines})
    return returned


def _compare(row: Order, held: Reservation | None, returned: Counter[UUID], *, was_paid: bool) -> str | None:
    """What is wrong between an order and its reservation, if anything."""
    if held is None:
        return "nothing was ever reserved for it"
    wanted = Counter({item.product_id: item.quantity for item in row.items.all()})
    if row.change_began_at is None and wanted != {line.product_id: line.quantity for line in held.lines}:
        return "its stock is reserved for other lines"
    out = Counter({line.product_id: line.quantity for line in held.lines})
    out.subtract({line.product_id: line.quantity for line in held.returned})
    if row.status in (OrderStatus.PENDING, OrderStatus.EXPIRED) or not was_paid:
        expected = ReservationState.ACTIVE if row.status == OrderStatus.PENDING else ReservationState.RELEASED
        return None if held.state == expected else f"its stock is {held.state}"
    if held.state == ReservationState.ACTIVE:
        return "its stock is active"
    if held.state == ReservationState.RELEASED:
        out = Counter()
    return None if +out == wanted - returned else "other units have left for it than were paid for and not returned"


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
    Rule("what a payment has promised back is what its refunds say", Payment.objects.count, _refunds),
    Rule("no payment or refund is left open", Payment.objects.count, _open_payments),
    Rule("no change is left half done", Order.objects.count, _open_changes),
    Rule("the sandbox's books agree with the payments", SandboxCharge.objects.count, _provider),
    Rule("the stock of every order is where its status says", Order.objects.count, _reservations),
    Rule("no stock is held for an order that does not exist", Order.objects.count, _orphans),
    Rule("the reports of the last month agree with the orders", _count_reported, _reports),
]
