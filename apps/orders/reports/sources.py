"""The orders that reports tell of: the one place that knows which rows are a sale, and which a refund."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from typing import TypeVar
from uuid import UUID

from django.db.models import QuerySet

from apps.orders.interface import PaymentStatus, RefundStatus
from apps.orders.models import Order, OrderItem, Payment, Refund
from apps.orders.reports.facts import Facts, Refunded, Sale, SoldLine

_Row = TypeVar("_Row", Payment, OrderItem, Refund)


def sales() -> QuerySet[Payment]:
    """What was paid, whatever has become of it since: `order_id`, `currency`, `amount` and `paid_at`."""
    return Payment.objects.filter(paid_at__isnull=False).exclude(status=PaymentStatus.FAILED).order_by()


def refunds() -> QuerySet[Refund]:
    """What went back: `order_id`, `currency`, `amount` and `refunded_at`."""
    return Refund.objects.filter(status=RefundStatus.SUCCEEDED).order_by()


def read_facts(order_ids: Collection[UUID]) -> Mapping[UUID, Facts]:
    """What these orders count for as they are now, in four statements."""
    rows = Order.objects.filter(pk__in=order_ids).order_by()
    orders = list(rows.only("currency", "created_at", "status", "total"))
    items = _by_order(OrderItem.objects.filter(order__in=order_ids).order_by())
    paid = _by_order(sales().filter(order__in=order_ids).only("order_id", "amount", "paid_at"))
    returned = _by_order(refunds().filter(order__in=order_ids).only("order_id", "amount", "refunded_at"))
    return {row.id: to_facts(row, items[row.id], paid[row.id], returned[row.id]) for row in orders}


def to_facts(order: Order, items: Iterable[OrderItem], paid: Iterable[Payment], returned: Iterable[Refund]) -> Facts:
    """What an order counts for with these rows, which `sales` and `refunds` have found."""
    sold = [_to_sale(payment, payment.paid_at, items) for payment in paid if payment.paid_at]
    back = [Refunded(at=refund.refunded_at, amount=refund.amount) for refund in returned if refund.refunded_at]
    return Facts(
        currency=order.currency,
        placed_at=order.created_at,
        status=order.status,
        total=order.total,
        # At most one: `payment_once` says so.
        sale=sold[0] if sold else None,
        refunds=tuple(sorted(back, key=lambda each: each.at)),
    )


def _by_order(rows: Iterable[_Row]) -> Mapping[UUID, list[_Row]]:
    found: dict[UUID, list[_Row]] = defaultdict(list)
    for row in rows:
        found[row.order_id].append(row)
    return found


def _to_sale(payment: Payment, paid_at: datetime, items: Iterable[OrderItem]) -> Sale:
    lines = [SoldLine(product_id=item.product_id, units=item.quantity, amount=item.total) for item in items]
    return Sale(at=paid_at, amount=payment.amount, lines=tuple(sorted(lines, key=lambda each: each.product_id)))
