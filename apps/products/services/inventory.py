"""Inventory: what is on hand, what is promised to orders, and a ledger line for every unit that came or went."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from types import MappingProxyType
from uuid import UUID

from django.db.models.functions import Now

from apps.common.databases import atomic
from apps.common.errors import DomainError, InvalidInput, Problem
from apps.events.outbox import publish
from apps.products import events, metrics
from apps.products.interface import (
    ChangeOvertaken,
    MovementKind,
    OutOfStock,
    PricedLine,
    ProductNotFound,
    Reservation,
    ReservationClosed,
    ReservationNotFound,
    ReservationState,
    StockBelowReserved,
    StockLevel,
    StockLimit,
    StockLine,
    StockReturn,
)
from apps.products.models import MAX_STOCK, Product, StockMovement
from apps.products.models import Reservation as ReservationRow
from apps.products.models import StockLevel as LevelRow
from apps.products.services.checking import check_adjustment, check_hold, check_lines
from apps.products.services.ledger import book
from apps.products.services.levels import Shift, levels_of, shift_levels
from apps.products.services.prices import price
from apps.products.services.reserved import hold_longer, pack, to_reservation, unpack
from apps.products.services.settling import Settlement, settle, to_commit, to_release, to_take_back
from apps.products.services.shortage import shift_all

_SWEEP = 500


class Inventory:
    """The part of the products service that keeps count."""

    def get_stock(self, *, product_id: UUID) -> StockLevel:
        _check_sold(product_id)
        return levels_of([product_id]).get(product_id) or StockLevel(product_id=product_id, on_hand=0, reserved=0)

    def adjust_stock(
        self,
        *,
        product_id: UUID,
        reason: str,
        actor_id: UUID | None = None,
        delta: int | None = None,
        on_hand: int | None = None,
    ) -> StockLevel:
        check_adjustment(reason, delta, on_hand)
        _check_sold(product_id)
        with atomic("products"):
            row, _ = LevelRow.objects.select_for_update().get_or_create(product_id=product_id)
            change = delta if delta is not None else (on_hand or 0) - row.on_hand
            check_on_hand(row.on_hand + change, reserved=row.reserved)
            if not change:
                return StockLevel(product_id=product_id, on_hand=row.on_hand, reserved=row.reserved)
            shifted = shift_levels({product_id: Shift(on_hand=change)})
            kind = MovementKind.ADJUSTMENT
            line = StockMovement(product_id=product_id, delta=change, kind=kind, reason=reason, actor_id=actor_id)
            book(shifted, [line])
        return shifted[product_id].level

    def replace_reservation(self, *, order_id: UUID, change: int, lines: Sequence[StockLine]) -> Sequence[PricedLine]:
        check_lines(lines)
        refusal: DomainError | None = None
        with atomic("products"):
            row = _lock_active(order_id)
            if change <= row.change:
                return _answer_again(row, change, lines)
            # Noted even if it is refused: a process that was held up must not carry it out after all.
            row.change = change
            row.save(update_fields=["change"])
            try:
                with atomic("products"):
                    priced = _replace_lines(row, lines)
            except (OutOfStock, ProductNotFound) as error:
                refusal = error
        if refusal is not None:
            raise refusal
        return priced

    def extend_reservation(self, *, order_id: UUID, hold_for: timedelta) -> None:
        check_hold(hold_for)
        with atomic("products"):
            _lock_active(order_id)
            hold_longer(order_id, hold_for)

    def commit_reservation(self, *, order_id: UUID) -> None:
        self.settle_reservations(commit=[order_id])

    def release_reservation(self, *, order_id: UUID) -> None:
        self.settle_reservations(release=[order_id])

    def settle_reservations(
        self,
        *,
        commit: Sequence[UUID] = (),
        release: Sequence[UUID] = (),
        returns: Mapping[UUID, Sequence[StockReturn]] = MappingProxyType({}),
    ) -> None:
        with atomic("products"):
            wanted = [*commit, *release, *returns]
            found = ReservationRow.objects.select_for_update().filter(pk__in=wanted).order_by("order_id")
            rows = {row.order_id: row for row in found}
            if not rows.keys() >= {*commit, *returns}:
                raise ReservationNotFound("No stock was reserved for this order.")
            settlements = [
                *(to_commit(rows[order_id]) for order_id in commit),
                *(to_release(rows[order_id]) for order_id in release if order_id in rows),
                *(to_take_back(rows[order_id], returned) for order_id, returned in returns.items()),
            ]
            try:
                # A transaction within, since taking stock anew may fail half way.
                with atomic("products"):
                    settle(settlements)
            except OutOfStock:
                for settlement in settlements:
                    _settle_or_give_up(settlement)

    def release_expired_reservations(self) -> int:
        overdue = ReservationRow.objects.filter(state=ReservationState.ACTIVE, expires_at__lt=Now())
        released = 0
        for order_id in list(overdue.order_by("expires_at").values_list("order_id", flat=True)[:_SWEEP]):
            with atomic("products"):
                # Looked at again under the lock: it may have been extended, because it is being paid.
                row = overdue.select_for_update().filter(pk=order_id).first()
                if row is not None:
                    settle([to_release(row)], released_as=metrics.EXPIRED)
                    released += 1
        return released

    def list_reservations(self, *, order_ids: Sequence[UUID]) -> Sequence[Reservation]:
        return [to_reservation(row) for row in ReservationRow.objects.filter(pk__in=order_ids)]

    def list_active_reservations(self, *, after: UUID | None, limit: int) -> Sequence[Reservation]:
        if limit < 1:
            raise InvalidInput(Problem("Ensure this value is greater than or equal to 1.", attr="limit"))
        active = ReservationRow.objects.filter(state=ReservationState.ACTIVE)
        if after is not None:
            active = active.filter(order_id__gt=after)
        return [to_reservation(row) for row in active.order_by("order_id")[:limit]]


def add_level(product_id: UUID, quantity: int, *, actor_id: UUID | None) -> None:
    """Open a new product's level with its first stock; call it in the transaction that makes the product.

    Raises:
        StockLimit: too many units.
    """
    if quantity > MAX_STOCK:
        raise StockLimit(Problem(f"At most {MAX_STOCK} units of a product can be on hand.", attr="stock"))
    LevelRow.objects.create(product_id=product_id, on_hand=quantity)
    _book_first(product_id, quantity, actor_id)


def open_level(product_id: UUID, quantity: int) -> None:
    """Open the level of a product that has none, unless whoever made the product does so meanwhile."""
    _, is_new = LevelRow.objects.get_or_create(product_id=product_id, defaults={"on_hand": quantity})
    if is_new:
        _book_first(product_id, quantity, actor_id=None)


def _book_first(product_id: UUID, quantity: int, actor_id: UUID | None) -> None:
    if quantity:
        StockMovement.objects.create(
            product_id=product_id,
            delta=quantity,
            kind=MovementKind.ADJUSTMENT,
            reason="first stock",
            actor_id=actor_id,
        )


def check_on_hand(on_hand: int, *, reserved: int) -> None:
    """
    Raises:
        StockLimit: too many units.
        StockBelowReserved: fewer than are promised to orders.
    """
    if on_hand > MAX_STOCK:
        raise StockLimit(f"At most {MAX_STOCK} units of a product can be on hand.")
    if on_hand < reserved:
        raise StockBelowReserved(f"{reserved} units are reserved for orders; {on_hand} on hand would not be enough.")


def _check_sold(product_id: UUID) -> None:
    if not Product.objects.filter(pk=product_id, deleted_at=None).exists():
        raise ProductNotFound("There is no such product.")


def _lock(order_id: UUID) -> ReservationRow:
    """The order's reservation, locked until the caller's transaction ends.

    Raises:
        ReservationNotFound: nothing was ever reserved for the order.
    """
    row = ReservationRow.objects.select_for_update().filter(pk=order_id).first()
    if row is None:
        raise ReservationNotFound("No stock was reserved for this order.")
    return row


def _lock_active(order_id: UUID) -> ReservationRow:
    """The order's reservation, locked, as long as it holds stock.

    Raises:
        ReservationNotFound: nothing was ever reserved for the order.
        ReservationClosed: committed or released before.
    """
    row = _lock(order_id)
    if row.state != ReservationState.ACTIVE:
        raise ReservationClosed("The order's stock is no longer reserved.")
    return row


def _replace_lines(row: ReservationRow, lines: Sequence[StockLine]) -> list[PricedLine]:
    """Hold these lines instead of the locked row's. A line that stays keeps the price at which it was ordered."""
    kept = {line.product_id: line for line in unpack(row)}
    fresh = {line.product_id: line for line in price([line for line in lines if line.product_id not in kept])}
    priced = [replace({**kept, **fresh}[line.product_id], quantity=line.quantity) for line in lines]
    row.lines = pack(priced)
    row.save(update_fields=["lines"])
    more = Counter({line.product_id: line.quantity for line in lines})
    more.subtract({line.product_id: line.quantity for line in kept.values()})
    shift_all({product_id: Shift(reserved=units) for product_id, units in more.items() if units})
    return priced


def _answer_again(row: ReservationRow, change: int, lines: Sequence[StockLine]) -> list[PricedLine]:
    """The answer to a change that was asked for before."""
    held = unpack(row)
    wanted = {line.product_id: line.quantity for line in lines}
    if change == row.change and {line.product_id: line.quantity for line in held} == wanted:
        return held
    raise ChangeOvertaken("The order has been changed again meanwhile, or this change was refused.")


def _settle_or_give_up(settlement: Settlement) -> None:
    """Settle one reservation; if what it held has gone to others, say so."""
    try:
        with atomic("products"):
            settle([settlement])
    except OutOfStock:
        if settlement.row.state == ReservationState.ACTIVE:
            raise
        publish("products", events.reservation_lost_fact(settlement.row.order_id))
