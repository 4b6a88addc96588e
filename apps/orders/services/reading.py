"""Looking at orders."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from django.db.models import QuerySet

from apps.common import cached
from apps.common.paging import MAX_PAGE_SIZE, PAGE_SIZE
from apps.orders.interface import (
    TIMELINE_PAGE,
    Actor,
    Order,
    OrderNotFound,
    OrderPage,
    OrderStatus,
    TimelineEntry,
)
from apps.orders.models import Order as OrderRow
from apps.orders.services.rows import PLACED, STATUS, find, placing_of, to_entry, to_order, visible_to


class Reading:
    """The part of the orders service that answers questions."""

    def get_order(self, *, order_id: UUID, actor: Actor) -> Order:
        return to_order(find(order_id, actor))

    def list_orders(
        self,
        *,
        actor: Actor,
        user_id: UUID | None = None,
        status: OrderStatus | None = None,
        created_from: datetime | None = None,
        created_to: datetime | None = None,
        cursor: UUID | None = None,
        page_size: int = PAGE_SIZE,
    ) -> OrderPage:
        size = max(1, min(page_size, MAX_PAGE_SIZE))
        rows = select(actor, user_id=user_id, status=status, created_from=created_from, created_to=created_to)
        if cursor is not None:
            rows = rows.filter(pk__lt=cursor)
        # One more than asked for tells whether there is another page.
        found = list(rows.order_by("-id")[: size + 1])
        return OrderPage(
            orders=[to_order(row) for row in found[:size]],
            next_cursor=found[size - 1].id if len(found) > size else None,
        )

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


def select(
    actor: Actor,
    *,
    user_id: UUID | None = None,
    status: OrderStatus | None = None,
    created_from: datetime | None = None,
    created_to: datetime | None = None,
) -> QuerySet[OrderRow]:
    """The rows of a list, ready for `to_order`: REST turns their pages its own way.

    Raises:
        OrderNotFound: `user_id` is somebody else's.
    """
    if user_id is not None and not actor.is_staff and user_id != actor.user_id:
        raise OrderNotFound("There is no such user.")
    conditions = {
        "user_id": user_id,
        "status": status,
        "created_at__gte": created_from,
        "created_at__lt": created_to,
    }
    given = {name: value for name, value in conditions.items() if value is not None}
    return visible_to(actor).filter(**given).prefetch_related("items", "payments")
