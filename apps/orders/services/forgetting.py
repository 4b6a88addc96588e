"""Customers who have left: their orders stay, for the books, and say nothing about them any more."""

from uuid import UUID

from django.db.models import F, Q, QuerySet

from apps.orders.interface import OrderStatus
from apps.orders.models import ForgottenCustomer, OrderTransition, Refund
from apps.orders.models import Order as OrderRow
from apps.orders.states import ENDED

# Nothing is sent any more. What is still under way needs its address, and the customer wants it to arrive.
_DONE = (*ENDED, OrderStatus.DELIVERED)


def forget(user_id: UUID) -> int:
    """Note that the customer has left, and clear those of their orders that are done; returns how many. Call it in a
    transaction. The others follow when they are done (`clear_done`).
    """
    ForgottenCustomer.objects.get_or_create(user_id=user_id)
    return _clear(OrderRow.objects.filter(user_id=user_id))


def clear_done() -> int:
    """Clear orders of customers who have left that were done since, or placed at the last moment; returns how many."""
    return _clear(OrderRow.objects.filter(user_id__in=ForgottenCustomer.objects.values("user_id")))


def _clear(orders: QuerySet[OrderRow]) -> int:
    """Empty what the customer has written, and where it went. No event: nothing has happened to the orders."""
    done = orders.filter(status__in=_DONE).order_by()
    own_words = {"order__in": done.values("pk"), "actor_id": F("order__user_id")}
    OrderTransition.objects.filter(**own_words).exclude(reason="").update(reason="")
    Refund.objects.filter(**own_words).exclude(reason="").update(reason="")
    return done.filter(Q(shipping__isnull=False) | ~Q(note="")).update(shipping=None, note="")
