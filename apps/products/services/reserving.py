"""Reserving stock for a new order."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from django.db import IntegrityError

from apps.common.combining import Combiner
from apps.common.databases import atomic, connection_of, later
from apps.common.errors import DomainError
from apps.products import metrics
from apps.products.interface import (
    OutOfStock,
    PricedLine,
    ProductNotFound,
    ReservationClosed,
    ReservationState,
    StockLine,
)
from apps.products.models import Reservation
from apps.products.services.checking import check_hold, check_lines
from apps.products.services.holding import Wanted, hold
from apps.products.services.levels import Shift
from apps.products.services.prices import offers, price
from apps.products.services.reserved import hold_longer, pack, unpack
from apps.products.services.shortage import out_of_stock, shift_all

Answer = Sequence[PricedLine]


@dataclass(frozen=True)
class Wish:
    """What is asked of `reserve_stock`."""

    order_id: UUID
    lines: Sequence[StockLine]
    hold_for: timedelta


class Reserving:
    """The part of the products service that takes orders' stock off the shelves."""

    def reserve_stock(self, *, order_id: UUID, lines: Sequence[StockLine], hold_for: timedelta) -> Sequence[PricedLine]:
        check_lines(lines)
        check_hold(hold_for)
        try:
            return self._fulfil(Wish(order_id, lines, hold_for))
        except OutOfStock:
            metrics.RESERVATIONS.labels(metrics.REFUSED).inc()
            raise

    def _fulfil(self, wish: Wish) -> Answer:
        connection = connection_of("products")
        if connection.vendor != "postgresql" or not wish.lines:
            return _reserve(wish)
        if connection.in_atomic_block:
            (answer,) = _reserve_together([wish])
            if isinstance(answer, Exception):
                raise answer
            return answer
        return _combined.ask(wish)


def _reserve(wish: Wish) -> Answer:
    """Reserve by the ORM, on any database."""
    try:
        priced = price(wish.lines)
    except ProductNotFound as error:
        return _repeat(wish, error)
    try:
        with atomic("products"):
            Reservation.objects.create(order_id=wish.order_id, lines=pack(priced), expires_at=later(wish.hold_for))
            shift_all({line.product_id: Shift(reserved=line.quantity) for line in wish.lines})
            metrics.count_reservations(metrics.HELD)
    except IntegrityError as error:
        return _repeat(wish, error)
    return priced


def _reserve_together(wishes: Sequence[Wish]) -> Sequence[Answer | Exception]:
    """Reserve for many orders by a few statements, on PostgreSQL."""
    known = offers({line.product_id for wish in wishes for line in wish.lines})
    answers: dict[int, Answer | Exception] = {}
    waiting: dict[int, tuple[Wish, list[PricedLine]]] = {}
    for place, wish in enumerate(wishes):
        try:
            waiting[place] = wish, price(wish.lines, known)
        except ProductNotFound as error:
            answers[place] = _outcome(wish, error)
    while waiting:
        # Of two wishes of one order, the second is a repetition.
        batch = {wish.order_id: place for place, (wish, _) in reversed(waiting.items())}
        places = sorted(batch.values())
        chosen = (waiting[place] for place in places)
        verdicts = hold([Wanted(wish.order_id, priced, wish.hold_for) for wish, priced in chosen])
        for place, verdict in zip(places, verdicts, strict=True):
            wish, priced = waiting[place]
            if verdict.is_held:
                answers[place] = priced
            elif verdict.is_known:
                answers[place] = _outcome(wish)
            elif verdict.available is not None:
                answers[place] = _out_of_stock(priced, verdict.available)
            else:
                continue
            del waiting[place]
    return [answers[place] for place in range(len(wishes))]


def _out_of_stock(lines: Sequence[PricedLine], available: Mapping[str, int]) -> OutOfStock:
    left = {line.product_id: available[str(line.product_id)] for line in lines}
    short = {line.product_id: line.quantity for line in lines if line.quantity > left[line.product_id]}
    return out_of_stock(short, left, {line.product_id: line.name for line in lines})


def _outcome(wish: Wish, refusal: DomainError | None = None) -> Answer | Exception:
    try:
        return _repeat(wish, refusal)
    except DomainError as error:
        return error


def _repeat(wish: Wish, refusal: Exception | None = None) -> Answer:
    """The first answer to a wish that was fulfilled before, even if a product has left the shop meanwhile; held for
    longer now, if it is still held.

    Raises:
        ReservationClosed: the stock was given back meanwhile.
        Exception: the refusal, if the order never had a reservation.
    """
    with atomic("products"):
        row = Reservation.objects.select_for_update().filter(pk=wish.order_id).first()
        if row is None and refusal is not None:
            raise refusal
        if row is None or row.state == ReservationState.RELEASED:
            raise ReservationClosed("The order's stock was given back meanwhile. Place the order anew.")
        if row.state == ReservationState.ACTIVE:
            hold_longer(wish.order_id, wish.hold_for)
        return unpack(row)


_combined: Combiner[Wish, Answer] = Combiner(_reserve_together)
