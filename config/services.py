"""The composition root: the one place that knows what stands behind each service interface.

Imports are inside the functions so that a process loads only the services that it runs.
"""

from functools import cache
from typing import TYPE_CHECKING

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from apps.events.interface import EventService
from apps.orders.interface import OrderService
from apps.products.interface import ProductService
from apps.users.interface import UserService

if TYPE_CHECKING:
    from grpc_api.clients.remote import Peer


@cache
def users() -> UserService:
    """Accounts, sessions and tokens."""
    if "users" in settings.PEERS:
        from grpc_api.clients.users import RemoteUserService

        return RemoteUserService(_peer("users"))
    from apps.users.services import LocalUserService

    return LocalUserService()


@cache
def products() -> ProductService:
    """Catalogue and inventory."""
    if "products" in settings.PEERS:
        from grpc_api.clients.products import RemoteProductService

        return RemoteProductService(_peer("products"))
    from apps.products.services import LocalProductService

    return LocalProductService()


@cache
def orders() -> OrderService:
    """Orders and payments."""
    if "orders" in settings.PEERS:
        from grpc_api.clients.orders import RemoteOrderService

        return RemoteOrderService(_peer("orders"))
    from apps.orders.services import LocalOrderService

    provider = import_string(settings.PAYMENT_PROVIDERS[settings.PAYMENT_PROVIDER])
    return LocalOrderService(products=products(), payments=provider())


@cache
def events(service: str) -> EventService:
    """The inbox of a service and, of the one that has them, the webhooks."""
    if service in settings.PEERS:
        from grpc_api.clients.events import RemoteEventService

        return RemoteEventService(_peer(service))
    from apps.events.services import LocalEventService

    return LocalEventService(service)


def _peer(service: str) -> "Peer":
    from grpc_api.clients.remote import Certificates, Peer

    if not settings.SERVICE_TOKEN:
        raise ImproperlyConfigured("SERVICE_TOKEN must be set, so that other services answer this one.")
    authority = settings.GRPC_TLS_AUTHORITY
    return Peer(
        service=service,
        address=settings.PEERS[service],
        token=settings.SERVICE_TOKEN,
        deadline=settings.GRPC_DEADLINE.total_seconds(),
        message_bytes=settings.GRPC_MESSAGE_BYTES,
        certificates=Certificates(authority, settings.GRPC_TLS_CERTIFICATE, settings.GRPC_TLS_KEY)
        if authority
        else None,
    )
