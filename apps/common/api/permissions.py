"""Who may call what. Everything asks for a log-in unless a view says otherwise."""

from typing import Any
from uuid import UUID

from django.db.models import Model
from rest_framework.exceptions import NotAuthenticated
from rest_framework.permissions import SAFE_METHODS, BasePermission
from rest_framework.request import Request
from rest_framework.views import APIView

ADMIN = "admin"


class Nobody:
    """A caller who has not said who they are."""

    pk = id = None
    role = ""
    is_authenticated = is_active = is_staff = False


def has_role(user: Any, role: str) -> bool:  # noqa: ANN401 - a principal, a user or nobody
    """Whether the user has the role; an admin has all of them."""
    return getattr(user, "role", None) in {role, ADMIN}


def caller_id(request: Request) -> UUID:
    """Who is asking.

    Raises:
        NotAuthenticated: nobody.
    """
    user_id = request.user.pk if isinstance(request.user, Model) else getattr(request.user, "id", None)
    if not isinstance(user_id, UUID):
        raise NotAuthenticated
    return user_id


class HasRole(BasePermission):
    """Only the role named in the subclass, and admins."""

    role: str

    def has_permission(self, request: Request, view: APIView) -> bool:
        return has_role(request.user, self.role)


class IsAdmin(HasRole):
    role = ADMIN


class IsCatalogStaff(HasRole):
    role = "catalog_staff"


class IsOrderStaff(HasRole):
    role = "order_staff"


class ReadOnlyOrCatalogStaff(IsCatalogStaff):
    """Anyone reads; catalogue staff write."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        return request.method in SAFE_METHODS or super().has_permission(request, view)
