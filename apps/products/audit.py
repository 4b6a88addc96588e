"""What must hold of stock, for `manage.py audit`."""

from collections import defaultdict
from collections.abc import Iterator
from datetime import timedelta
from uuid import UUID

from django.db.models import F, OuterRef, Subquery, Sum
from django.db.models.functions import Coalesce
from django.utils import timezone

from apps.common.audit import Rule
from apps.common.databases import connection_of
from apps.products.catalogue_audit import CATALOGUE_RULES
from apps.products.interface import MovementKind, ReservationState
from apps.products.models import Reservation, StockLevel, StockMovement
from apps.products.services.reserved import units_out, unpack

# Housekeeping runs every minute; what is overdue for longer was forgotten.
_GRACE = timedelta(minutes=10)
_PAGE = 1000
# By return and product, the units that came; those that went have no return.
_Ledger = dict[tuple[UUID | None, UUID], int]
# One statement sees one moment: a shop that sells while two are run would never add up.
_HELD = {
    "postgresql": """
        WITH held AS (
            SELECT (line ->> 'product_id')::uuid AS product_id, sum((line ->> 'quantity')::bigint) AS units
            FROM products_reservation, jsonb_array_elements(lines) AS line WHERE state = 'active' GROUP BY 1
        )
        SELECT level.product_id, level.reserved, coalesce(held.units, 0)
        FROM products_stocklevel AS level LEFT JOIN held USING (product_id)
        WHERE level.reserved <> coalesce(held.units, 0)
    """,
    "sqlite": """
        WITH held AS (
            SELECT replace(line.value ->> '$.product_id', '-', '') AS product_id,
                sum(line.value ->> '$.quantity') AS units
            FROM products_reservation, json_each(products_reservation.lines) AS line WHERE state = 'active' GROUP BY 1
        )
        SELECT level.product_id, level.reserved, coalesce(held.units, 0)
        FROM products_stocklevel AS level LEFT JOIN held USING (product_id)
        WHERE level.reserved <> coalesce(held.units, 0)
    """,
}


def _ledger() -> Iterator[str]:
    booked = StockMovement.objects.filter(product_id=OuterRef("product_id")).order_by().values("product_id")
    levels = StockLevel.objects.annotate(booked=Coalesce(Subquery(booked.annotate(sum=Sum("delta")).values("sum")), 0))
    for row in levels.exclude(on_hand=F("booked")).iterator():
        yield f"product {row.product_id}: {row.on_hand} on hand, but the ledger adds up to {row.booked}"


def _reserved() -> Iterator[str]:
    connection = connection_of("products")
    with connection.cursor() as cursor:
        cursor.execute(_HELD[connection.vendor])
        for product_id, reserved, held in cursor.fetchall():
            yield f"product {UUID(str(product_id))}: {reserved} reserved, but reservations hold {held}"


def _within_bounds() -> Iterator[str]:
    for row in StockLevel.objects.filter(reserved__lt=0).union(StockLevel.objects.filter(reserved__gt=F("on_hand"))):
        yield f"product {row.product_id}: {row.reserved} reserved of {row.on_hand} on hand"


def _sales() -> Iterator[str]:
    """Each reservation against the ledger: deducted once if it was committed, and each of its returns once."""
    rows = Reservation.objects.exclude(state=ReservationState.ACTIVE).order_by("pk")
    page = list(rows[:_PAGE])
    while page:
        ledger = _ledger_of([row.order_id for row in page])
        for row in page:
            sold: _Ledger = {(None, line.product_id): -line.quantity for line in unpack(row)}
            returned: _Ledger = {
                (UUID(each["id"]), UUID(line["product_id"])): line["quantity"]
                for each in row.returns
                for line in each["lines"]
            }
            kept = units_out(row)
            is_released = row.state == ReservationState.RELEASED
            allowed = [{}, sold | returned] if is_released and not kept else [{} if is_released else sold | returned]
            if ledger[row.order_id] not in allowed or min(kept.values(), default=0) < 0:
                yield f"order {row.order_id}: its stock is {row.state}, but its lines in the ledger say otherwise"
        page = list(rows.filter(pk__gt=page[-1].pk)[:_PAGE])


def _ledger_of(order_ids: list[UUID]) -> dict[UUID, _Ledger]:
    """What the ledger has booked for each order: sales, which have no return's id, and returns."""
    ledger: dict[UUID, _Ledger] = defaultdict(dict)
    for row in StockMovement.objects.filter(order_id__in=order_ids).order_by():
        if row.order_id is not None and row.kind != MovementKind.ADJUSTMENT:
            ledger[row.order_id][row.return_id, row.product_id] = row.delta
    return ledger


def _overdue() -> Iterator[str]:
    overdue = Reservation.objects.filter(state=ReservationState.ACTIVE, expires_at__lt=timezone.now() - _GRACE)
    for row in overdue.iterator():
        yield f"order {row.order_id}: its stock should have been given back at {row.expires_at}"


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
