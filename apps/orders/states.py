"""The life of an order, as one table."""

from enum import StrEnum

from apps.orders import events
from apps.orders.interface import InvalidTransition, OrderStatus

_PENDING, _PAID, _SHIPPED, _DELIVERED, _CANCELLED, _EXPIRED, _REFUNDED = OrderStatus


class Action(StrEnum):
    """What can be done to an order."""

    CHANGE = "change"
    PAY = "pay"
    FAIL_PAYMENT = "fail_payment"
    FAIL_REFUND = "fail_refund"
    CANCEL = "cancel"
    EXPIRE = "expire"
    SHIP = "ship"
    DELIVER = "deliver"
    REFUND_PART = "refund_part"
    REFUND = "refund"


# Action → from which status to which. What is not here is refused and changes nothing.
MOVES: dict[Action, dict[OrderStatus, OrderStatus]] = {
    Action.CHANGE: {_PENDING: _PENDING},
    Action.PAY: {_PENDING: _PAID},
    Action.FAIL_PAYMENT: {_PENDING: _PENDING},
    Action.FAIL_REFUND: {_PAID: _PAID, _SHIPPED: _SHIPPED, _DELIVERED: _DELIVERED},
    Action.CANCEL: {_PENDING: _CANCELLED, _PAID: _CANCELLED},
    Action.EXPIRE: {_PENDING: _EXPIRED},
    Action.SHIP: {_PAID: _SHIPPED},
    Action.DELIVER: {_SHIPPED: _DELIVERED},
    Action.REFUND_PART: {_PAID: _PAID, _SHIPPED: _SHIPPED, _DELIVERED: _DELIVERED},
    Action.REFUND: {_PAID: _REFUNDED, _SHIPPED: _REFUNDED, _DELIVERED: _REFUNDED},
}

# Nothing follows these.
ENDED = frozenset({_CANCELLED, _EXPIRED, _REFUNDED})

# Action → the event that tells of it.
EVENTS: dict[Action, str] = {
    Action.CHANGE: events.UPDATED,
    Action.PAY: events.PAID,
    Action.FAIL_PAYMENT: events.PAYMENT_FAILED,
    Action.FAIL_REFUND: events.REFUND_FAILED,
    Action.CANCEL: events.CANCELLED,
    Action.EXPIRE: events.EXPIRED,
    Action.SHIP: events.SHIPPED,
    Action.DELIVER: events.DELIVERED,
    Action.REFUND_PART: events.REFUND_COMPLETED,
    Action.REFUND: events.REFUNDED,
}


def target(action: Action, status: OrderStatus) -> OrderStatus:
    """Where the action leads from this status.

    Raises:
        InvalidTransition: nowhere.
    """
    try:
        return MOVES[action][status]
    except KeyError:
        allowed = " or ".join(MOVES[action])
        raise InvalidTransition(
            f"The order is {status}; to {action.replace('_', ' ')} it, it must be {allowed}."
        ) from None
