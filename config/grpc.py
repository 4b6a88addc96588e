"""The composition root of the gRPC server: which services it offers, and how it listens. `manage.py grpc` runs it."""

from collections.abc import Iterator, Mapping

import grpc
from django.conf import settings

from apps.common import draining
from apps.events.interface import EventService
from config import readiness, services
from grpc_api.servers import events as event_server
from grpc_api.servers import orders as order_server
from grpc_api.servers import products as product_server
from grpc_api.servers import server as servers
from grpc_api.servers import users as user_server
from grpc_api.servers.events import NoSuchConsumer
from grpc_api.servers.server import GrpcServer, Hosted, Limits


def make() -> GrpcServer:
    """The server of the services that run in this process.

    Raises:
        AddressTaken: nothing can listen on GRPC_PORT.
    """
    host = f"[{settings.BIND}]" if ":" in settings.BIND else settings.BIND
    return servers.make(
        f"{host}:{settings.GRPC_PORT}",
        list(_hosted()),
        identify=lambda token: services.users().identify_caller(token=token),
        # A stream keeps a thread as long as somebody listens.
        limits=Limits(
            threads=settings.GRPC_THREADS + settings.EVENT_STREAMS, message_bytes=settings.GRPC_MESSAGE_BYTES
        ),
        credentials=_credentials(),
    )


def ready() -> Mapping[str, bool]:
    """Of each service, whether what it cannot do without answers: its database, not the cache nor the broker. None is,
    once the process has been told to stop.
    """
    is_draining = draining.is_on()
    state = {} if is_draining else readiness.check()
    needs = {service: [f"{service}_database"] for service in settings.PROFILE.services if service not in settings.PEERS}
    if "products" in needs:
        needs["products"].append("catalogue")
    names = {"users": user_server.SERVICE, "products": product_server.SERVICE, "orders": order_server.SERVICE}
    return {
        name: not is_draining and all(state.get(need, readiness.OK) == readiness.OK for need in needs[service])
        for service, name in names.items()
        if service in needs
    }


def _hosted() -> Iterator[Hosted]:
    if "users" not in settings.PEERS:
        yield user_server.hosted(services.users())
    if "products" not in settings.PEERS:
        yield product_server.hosted(services.products())
    if "orders" not in settings.PEERS:
        yield order_server.hosted(services.orders())
    yield event_server.hosted(_events_of, webhooks=settings.WEBHOOKS_SERVICE)


def _events_of(service: str) -> EventService:
    if service not in settings.SERVICE_DATABASES:
        raise NoSuchConsumer(f"The {service[:50]} service is not here.")
    return services.events(service)


def _credentials() -> grpc.ServerCredentials | None:
    """TLS, if this process has a certificate; mutual, if callers must have one of the same authority."""
    certificate, key, authority = settings.GRPC_TLS_CERTIFICATE, settings.GRPC_TLS_KEY, settings.GRPC_TLS_AUTHORITY
    if certificate is None or key is None:
        return None
    callers = authority.read_bytes() if settings.GRPC_TLS_MUTUAL and authority else None
    return grpc.ssl_server_credentials(
        [(key.read_bytes(), certificate.read_bytes())], callers, require_client_auth=callers is not None
    )
