"""A reservation's row: its lines, as they are kept there, and how long they are held."""

from collections import Counter
from collections.abc import Iterable
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from apps.common.databases import later
from apps.common.money import quantize
from apps.products.interface import PricedLine, Reservation, ReservationState, StockLine
from apps.products.models import Reservation as ReservationRow


def pack(lines: Iterable[PricedLine]) -> list[dict[str, Any]]:
    """The lines as JSON values."""
    return [
        {
            "product_id": str(line.product_id),
            "quantity": line.quantity,
            "name": line.name,
            "sku": line.sku,
            "price": str(line.price),
            "currency": line.currency,
        }
        for line in lines
    ]


def unpack(row: ReservationRow) -> list[PricedLine]:
    """The row's lines, in the order in which they were reserved."""
    return [
        PricedLine(
            product_id=UUID(line["product_id"]),
            quantity=line["quantity"],
            name=line["name"],
            sku=line["sku"],
            price=quantize(Decimal(line["price"]), line["currency"]),
            currency=line["currency"],
        )
        for line in row.lines
    ]


def units(row: ReservationRow) -> dict[UUID, int]:
    """How many units of each product the row holds."""
    return {UUID(line["product_id"]): line["quantity"] for line in row.lines}


def returned_units(row: ReservationRow) -> Counter[UUID]:
    """What has come back of what was deducted, by product."""
    returned: Counter[UUID] = Counter()
    for each in row.returns:
        returned.update({UUID(line["product_id"]): line["quantity"] for line in each["lines"]})
    return returned


def units_out(row: ReservationRow) -> dict[UUID, int]:
    """What was deducted and has not come back, by product."""
    returned = returned_units(row)
    left = {product_id: quantity - returned[product_id] for product_id, quantity in units(row).items()}
    return {product_id: quantity for product_id, quantity in left.items() if quantity}


def hold_longer(order_id: UUID, hold_for: timedelta) -> None:
    """Hold an active reservation, which the caller has locked, for at least that long from now."""
    sooner = ReservationRow.objects.filter(pk=order_id, expires_at__lt=later(hold_for))
    sooner.update(expires_at=later(hold_for))


def to_reservation(row: ReservationRow) -> Reservation:
    """The reservation as others see it."""
    return Reservation(
        order_id=row.order_id,
        state=ReservationState(row.state),
        lines=[StockLine(product_id=UUID(line["product_id"]), quantity=line["quantity"]) for line in row.lines],
        returned=[StockLine(product_id=key, quantity=units) for key, units in returned_units(row).items()],
        expires_at=row.expires_at,
    )
