"""The composition root: the one place that knows what stands behind each service interface.

Imports are inside the functions so that a process loads only the services that it runs.
"""

from functools import cache

from django.conf import settings
from django.utils.module_loading import import_string

from apps.orders.interface import OrderService
from apps.products.interface import ProductService
from apps.users.interface import UserService


@cache
def users() -> UserService:
    """Accounts, sessions and tokens."""
    from apps.users.services import LocalUserService

    return LocalUserService()


@cache
def products() -> ProductService:
    """Catalogue and inventory."""
    from apps.products.services import LocalProductService

    return LocalProductService()


@cache
def orders() -> OrderService:
    """Orders and payments."""
    from apps.orders.services import LocalOrderService

    provider = import_string(settings.PAYMENT_PROVIDERS[settings.PAYMENT_PROVIDER])
    return LocalOrderService(products=products(), payments=provider())
