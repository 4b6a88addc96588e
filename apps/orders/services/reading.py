"""Looking at orders."""

from collections.abc import Sequence
from uuid import UUID

from apps.common import cached
from apps.orders.interface import TIMELINE_PAGE, Actor, Order, OrderNotFound, OrderStatus, TimelineEntry
from apps.orders.services.rows import PLACED, STATUS, find, placing_of, to_entry, to_order


class Reading:
    """The part of the orders service that answers questions."""

    def get_order(self, *, order_id: UUID, actor: Actor) -> Order:
        return to_order(find(order_id, actor))

    def get_status(self, *, order_id: UUID, actor: Actor) -> OrderStatus:
        known = STATUS.pick([order_id], cached.read([STATUS.key(order_id)])).get(order_id)
        if known is None:
            row = find(order_id, actor)
            known = (row.user_id, row.status)
            STATUS.remember({order_id: known})
        owner_id, status = known
        if not actor.is_staff and owner_id != actor.user_id:
            raise OrderNotFound("There is no such order.")
        return OrderStatus(status)

    def get_timeline(self, *, order_id: UUID, actor: Actor, after: int = 0) -> Sequence[TimelineEntry]:
        row = find(order_id, actor)
        # Placing an order leaves no row: it is the first change, and has no other number.
        first = [] if after >= PLACED else [placing_of(row)]
        later = row.transitions.filter(sequence__gt=after).order_by("sequence")
        return [*first, *(to_entry(transition) for transition in later[: TIMELINE_PAGE - len(first)])]
