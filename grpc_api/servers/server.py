"""A gRPC server of the services that this process runs."""

import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from apps.users.interface import Identity
from grpc_api import metrics
from grpc_api.servers import interceptors
from grpc_api.servers.bounds import Bounds
from grpc_api.servers.interceptors import Policy

logger = logging.getLogger(__name__)

# Calls that wait for a thread; more are refused with RESOURCE_EXHAUSTED.
_QUEUED = 128
# Of all callers together: who watches over the server's health, and who asks what it offers.
_PUBLIC_STREAMS = 4
_HEALTH_SECONDS = 2.0
_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


@dataclass(frozen=True)
class Hosted:
    """A service that the server offers: under which name, who may call what, how it is added, and what its messages
    are to be like.
    """

    name: str
    policy: Policy
    add: Callable[[grpc.Server], None]
    bounds: Bounds = field(default_factory=dict)


@dataclass(frozen=True)
class Limits:
    """How many calls are answered at once, and how many bytes a message may have."""

    threads: int
    message_bytes: int


# Which of the services can do its work now.
Look = Callable[[], Mapping[str, bool]]


class AddressTaken(Exception):
    """Nothing can listen at that address."""


@dataclass(frozen=True)
class GrpcServer:
    """A server that listens on a port and has yet to be started, and what says how its services are."""

    server: grpc.Server
    port: int
    health: health.HealthServicer


def make(
    address: str,
    hosted: "list[Hosted]",
    *,
    identify: Callable[[str], Identity],
    limits: Limits,
    credentials: grpc.ServerCredentials | None = None,
) -> GrpcServer:
    """
    Raises:
        AddressTaken: nothing can listen there.
    """
    server = grpc.server(
        ThreadPoolExecutor(max_workers=limits.threads, thread_name_prefix="grpc"),
        interceptors=[
            interceptors.PublicStreams(_PUBLIC_STREAMS),
            interceptors.Requests(),
            interceptors.AccessLog(),
            interceptors.Metrics(),
            interceptors.Connections(),
            interceptors.Errors(),
            interceptors.Deadlines(),
            interceptors.Authentication(identify, {each.name: each.policy for each in hosted}),
            interceptors.Input({each.name: each.bounds for each in hosted}),
        ],
        options=_options(limits),
        maximum_concurrent_rpcs=limits.threads + _QUEUED,
    )
    for each in hosted:
        each.add(server)
        metrics.expect(each.name, each.policy)
    state = health.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(state, server)
    names = (*(each.name for each in hosted), health.SERVICE_NAME, reflection.SERVICE_NAME)
    reflection.enable_server_reflection(names, server)
    try:
        port = server.add_secure_port(address, credentials) if credentials else server.add_insecure_port(address)
    except RuntimeError as error:
        raise AddressTaken(address) from error
    return GrpcServer(server, port, state)


def _options(limits: Limits) -> list[tuple[str, Any]]:
    return [
        # Two servers that share a port would answer in turn.
        ("grpc.so_reuseport", 0),
        ("grpc.max_receive_message_length", limits.message_bytes),
        ("grpc.max_send_message_length", limits.message_bytes),
        # A client that is gone without a word is found out; one that asks too often whether we live is not.
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 5_000),
        ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
        ("grpc.keepalive_permit_without_calls", 1),
    ]


@contextmanager
def reporting(state: health.HealthServicer, look: Look) -> Iterator[None]:
    """Keeps saying over `grpc.health.v1` whether each service is ready, and all of them together under no name; when
    it ends, that none is.
    """
    stop = threading.Event()
    thread = threading.Thread(target=_report, args=(state, look, stop), name="health", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        state.enter_graceful_shutdown()
        thread.join(_HEALTH_SECONDS)


def _report(state: health.HealthServicer, look: Look, stop: threading.Event) -> None:
    before: Mapping[str, bool] = {}
    while not stop.is_set():
        services = look()
        ready = {**services, "": all(services.values())}
        for name, is_ready in ready.items():
            state.set(name, _SERVING if is_ready else _NOT_SERVING)
            if is_ready != before.get(name):
                logger.info("%s is %s", name or "The server", "ready" if is_ready else "not ready")
        before = ready
        stop.wait(_HEALTH_SECONDS)
