"""The lines of a reservation, as its row keeps them."""

from collections.abc import Iterable
from decimal import Decimal
from typing import Any
from uuid import UUID

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


def to_reservation(row: ReservationRow) -> Reservation:
    """The reservation as others see it."""
    return Reservation(
        order_id=row.order_id,
        state=ReservationState(row.state),
        lines=[StockLine(product_id=UUID(line["product_id"]), quantity=line["quantity"]) for line in row.lines],
        expires_at=row.expires_at,
    )
