"""Inventory: what is on hand, what is promised to orders, and a ledger line for every unit that came or went."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from uuid import UUID

from django.conf import settings
from django.db import IntegrityError
from django.utils import timezone

from apps.common.databases import atomic
from apps.common.errors import DomainError, Problem
from apps.common.money import quantize
from apps.events.outbox import publish
from apps.products import events
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
)
from apps.products.models import MAX_STOCK, Product, StockMovement
from apps.products.models import Reservation as ReservationRow
from apps.products.models import StockLevel as LevelRow
from apps.products.services.levels import Shift, Shifted, levels_of, shift_levels
from apps.products.services.reserved import pack, to_reservation, units_out, unpack

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
        _check_sold(product_id)
        with atomic("products"):
            row, _ = LevelRow.objects.select_for_update().get_or_create(product_id=product_id)
            change = delta if delta is not None else (on_hand or 0) - row.on_hand
            check_on_hand(row.on_hand + change, reserved=row.reserved)
            if not change:
                return StockLevel(product_id=product_id, on_hand=row.on_hand, reserved=row.reserved)
            shifted = shift_levels({product_id: Shift(on_hand=change)})
            _book(shifted, {product_id: change}, MovementKind.ADJUSTMENT, reason=reason, actor_id=actor_id)
        return shifted[product_id].level

    def reserve_stock(
        self, *, order_id: UUID, lines: Sequence[StockLine], expires_at: datetime
    ) -> Sequence[PricedLine]:
        try:
            priced = _price(lines)
        except ProductNotFound:
            # A repetition gets its first answer even if a product has left the shop meanwhile.
            if first := ReservationRow.objects.filter(pk=order_id).first():
                return _first_answer(first)
            raise
        try:
            with atomic("products"):
                ReservationRow.objects.create(order_id=order_id, lines=pack(priced), expires_at=expires_at)
                _shift_all({line.product_id: Shift(reserved=line.quantity) for line in lines})
        except IntegrityError:
            with atomic("products"):
                first = ReservationRow.objects.select_for_update().filter(pk=order_id).first()
                if first is None:
                    raise
                if first.state == ReservationState.ACTIVE and first.expires_at < expires_at:
                    first.expires_at = expires_at
                    first.save(update_fields=["expires_at"])
                return _first_answer(first)
        return priced

    def replace_reservation(
        self, *, order_id: UUID, change: int, lines: Sequence[StockLine], expires_at: datetime
    ) -> Sequence[PricedLine]:
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
                    priced = _replace_lines(row, lines, expires_at)
            except (OutOfStock, ProductNotFound) as error:
                refusal = error
        if refusal is not None:
            raise refusal
        return priced

    def extend_reservation(self, *, order_id: UUID, expires_at: datetime) -> None:
        with atomic("products"):
            row = _lock_active(order_id)
            row.expires_at = max(row.expires_at, expires_at)
            row.save(update_fields=["expires_at"])

    def commit_reservation(self, *, order_id: UUID) -> None:
        with atomic("products"):
            row = _lock(order_id)
            if row.state == ReservationState.COMMITTED:
                return
            held = row.state == ReservationState.ACTIVE
            deltas = {line.product_id: -line.quantity for line in unpack(row)}
            shifts = {key: Shift(on_hand=delta, reserved=delta if held else 0) for key, delta in deltas.items()}
            try:
                # A transaction within, since taking stock anew may fail half way.
                with atomic("products"):
                    shifted = _shift_all(shifts)
            except OutOfStock:
                if held:
                    raise
                publish("products", events.reservation_lost_fact(order_id))
                return
            _set_state(row, ReservationState.COMMITTED)
            _book(shifted, deltas, MovementKind.SALE, reason="order paid", order_id=order_id)

    def release_reservation(self, *, order_id: UUID) -> None:
        with atomic("products"):
            row = ReservationRow.objects.select_for_update().filter(pk=order_id).first()
            if row is not None:
                _release(row)

    def return_stock(self, *, order_id: UUID, return_id: UUID, lines: Sequence[StockLine]) -> None:
        with atomic("products"):
            row = _lock(order_id)
            if row.state == ReservationState.ACTIVE:
                # Its payment has not been heard of yet, and must not deduct afterwards what came back before.
                self.commit_reservation(order_id=order_id)
                row.refresh_from_db()
            if row.state == ReservationState.COMMITTED and str(return_id) not in {each["id"] for each in row.returns}:
                _take_back(row, return_id, {line.product_id: line.quantity for line in lines})

    def release_expired_reservations(self) -> int:
        now = timezone.now()
        overdue = ReservationRow.objects.filter(state=ReservationState.ACTIVE, expires_at__lt=now)
        released = 0
        for order_id in list(overdue.order_by("expires_at").values_list("order_id", flat=True)[:_SWEEP]):
            with atomic("products"):
                # Looked at again under the lock: it may have been extended, because it is being paid.
                row = overdue.select_for_update().filter(pk=order_id).first()
                if row is not None:
                    _release(row)
                    released += 1
        return released

    def list_reservations(self, *, order_ids: Sequence[UUID]) -> Sequence[Reservation]:
        return [to_reservation(row) for row in ReservationRow.objects.filter(pk__in=order_ids)]

    def list_active_reservations(self, *, after: UUID | None, limit: int) -> Sequence[Reservation]:
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


def _price(lines: Sequence[StockLine]) -> list[PricedLine]:
    """The lines with what their products are called and cost now.

    Raises:
        ProductNotFound: names each line whose product is unknown or no longer sold.
    """
    if not lines:
        return []
    sold = Product.objects.filter(pk__in=[line.product_id for line in lines], active=True, deleted_at=None)
    products = {row["id"]: row for row in sold.values("id", "name", "sku", "price", "currency")}
    missing = [line.product_id for line in lines if line.product_id not in products]
    if missing:
        raise ProductNotFound(*(Problem(f"Product {key} is not sold here.", attr=f"items.{key}") for key in missing))
    return [
        PricedLine(
            product_id=line.product_id,
            quantity=line.quantity,
            name=product["name"],
            sku=product["sku"],
            price=quantize(product["price"], product["currency"]),
            currency=product["currency"],
        )
        for line in lines
        for product in [products[line.product_id]]
    ]


def _shift_all(shifts: Mapping[UUID, Shift]) -> dict[UUID, Shifted]:
    """Change all these levels.

    Raises:
        OutOfStock: names each product that has too little, with what is available.
    """
    if not shifts:
        return {}
    shifted = shift_levels(shifts)
    short = [product_id for product_id in shifts if product_id not in shifted]
    if not short:
        return shifted
    levels = levels_of(short)
    names = dict(Product.objects.filter(pk__in=short).values_list("id", "name"))
    problems = []
    for product_id in short:
        wanted = shifts[product_id].reserved or -shifts[product_id].on_hand
        available = levels[product_id].available if product_id in levels else 0
        detail = f"{names.get(product_id, 'It')}: {wanted} more wanted, {available} available (product {product_id})."
        problems.append(Problem(detail, attr=f"items.{product_id}"))
    raise OutOfStock(*problems)


def _book(
    shifted: Mapping[UUID, Shifted],
    deltas: Mapping[UUID, int],
    kind: MovementKind,
    *,
    reason: str,
    order_id: UUID | None = None,
    return_id: UUID | None = None,
    actor_id: UUID | None = None,
) -> None:
    """Write the ledger lines of a change of what is on hand, and tell of it."""
    StockMovement.objects.bulk_create(
        StockMovement(
            product_id=key,
            delta=delta,
            kind=kind,
            reason=reason,
            order_id=order_id,
            return_id=return_id,
            actor_id=actor_id,
        )
        for key, delta in deltas.items()
    )
    facts = []
    for product_id, now in shifted.items():
        facts.append(events.stock_fact(events.STOCK_CHANGED, now.level, now.version))
        before = now.level.on_hand - deltas[product_id]
        if now.level.on_hand <= settings.LOW_STOCK_THRESHOLD < before:
            facts.append(events.stock_fact(events.STOCK_LOW, now.level, now.version))
    publish("products", *facts)


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


def _replace_lines(row: ReservationRow, lines: Sequence[StockLine], expires_at: datetime) -> list[PricedLine]:
    """Hold these lines instead of the locked row's. A line that stays keeps the price at which it was ordered."""
    kept = {line.product_id: line for line in unpack(row)}
    fresh = {line.product_id: line for line in _price([line for line in lines if line.product_id not in kept])}
    priced = [replace({**kept, **fresh}[line.product_id], quantity=line.quantity) for line in lines]
    # While the order is being paid it is held for longer; a change that comes late must not shorten that.
    row.expires_at = max(row.expires_at, expires_at)
    row.lines = pack(priced)
    row.save(update_fields=["lines", "expires_at"])
    more = Counter({line.product_id: line.quantity for line in lines})
    more.subtract({line.product_id: line.quantity for line in kept.values()})
    _shift_all({product_id: Shift(reserved=units) for product_id, units in more.items() if units})
    return priced


def _answer_again(row: ReservationRow, change: int, lines: Sequence[StockLine]) -> list[PricedLine]:
    """The answer to a change that was asked for before."""
    held = unpack(row)
    wanted = {line.product_id: line.quantity for line in lines}
    if change == row.change and {line.product_id: line.quantity for line in held} == wanted:
        return held
    raise ChangeOvertaken("The order has been changed again meanwhile, or this change was refused.")


def _release(row: ReservationRow) -> None:
    """Give back what a locked reservation holds, or has deducted; nothing if it was given back before."""
    if row.state == ReservationState.RELEASED:
        return
    if row.state == ReservationState.ACTIVE:
        _shift_all({line.product_id: Shift(reserved=-line.quantity) for line in unpack(row)})
    else:
        _take_back(row, row.order_id, units_out(row))
    _set_state(row, ReservationState.RELEASED)


def _take_back(row: ReservationRow, return_id: UUID, wanted: Mapping[UUID, int]) -> None:
    """Put units of a locked reservation back, of those that were deducted and have not come back yet."""
    out = units_out(row)
    units = {key: min(quantity, out[key]) for key, quantity in wanted.items() if key in out}
    lines = [{"product_id": str(key), "quantity": quantity} for key, quantity in units.items()]
    row.returns = [*row.returns, {"id": str(return_id), "lines": lines}]
    row.save(update_fields=["returns"])
    shifted = _shift_all({key: Shift(on_hand=quantity) for key, quantity in units.items()})
    reason = "order given back" if return_id == row.order_id else "refunded"
    _book(shifted, units, MovementKind.RETURN, reason=reason, order_id=row.order_id, return_id=return_id)


def _set_state(row: ReservationRow, state: ReservationState) -> None:
    row.state = state
    row.save(update_fields=["state"])


def _first_answer(row: ReservationRow) -> list[PricedLine]:
    if row.state == ReservationState.RELEASED:
        raise ReservationClosed("The order's stock was given back meanwhile. Place the order anew.")
    return unpack(row)
