"""Writing new orders down: by the ORM on any database, and on PostgreSQL many at once in one statement."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal
from typing import Any

import orjson
from django.conf import settings

from apps.common.combining import Combiner
from apps.common.databases import alias_of, atomic, connection_of, later
from apps.events.models import OutboxEvent
from apps.events.outbox import INSERT_JSON
from apps.orders.interface import Order, ShippingAddress
from apps.orders.models import Order as OrderRow
from apps.orders.models import OrderItem as ItemRow

# One statement, and so one transaction: the orders, their lines and what is told of them.
_RECORD = f"""
    WITH placed AS (
        INSERT INTO orders_order (id, number, user_id, status, currency, subtotal, shipping_cost, total, shipping, note,
            sequence, changes, expires_at, created_at, updated_at)
        SELECT id, number, user_id, 'pending', currency, subtotal, shipping_cost, total, shipping, note,
            1, 0, statement_timestamp() + %s::interval, created_at, created_at
        FROM json_to_recordset(%s::json) AS t (id uuid, number text, user_id uuid, currency text, subtotal numeric,
            shipping_cost numeric, total numeric, shipping jsonb, note text, created_at timestamptz)
    ), listed AS (
        INSERT INTO orders_orderitem (id, order_id, product_id, product_name, sku, quantity, price, total)
        SELECT id, order_id, product_id, product_name, sku, quantity, price, total
        FROM json_to_recordset(%s::json) AS t (id uuid, order_id uuid, product_id uuid, product_name text, sku text,
            quantity int, price numeric, total numeric)
    )
    {INSERT_JSON}
"""  # noqa: S608 - a statement of ours
_ORDER_FIELDS = ("id", "number", "user_id", "currency", "subtotal", "total", "note", "created_at")


@dataclass(frozen=True)
class Placement:
    """A new order, and what its row has beside it. `event` is the outbox's row of what is told of it."""

    order: Order
    address: ShippingAddress | None
    shipping_cost: Decimal
    event: Mapping[str, Any]


def record(placement: Placement) -> None:
    """Write the order, its lines and its event, in one transaction.

    Raises:
        IntegrityError: there is an order with this id or number already.
    """
    connection = connection_of("orders")
    if connection.vendor != "postgresql":
        with atomic("orders"):
            _record(placement)
    elif connection.in_atomic_block:
        with atomic("orders"):
            _record_together([placement])
    else:
        _combined.ask(placement)


def _record(placement: Placement) -> None:
    order = placement.order
    OrderRow.objects.create(
        **{name: getattr(order, name) for name in _ORDER_FIELDS},
        shipping=_address(placement),
        shipping_cost=placement.shipping_cost,
        expires_at=later(settings.RESERVATION_TTL),
        updated_at=order.created_at,
    )
    ItemRow.objects.bulk_create(ItemRow(order_id=order.id, **vars(item)) for item in order.items)
    OutboxEvent.objects.using(alias_of("orders")).create(**placement.event)


def _record_together(placements: Sequence[Placement]) -> Sequence[None]:
    orders = [
        {
            **{name: getattr(placement.order, name) for name in _ORDER_FIELDS},
            "shipping": _address(placement),
            "shipping_cost": placement.shipping_cost,
        }
        for placement in placements
    ]
    items = [
        {"order_id": placement.order.id, **vars(item)} for placement in placements for item in placement.order.items
    ]
    rows = [orders, items, [placement.event for placement in placements]]
    with connection_of("orders").cursor() as cursor:
        texts = [orjson.dumps(row, default=str).decode() for row in rows]
        cursor.execute(_RECORD, [f"{settings.RESERVATION_TTL.total_seconds()} seconds", *texts])
    return [None] * len(placements)


def _address(placement: Placement) -> dict[str, str] | None:
    return asdict(placement.address) if placement.address else None


_combined: Combiner[Placement, None] = Combiner(_record_together)
