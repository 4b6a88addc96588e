"""Who calls, as the orders service sees them."""

from rest_framework.request import Request

from apps.common.api.permissions import IsOrderStaff, caller_id, has_role
from apps.orders.interface import Actor


def customer(request: Request) -> Actor:
    """The caller as a customer: only their own orders."""
    return Actor(user_id=caller_id(request))


def anyone(request: Request) -> Actor:
    """The caller as what they are: order staff see every order."""
    return Actor(user_id=caller_id(request), is_staff=has_role(request.user, IsOrderStaff.role))
