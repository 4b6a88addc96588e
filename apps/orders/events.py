"""The facts that the orders service publishes."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from apps.events.envelope import Fact
from apps.orders.interface import Order

CREATED = "order.created"
UPDATED = "order.updated"
PAID = "order.paid"
SHIPPED = "order.shipped"
DELIVERED = "order.delivered"
CANCELLED = "order.cancelled"
EXPIRED = "order.expired"
REFUNDED = "order.refunded"
PAYMENT_FAILED = "payment.failed"
REFUND_COMPLETED = "refund.completed"
REFUND_FAILED = "refund.failed"


def order_fact(kind: str, order: Order, sequence: int, **more: Any) -> Fact:  # noqa: ANN401 - JSON
    """What the service tells of an order: `order_id`, `number`, `user_id`, `status`, `subtotal`, `shipping_cost`,
    `total`, `currency`, `items` (`product_id`, `product_name`, `quantity`, `price`).

    Where money was paid back, also the `refund` (`refund_id`, `amount`, `lines`, `restock`), and in `returns` all that
    has gone back on the shelves so far (`return_id`, `lines`): so a missed event is made up for by the next.
    """
    data: Mapping[str, Any] = {
        "order_id": str(order.id),
        "number": order.number,
        "user_id": str(order.user_id),
        "status": order.status.value,
        "subtotal": str(order.subtotal),
        "shipping_cost": str(order.total - order.subtotal),
        "total": str(order.total),
        "currency": order.currency,
        "items": [
            {
                "product_id": str(item.product_id),
                "product_name": item.product_name,
                "quantity": item.quantity,
                "price": str(item.price),
            }
            for item in order.items
        ],
        **more,
    }
    return Fact(type=kind, subject=order.id, sequence=sequence, data=data)


def order_id_of(data: Mapping[str, Any]) -> UUID:
    """Which order an order's or payment's event tells of."""
    return UUID(data["order_id"])
