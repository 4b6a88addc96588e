"""The ledger of stock."""

from collections import Counter
from collections.abc import Mapping, Sequence
from uuid import UUID

from django.conf import settings

from apps.events.outbox import publish
from apps.products import events
from apps.products.models import StockMovement
from apps.products.services.levels import Shifted


def book(shifted: Mapping[UUID, Shifted], movements: Sequence[StockMovement]) -> None:
    """Write the ledger lines of a change of what is on hand, and tell of it."""
    StockMovement.objects.bulk_create(movements)
    deltas: Counter[UUID] = Counter()
    for movement in movements:
        deltas[movement.product_id] += movement.delta
    facts = []
    for product_id, now in shifted.items():
        if not deltas[product_id]:
            continue
        facts.append(events.stock_fact(events.STOCK_CHANGED, now.level, now.version))
        before = now.level.on_hand - deltas[product_id]
        if now.level.on_hand <= settings.LOW_STOCK_THRESHOLD < before:
            facts.append(events.stock_fact(events.STOCK_LOW, now.level, now.version))
    publish("products", *facts)
