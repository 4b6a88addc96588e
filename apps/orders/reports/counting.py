"""Counting orders: an event only says which order to look at; what is counted follows from the order as it is.

So an event that comes twice, late or not in its turn does no harm, and one that is lost is made up for by the next.
"""

from collections.abc import Iterable, Mapping
from uuid import UUID

from django.utils import timezone

from apps.common.bulk import insert
from apps.common.databases import atomic
from apps.orders.models import CountedOrder
from apps.orders.reports.facts import Facts, Tally, from_json, to_json
from apps.orders.reports.sources import read_facts
from apps.orders.reports.tables import add


def count_orders(order_ids: Iterable[UUID]) -> int:
    """Bring the reports up to what these orders are now; returns how many counted for something else before.

    The number of statements does not depend on the number of orders. A second count of the same orders waits: rows are
    locked in the order of their keys, those of the orders before those of the sums.
    """
    ids = sorted(set(order_ids))
    with atomic("orders"):
        # A row that is not there cannot be locked.
        CountedOrder.objects.bulk_create([CountedOrder(order_id=each) for each in ids], ignore_conflicts=True)
        rows = list(CountedOrder.objects.select_for_update().filter(pk__in=ids).order_by("pk"))
        now, facts = timezone.now(), read_facts(ids)
        tally, changed = Tally(), []
        for row in rows:
            before, after = from_json(row.counted), facts.get(row.order_id)
            if before != after:
                tally.add(before, -1)
                tally.add(after)
                changed.append(CountedOrder(order_id=row.order_id, counted=to_json(after), at=now))
        add(tally)
        CountedOrder.objects.bulk_create(
            changed, update_conflicts=True, unique_fields=["order_id"], update_fields=["counted", "at"]
        )
    return len(changed)


def count_new(orders: Mapping[UUID, Facts]) -> None:
    """Count very many orders that the caller's transaction has made, and that nobody can have counted."""
    now, tally = timezone.now(), Tally()
    for facts in orders.values():
        tally.add(facts)
    insert(CountedOrder(order_id=each, counted=to_json(facts), at=now) for each, facts in orders.items())
    add(tally)
