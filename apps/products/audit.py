"""What must hold of stock, for `manage.py audit`."""

from collections.abc import Iterator
from datetime import timedelta

from django.db.models import F, OuterRef, Q, Subquery, Sum
from django.db.models.functions import Coalesce
from django.utils import timezone

from apps.common.audit import Rule
from apps.products.catalogue_audit import CATALOGUE_RULES
from apps.products.interface import MovementKind, ReservationState
from apps.products.models import Reservation, StockLevel, StockMovement

# Housekeeping runs every minute; what is overdue for longer was forgotten.
_GRACE = timedelta(minutes=10)


def _ledger() -> Iterator[str]:
    booked = StockMovement.objects.filter(product_id=OuterRef("product_id")).order_by().values("product_id")
    levels = StockLevel.objects.annotate(booked=Coalesce(Subquery(booked.annotate(sum=Sum("delta")).values("sum")), 0))
    for row in levels.exclude(on_hand=F("booked")).iterator():
        yield f"product {row.product_id}: {row.on_hand} on hand, but the ledger adds up to {row.booked}"


def _reserved() -> Iterator[str]:
    active = Reservation.objects.filter(product_id=OuterRef("product_id"), state=ReservationState.ACTIVE)
    held = active.order_by().values("product_id").annotate(sum=Sum("quantity")).values("sum")
    for row in StockLevel.objects.annotate(held=Coalesce(Subquery(held), 0)).exclude(reserved=F("held")).iterator():
        yield f"product {row.product_id}: {row.reserved} reserved, but reservations hold {row.held}"


def _within_bounds() -> Iterator[str]:
    for row in StockLevel.objects.filter(reserved__lt=0).union(StockLevel.objects.filter(reserved__gt=F("on_hand"))):
        yield f"product {row.product_id}: {row.reserved} reserved of {row.on_hand} on hand"


def _sales() -> Iterator[str]:
    """Each reserved line that was deducted, or given back after that, against the ledger."""
    lines = Reservation.objects.annotate(
        sold=_booked(MovementKind.SALE), returned=_booked(MovementKind.RETURN)
    ).exclude(state=ReservationState.ACTIVE)
    deducted = Q(state=ReservationState.COMMITTED, sold=-F("quantity"), returned=0)
    given_back = Q(state=ReservationState.RELEASED, sold=-F("returned"))
    for row in lines.exclude(deducted | given_back).iterator():
        yield (
            f"order {row.order_id}: {row.quantity} of product {row.product_id} are {row.state}, but the ledger has "
            f"{row.sold} sold and {row.returned} returned"
        )


def _booked(kind: MovementKind) -> Coalesce:
    movement = StockMovement.objects.filter(order_id=OuterRef("order_id"), product_id=OuterRef("product_id"), kind=kind)
    return Coalesce(Subquery(movement.values("delta")[:1]), 0)


def _overdue() -> Iterator[str]:
    overdue = Reservation.objects.filter(state=ReservationState.ACTIVE, expires_at__lt=timezone.now() - _GRACE)
    for row in overdue.iterator():
        yield f"order {row.order_id}: {row.quantity} of product {row.product_id} held since {row.expires_at}"


def _without_level() -> Iterator[str]:
    known = StockLevel.objects.filter(product_id=OuterRef("product_id")).values("product_id")
    missing = StockMovement.objects.annotate(level=Subquery(known)).filter(level=None)
    for product_id in missing.order_by().values_list("product_id", flat=True).distinct():
        yield f"product {product_id}: the ledger knows it, but it has no level"


RULES = [
    Rule("on hand equals the sum of the ledger", StockLevel.objects.count, _ledger),
    Rule("reserved equals the sum of active reservations", StockLevel.objects.count, _reserved),
    Rule("0 <= reserved <= on hand", StockLevel.objects.count, _within_bounds),
    Rule("every product in the ledger has a level", StockMovement.objects.count, _without_level),
    Rule("every deducted order is in the ledger, and only those", Reservation.objects.count, _sales),
    Rule("no reservation is held past its time", Reservation.objects.count, _overdue),
    *CATALOGUE_RULES,
]
