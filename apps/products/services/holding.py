"""Holding stock on PostgreSQL: that of many orders in one statement. `reserving.py` says when."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

import orjson
from django.utils import timezone

from apps.common.databases import connection_of
from apps.products import cache, metrics
from apps.products.interface import PricedLine
from apps.products.services.reserved import pack

# One statement, and so one transaction, for all lines of all orders of a batch.
#   shelf   locks the levels in the order of their ids, so that two batches cannot wait for each other;
#   judged  an order is given its stock if that is there after all orders before it have been given theirs. What is
#           computed comes from the locked rows, for those that the statement first saw may be older;
#   known   orders that have a reservation (asked with an array: for EXISTS, PostgreSQL would read the whole of a table
#           that was small when it planned, and a prepared statement outlives that);
#   held    an order that has a reservation is left alone;
#   shifted changes each level once.
# An order that is refused only because of one before it, which was refused as well, is asked for again.
_HOLD = """
    WITH wish AS MATERIALIZED (
        SELECT * FROM jsonb_to_recordset(%s::jsonb)
            AS t (place int, order_id uuid, lines jsonb, hold_for interval, created_at timestamptz)
    ), line AS MATERIALIZED (
        SELECT place, product_id, quantity, sum(quantity) OVER (PARTITION BY product_id ORDER BY place) AS up_to
        FROM wish, jsonb_to_recordset(lines) AS t (product_id uuid, quantity int)
    ), shelf AS (
        SELECT product_id, on_hand, reserved FROM products_stocklevel
        WHERE product_id = ANY(ARRAY(SELECT DISTINCT product_id FROM line)) ORDER BY product_id FOR UPDATE
    ), judged AS (
        SELECT place,
            bool_and(coalesce(up_to <= on_hand - reserved, false)) AS fits,
            bool_and(coalesce(quantity <= on_hand - reserved, false)) AS fits_alone,
            json_object_agg(product_id, coalesce(on_hand - reserved, 0)) AS available
        FROM line LEFT JOIN shelf USING (product_id) GROUP BY place
    ), known AS (
        SELECT order_id FROM products_reservation WHERE order_id = ANY(ARRAY(SELECT order_id FROM wish))
    ), held AS (
        INSERT INTO products_reservation (order_id, lines, returns, state, change, expires_at, created_at)
        SELECT order_id, lines, '[]', 'active', 0, statement_timestamp() + hold_for, created_at
        FROM wish JOIN judged USING (place)
        WHERE fits ORDER BY order_id
        ON CONFLICT (order_id) DO NOTHING
        RETURNING order_id
    ), shift AS (
        SELECT product_id, sum(quantity) AS quantity
        FROM held JOIN wish USING (order_id) JOIN line USING (place) GROUP BY product_id
    ), shifted AS (
        UPDATE products_stocklevel AS level SET reserved = shelf.reserved + shift.quantity
        FROM shift JOIN shelf USING (product_id) WHERE level.product_id = shift.product_id
    )
    SELECT place, held.order_id IS NOT NULL,
        known.order_id IS NOT NULL OR fits AND held.order_id IS NULL,
        CASE WHEN NOT fits_alone THEN available END
    FROM judged JOIN wish USING (place) LEFT JOIN held USING (order_id) LEFT JOIN known USING (order_id)
"""


@dataclass(frozen=True)
class Wanted:
    """What an order would hold, and for how long."""

    order_id: UUID
    lines: Sequence[PricedLine]
    hold_for: timedelta


@dataclass(frozen=True)
class Verdict:
    """Whether an order holds its stock now. If not: it had a reservation already, or units are short, and so many are
    `available` of each product, by its id as text; or neither, and it must be asked for again.
    """

    is_held: bool
    is_known: bool
    available: Mapping[str, int] | None


def hold(batch: Sequence[Wanted]) -> Sequence[Verdict]:
    """Reserve the stock of these orders, each all or nothing, in one statement outside of any transaction, or as a part
    of the caller's. The first of them gets a definite verdict.
    """
    now = timezone.now()
    wishes = [
        {
            "place": place,
            "order_id": wanted.order_id,
            "lines": pack(wanted.lines),
            "hold_for": f"{wanted.hold_for.total_seconds()} seconds",
            "created_at": now,
        }
        for place, wanted in enumerate(batch)
    ]
    with connection_of("products").cursor() as cursor:
        cursor.execute(_HOLD, [orjson.dumps(wishes).decode()])
        found = {place: Verdict(*verdict) for place, *verdict in cursor.fetchall()}
    verdicts = [found[place] for place in range(len(batch))]
    held = [wanted for wanted, verdict in zip(batch, verdicts, strict=True) if verdict.is_held]
    metrics.count_reservations(metrics.HELD, len(held))
    cache.stock_changed({line.product_id for wanted in held for line in wanted.lines})
    return verdicts
