"""A real gRPC server inside the test's process, and clients of it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from uuid import UUID, uuid4

import grpc
from django.db import connections

from apps.users import service_tokens
from apps.users.interface import Client, Profile, Role, Scope
from config import services
from grpc_api.clients.remote import Peer
from grpc_api.servers import server as servers
from grpc_api.servers.server import Hosted, Limits

# More than the largest picture.
MESSAGE_BYTES = 16 * 1024 * 1024


@contextmanager
def serving(
    *hosted: Hosted, address: str = "127.0.0.1:0", credentials: grpc.ServerCredentials | None = None
) -> Iterator[str]:
    """A server of these services on a free port; its address."""
    made = servers.make(
        address,
        list(hosted),
        identify=lambda token: services.users().identify_caller(token=token),
        limits=Limits(threads=8, message_bytes=MESSAGE_BYTES),
        credentials=credentials,
    )
    made.server.start()
    try:
        with _connections_of_one_call():
            yield f"127.0.0.1:{made.port}"
    finally:
        made.server.stop(grace=None).wait()


@contextmanager
def _connections_of_one_call() -> Iterator[None]:
    """Has the server's threads keep no connection after a call: a database that is in use cannot be removed."""
    kept = {alias: connections.settings[alias]["CONN_MAX_AGE"] for alias in connections}
    for alias in kept:
        connections.settings[alias]["CONN_MAX_AGE"] = 0
    try:
        yield
    finally:
        for alias, age in kept.items():
            connections.settings[alias]["CONN_MAX_AGE"] = age


def token_for(*scopes: Scope) -> str:
    """A service token with these scopes; with all, if none is named."""
    issued = service_tokens.issue(name="tests", scopes=scopes or tuple(Scope), lifetime=timedelta(hours=1))
    return issued.text


def person(role: Role = Role.USER) -> tuple[UUID, str]:
    """A new account with that role: its id, and an access token of it."""
    name, password = f"person{uuid4().hex}", "correct horse 9"
    email = f"{name}@example.com"
    users = services.users()
    user = users.register(username=name, email=email, password=password, profile=Profile())
    users.manage_user(actor_id=uuid4(), user_id=user.id, role=role)
    return user.id, users.log_in(login=email, password=password, client=Client(address="", agent="")).access


def peer(service: str, address: str, *, token: str | None = None, deadline: float = 10) -> Peer:
    """How a client reaches a service that a test serves."""
    return Peer(
        service=service,
        address=address,
        token=token_for() if token is None else token,
        deadline=deadline,
        message_bytes=MESSAGE_BYTES,
    )


@contextmanager
def channel_to(address: str) -> Iterator[grpc.Channel]:
    """A client's channel, without anything of ours."""
    with grpc.insecure_channel(address) as channel:
        yield channel


def bearer(token: str) -> tuple[tuple[str, str], ...]:
    """The metadata with which a caller shows a token."""
    return (("authorization", f"Bearer {token}"),)


def refusal(call: Callable[[], object]) -> grpc.RpcError:
    """The error that a call ends with."""
    try:
        call()
    except grpc.RpcError as error:
        return error
    raise AssertionError("The call was answered.")
