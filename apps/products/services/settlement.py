"""What becomes of reserved stock: deducted when the order is paid, given back when it has ended."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from apps.products.interface import MovementKind, ReservationState
from apps.products.models import Reservation, StockMovement
from apps.products.services.levels import Shift
from apps.products.services.reserved import units


@dataclass(frozen=True)
class Settlement:
    """What a locked reservation's move to another state does to levels and ledger; nothing if it is there already."""

    row: Reservation
    state: ReservationState
    shifts: Mapping[UUID, Shift]
    movements: Sequence[StockMovement] = ()


def to_commit(row: Reservation) -> Settlement:
    """Deduct what is held. What was given back meanwhile is taken anew, if it is still there."""
    deltas = {product_id: -quantity for product_id, quantity in units(row).items()}
    held = row.state == ReservationState.ACTIVE
    shifts = {key: Shift(on_hand=delta, reserved=delta if held else 0) for key, delta in deltas.items()}
    movements = _movements(row, deltas, MovementKind.SALE, "order paid")
    return Settlement(row, ReservationState.COMMITTED, shifts, movements)


def to_release(row: Reservation) -> Settlement:
    """Give back what is held, or has been deducted."""
    quantities = units(row)
    if row.state == ReservationState.ACTIVE:
        shifts = {key: Shift(reserved=-quantity) for key, quantity in quantities.items()}
        return Settlement(row, ReservationState.RELEASED, shifts)
    shifts = {key: Shift(on_hand=quantity) for key, quantity in quantities.items()}
    movements = _movements(row, quantities, MovementKind.RETURN, "order given back")
    return Settlement(row, ReservationState.RELEASED, shifts, movements)


def _movements(row: Reservation, deltas: Mapping[UUID, int], kind: MovementKind, reason: str) -> list[StockMovement]:
    return [
        StockMovement(product_id=key, delta=delta, kind=kind, reason=reason, order_id=row.order_id)
        for key, delta in deltas.items()
    ]
