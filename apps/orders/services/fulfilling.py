"""What happens to an order after it is placed or paid, without money or stock being asked for."""

from uuid import UUID

from django.db.models.functions import Now

from apps.common.databases import alias_of, atomic, skips_locked
from apps.orders.interface import SYSTEM, Actor, Order, OrderBusy, OrderStatus
from apps.orders.models import OPEN_PAYMENTS
from apps.orders.models import Order as OrderRow
from apps.orders.services.rows import abandon_unconfirmed, check_idle, lock, move, require_staff
from apps.orders.states import Action, target

_BATCH = 200


class Fulfilling:
    """The part of the orders service that sees orders through."""

    def ship_order(self, *, order_id: UUID, actor: Actor, reason: str = "") -> Order:
        require_staff(actor)
        return _act(order_id, Action.SHIP, actor, reason)

    def deliver_order(self, *, order_id: UUID, actor: Actor, reason: str = "") -> Order:
        require_staff(actor)
        return _act(order_id, Action.DELIVER, actor, reason)

    def expire_orders(self) -> int:
        overdue = OrderRow.objects.filter(
            status=OrderStatus.PENDING, expires_at__lt=Now(), change_began_at=None
        ).exclude(payments__status__in=OPEN_PAYMENTS)
        expired = 0
        for order_id in list(overdue.order_by("expires_at").values_list("id", flat=True)[:_BATCH]):
            expired += _expire(order_id)
        return expired


def _act(order_id: UUID, action: Action, actor: Actor, reason: str) -> Order:
    with atomic("orders"):
        row = lock(order_id, actor)
        target(action, OrderStatus(row.status))
        check_idle(row)
        return move(row, action, actor, reason)


def _expire(order_id: UUID) -> bool:
    """Expire an order unless somebody has it in hand: then it is looked at again next time."""
    with atomic("orders"):
        row = (
            OrderRow.objects.select_for_update(skip_locked=skips_locked(alias_of("orders")))
            .filter(pk=order_id, status=OrderStatus.PENDING, change_began_at=None)
            .first()
        )
        if row is None:
            return False
        try:
            abandon_unconfirmed(row, check_idle(row))
        except OrderBusy:
            return False
        move(row, Action.EXPIRE, SYSTEM, "not paid in time")
        return True
