"""Looking at orders."""

from collections.abc import Sequence
from uuid import UUID

from django.conf import settings
from django.core.cache import cache

from apps.orders.interface import Actor, Order, OrderNotFound, OrderStatus, TimelineEntry
from apps.orders.models import OrderTransition
from apps.orders.services.rows import STATUS_CACHED_FOR, find, status_key, to_order


class Reading:
    """The part of the orders service that answers questions."""

    def get_order(self, *, order_id: UUID, actor: Actor) -> Order:
        return to_order(find(order_id, actor))

    def get_status(self, *, order_id: UUID, actor: Actor) -> OrderStatus:
        known = cache.get(status_key(order_id)) if settings.SHARED_CACHE else None
        if known is None:
            row = find(order_id, actor)
            known = (row.user_id, row.status)
            if settings.SHARED_CACHE:
                # Only when nobody has written meanwhile: what a commit has set is newer than what was read before it.
                cache.add(status_key(order_id), known, STATUS_CACHED_FOR.total_seconds())
        owner_id, status = known
        if not actor.is_staff and owner_id != actor.user_id:
            raise OrderNotFound("There is no such order.")
        return OrderStatus(status)

    def get_timeline(self, *, order_id: UUID, actor: Actor) -> Sequence[TimelineEntry]:
        row = find(order_id, actor)
        placed = TimelineEntry(
            status=OrderStatus.PENDING, action="place", actor_id=row.user_id, reason="", at=row.created_at
        )
        return [placed, *(_to_entry(transition) for transition in row.transitions.order_by("sequence"))]


def _to_entry(row: OrderTransition) -> TimelineEntry:
    return TimelineEntry(
        status=OrderStatus(row.status), action=row.action, actor_id=row.actor_id, reason=row.reason, at=row.at
    )
