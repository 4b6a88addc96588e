"""Inventory: what is on hand, what is promised to orders, and a ledger line for every unit that came or went."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from itertools import groupby
from uuid import UUID

from django.conf import settings
from django.db import IntegrityError
from django.utils import timezone

from apps.common.databases import atomic
from apps.common.errors import Problem
from apps.common.money import quantize
from apps.events.outbox import publish
from apps.products import events
from apps.products.interface import (
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
            if row.on_hand + change > MAX_STOCK:
                raise StockLimit(f"At most {MAX_STOCK} units of a product can be on hand.")
            if row.on_hand + change < row.reserved:
                raise StockBelowReserved(
                    f"{row.reserved} units are reserved for orders; {row.on_hand + change} on hand would not be enough."
                )
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
            if not ReservationRow.objects.filter(order_id=order_id).exists():
                raise
            return _first_answer(order_id, lines)
        try:
            with atomic("products"):
                ReservationRow.objects.bulk_create(_to_row(order_id, line, expires_at) for line in priced)
                _hold({line.product_id: line.quantity for line in lines})
        except IntegrityError:
            return _first_answer(order_id, lines)
        return priced

    def replace_reservation(
        self, *, order_id: UUID, lines: Sequence[StockLine], expires_at: datetime
    ) -> Sequence[PricedLine]:
        with atomic("products"):
            rows = _lock(order_id)
            if rows[0].state != ReservationState.ACTIVE:
                raise ReservationClosed("The order's stock is no longer reserved.")
            # A line that stays keeps the price at which it was ordered.
            kept = {row.product_id: row for row in rows}
            fresh = {line.product_id: line for line in _price([ln for ln in lines if ln.product_id not in kept])}
            priced = [fresh.get(line.product_id) or _to_priced(kept[line.product_id], line.quantity) for line in lines]
            ReservationRow.objects.filter(order_id=order_id).delete()
            ReservationRow.objects.bulk_create(_to_row(order_id, line, expires_at) for line in priced)
            change = Counter({line.product_id: line.quantity for line in lines})
            change.subtract({row.product_id: row.quantity for row in rows})
            _hold({product_id: more for product_id, more in change.items() if more})
        return priced

    def extend_reservation(self, *, order_id: UUID, expires_at: datetime) -> None:
        rows = ReservationRow.objects.filter(order_id=order_id)
        if rows.filter(state=ReservationState.ACTIVE).update(expires_at=expires_at):
            return
        if rows.exists():
            raise ReservationClosed("The order's stock is no longer reserved.")
        raise ReservationNotFound("No stock was reserved for this order.")

    def commit_reservation(self, *, order_id: UUID) -> None:
        with atomic("products"):
            rows = _lock(order_id)
            if rows[0].state == ReservationState.COMMITTED:
                return
            held = rows[0].state == ReservationState.ACTIVE
            shifts = {
                row.product_id: Shift(on_hand=-row.quantity, reserved=-row.quantity if held else 0) for row in rows
            }
            try:
                with atomic("products"):
                    shifted = _shift_all(shifts)
            except OutOfStock:
                if held:
                    raise
                publish("products", events.reservation_lost_fact(order_id))
                return
            _set_state(order_id, ReservationState.COMMITTED)
            deltas = {row.product_id: -row.quantity for row in rows}
            _book(shifted, deltas, MovementKind.SALE, reason="order paid", order_id=order_id)

    def release_reservation(self, *, order_id: UUID) -> None:
        with atomic("products"):
            rows = list(ReservationRow.objects.select_for_update().filter(order_id=order_id).order_by("product_id"))
            if not rows or rows[0].state == ReservationState.RELEASED:
                return
            held = rows[0].state == ReservationState.ACTIVE
            _set_state(order_id, ReservationState.RELEASED)
            if held:
                _shift_all({row.product_id: Shift(reserved=-row.quantity) for row in rows})
                return
            deltas = {row.product_id: row.quantity for row in rows}
            shifted = _shift_all({product_id: Shift(on_hand=delta) for product_id, delta in deltas.items()})
            _book(shifted, deltas, MovementKind.RETURN, reason="order given back", order_id=order_id)

    def release_expired_reservations(self) -> int:
        overdue = ReservationRow.objects.filter(state=ReservationState.ACTIVE, expires_at__lt=timezone.now())
        order_ids = set(overdue.values_list("order_id", flat=True)[:_SWEEP])
        for order_id in order_ids:
            self.release_reservation(order_id=order_id)
        return len(order_ids)

    def list_reservations(self, *, order_ids: Sequence[UUID]) -> Sequence[Reservation]:
        return _to_reservations(ReservationRow.objects.filter(order_id__in=order_ids).order_by("order_id"))

    def list_active_reservations(self, *, after: UUID | None, limit: int) -> Sequence[Reservation]:
        active = ReservationRow.objects.filter(state=ReservationState.ACTIVE)
        if after is not None:
            active = active.filter(order_id__gt=after)
        page = active.order_by("order_id").values_list("order_id", flat=True).distinct()[:limit]
        return _to_reservations(active.filter(order_id__in=list(page)).order_by("order_id"))


def add_level(product_id: UUID, quantity: int, *, reason: str, actor_id: UUID | None) -> None:
    """Open a new product's level with its first stock; call it in the transaction that makes the product.

    Raises:
        StockLimit: too many units.
    """
    if quantity > MAX_STOCK:
        raise StockLimit(Problem(f"At most {MAX_STOCK} units of a product can be on hand.", attr="stock"))
    LevelRow.objects.create(product_id=product_id, on_hand=quantity)
    if quantity:
        StockMovement.objects.create(
            product_id=product_id, delta=quantity, kind=MovementKind.ADJUSTMENT, reason=reason, actor_id=actor_id
        )


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


def _hold(quantities: Mapping[UUID, int]) -> None:
    """Reserve units (or give some back, if negative), all or nothing: the caller's transaction rolls back."""
    _shift_all({product_id: Shift(reserved=quantity) for product_id, quantity in quantities.items()})


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
    actor_id: UUID | None = None,
) -> None:
    """Write the ledger lines of a change of what is on hand, and tell of it."""
    StockMovement.objects.bulk_create(
        StockMovement(product_id=key, delta=delta, kind=kind, reason=reason, order_id=order_id, actor_id=actor_id)
        for key, delta in deltas.items()
    )
    facts = []
    for product_id, now in shifted.items():
        facts.append(events.stock_fact(events.STOCK_CHANGED, now.level, now.version))
        before = now.level.on_hand - deltas[product_id]
        if now.level.on_hand <= settings.LOW_STOCK_THRESHOLD < before:
            facts.append(events.stock_fact(events.STOCK_LOW, now.level, now.version))
    publish("products", *facts)


def _lock(order_id: UUID) -> list[ReservationRow]:
    """The order's reserved lines, locked in the order in which everybody locks them.

    Raises:
        ReservationNotFound: nothing was ever reserved for the order.
    """
    rows = list(ReservationRow.objects.select_for_update().filter(order_id=order_id).order_by("product_id"))
    if not rows:
        raise ReservationNotFound("No stock was reserved for this order.")
    return rows


def _set_state(order_id: UUID, state: ReservationState) -> None:
    ReservationRow.objects.filter(order_id=order_id).update(state=state)


def _first_answer(order_id: UUID, lines: Sequence[StockLine]) -> list[PricedLine]:
    rows = {row.product_id: row for row in ReservationRow.objects.filter(order_id=order_id)}
    if any(row.state == ReservationState.RELEASED for row in rows.values()):
        raise ReservationClosed("The order's stock was given back meanwhile. Place the order anew.")
    return [_to_priced(rows[line.product_id], rows[line.product_id].quantity) for line in lines]


def _to_row(order_id: UUID, line: PricedLine, expires_at: datetime) -> ReservationRow:
    return ReservationRow(
        order_id=order_id,
        product_id=line.product_id,
        quantity=line.quantity,
        name=line.name,
        sku=line.sku,
        price=line.price,
        currency=line.currency,
        expires_at=expires_at,
    )


def _to_priced(row: ReservationRow, quantity: int) -> PricedLine:
    return PricedLine(
        product_id=row.product_id,
        quantity=quantity,
        name=row.name,
        sku=row.sku,
        price=quantize(row.price, row.currency),
        currency=row.currency,
    )


def _to_reservations(rows: Iterable[ReservationRow]) -> list[Reservation]:
    return [_to_reservation(order_id, list(group)) for order_id, group in groupby(rows, key=lambda row: row.order_id)]


def _to_reservation(order_id: UUID, rows: Sequence[ReservationRow]) -> Reservation:
    return Reservation(
        order_id=order_id,
        state=ReservationState(rows[0].state),
        lines=[StockLine(product_id=row.product_id, quantity=row.quantity) for row in rows],
        expires_at=rows[0].expires_at,
    )
