"""What becomes of reserved stock: deducted when the order is paid, given back when it has ended or is refunded."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from apps.products import metrics
from apps.products.interface import MovementKind, ReservationState, StockReturn
from apps.products.models import Reservation, StockMovement
from apps.products.services.ledger import book
from apps.products.services.levels import Shift
from apps.products.services.reserved import units, units_out
from apps.products.services.shortage import shift_all


@dataclass(frozen=True)
class Settlement:
    """A locked reservation's move to another state, and what it does to levels and ledger. `returned` is what the row
    notes as having come back by it.
    """

    row: Reservation
    state: ReservationState
    shifts: Mapping[UUID, Shift]
    movements: Sequence[StockMovement] = ()
    returned: Sequence[Mapping[str, Any]] = ()

    @property
    def changes_nothing(self) -> bool:
        return self.state == self.row.state and not self.returned


def settle(settlements: Sequence[Settlement], *, released_as: str = metrics.RELEASED) -> None:
    """Carry them out, in a number of statements that does not depend on theirs; those that are released are counted
    as what is given.

    Raises:
        OutOfStock: what is to be deducted, and was given back meanwhile, has gone to others.
    """
    settlements = [settlement for settlement in settlements if not settlement.changes_nothing]
    for state in {settlement.state for settlement in settlements}:
        moved = [settlement.row.order_id for settlement in settlements if settlement.state == state]
        Reservation.objects.filter(pk__in=moved).update(state=state)
    # By rows of its own: should this be rolled back, and tried one by one, the locked ones are as they were.
    returning = [
        Reservation(order_id=each.row.order_id, returns=[*each.row.returns, *each.returned])
        for each in settlements
        if each.returned
    ]
    Reservation.objects.bulk_update(returning, ["returns"])
    shifts: dict[UUID, Shift] = defaultdict(Shift)
    for settlement in settlements:
        for product_id, shift in settlement.shifts.items():
            shifts[product_id] += shift
    shifted = shift_all({product_id: shift for product_id, shift in shifts.items() if shift != Shift()})
    book(shifted, [movement for settlement in settlements for movement in settlement.movements])
    moves = Counter((settlement.row.state, settlement.state) for settlement in settlements)
    active, committed, released = ReservationState
    metrics.count_reservations(metrics.COMMITTED, moves[active, committed] + moves[released, committed])
    metrics.count_reservations(released_as, moves[active, released])
    metrics.count_reservations(metrics.RETURNED, len(returning))


def to_commit(row: Reservation) -> Settlement:
    """Deduct what is held. What was given back meanwhile is taken anew, if it is still there."""
    if row.state == ReservationState.COMMITTED:
        return Settlement(row, ReservationState.COMMITTED, {})
    held = row.state == ReservationState.ACTIVE
    deltas = {product_id: -quantity for product_id, quantity in units(row).items()}
    shifts = {key: Shift(on_hand=delta, reserved=delta if held else 0) for key, delta in deltas.items()}
    movements = [
        StockMovement(product_id=key, delta=delta, kind=MovementKind.SALE, reason="order paid", order_id=row.order_id)
        for key, delta in deltas.items()
    ]
    return Settlement(row, ReservationState.COMMITTED, shifts, movements)


def to_release(row: Reservation) -> Settlement:
    """Give back what is held or, of what was deducted, all that has not come back."""
    if row.state == ReservationState.COMMITTED:
        return _taken_back(row, ReservationState.RELEASED, {row.order_id: units_out(row)}, {}, [])
    held = units(row) if row.state == ReservationState.ACTIVE else {}
    return Settlement(
        row, ReservationState.RELEASED, {key: Shift(reserved=-quantity) for key, quantity in held.items()}
    )


def to_take_back(row: Reservation, returns: Sequence[StockReturn]) -> Settlement:
    """Put back what these returns name, each once, of what was deducted. If the payment has not been heard of yet, all
    is deducted first: it must not be afterwards. What was given back meanwhile and returns as a whole stays there.
    """
    known = {each["id"] for each in row.returns}
    wanted = {
        each.return_id: {line.product_id: line.quantity for line in each.lines}
        for each in returns
        if str(each.return_id) not in known
    }
    if row.state == ReservationState.RELEASED and not _is_kept(row, wanted):
        return Settlement(row, ReservationState.RELEASED, {})
    deducted = to_commit(row)
    return _taken_back(row, ReservationState.COMMITTED, wanted, deducted.shifts, deducted.movements)


def _is_kept(row: Reservation, wanted: Mapping[UUID, Mapping[UUID, int]]) -> bool:
    """Whether the customer has, or is to have, anything once these units have come back."""
    out = Counter(units_out(row))
    for lines in wanted.values():
        out.subtract(lines)
    return any(count > 0 for count in out.values())


def _taken_back(
    row: Reservation,
    state: ReservationState,
    wanted: Mapping[UUID, Mapping[UUID, int]],
    shifts: Mapping[UUID, Shift],
    movements: Sequence[StockMovement],
) -> Settlement:
    """A settlement that, after these shifts and movements, puts units back, never more than are out."""
    out, total, booked, returned = units_out(row), defaultdict(Shift, shifts), list(movements), []
    for return_id, lines in wanted.items():
        back = {key: min(quantity, out[key]) for key, quantity in lines.items() if out.get(key)}
        for product_id, quantity in back.items():
            out[product_id] -= quantity
            total[product_id] += Shift(on_hand=quantity)
            booked.append(_return(row, return_id, product_id, quantity))
        noted = [{"product_id": str(key), "quantity": quantity} for key, quantity in back.items()]
        returned.append({"id": str(return_id), "lines": noted})
    return Settlement(row, state, total, booked, returned)


def _return(row: Reservation, return_id: UUID, product_id: UUID, quantity: int) -> StockMovement:
    return StockMovement(
        product_id=product_id,
        delta=quantity,
        kind=MovementKind.RETURN,
        reason="order given back" if return_id == row.order_id else "refunded",
        order_id=row.order_id,
        return_id=return_id,
    )
