"""Calling a service that runs elsewhere: one channel per process, a deadline always, a circuit breaker between."""

import json
import logging
import os
import threading
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
from django.db import connections
from django_guid import get_guid
from google.protobuf.message import Message

from apps.common import tracing
from apps.common.errors import ServiceUnavailable, TooLarge
from apps.common.tracing import Kind
from grpc_api import deadlines, metrics
from grpc_api.clients.breaker import Breaker
from grpc_api.errors import Registry, from_call
from grpc_api.metadata import REQUEST_ID_KEY

logger = logging.getLogger(__name__)

# The service is not there, does not answer, or cannot: it may soon. Any other code is an answer.
_AWAY = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.CANCELLED,
    }
)


class CalledInTransaction(RuntimeError):
    """A service was called while a transaction was open, which would keep its locks for as long as that takes."""


class CallFailed(RuntimeError):
    """The service refused a call as no service of this version does: its log says why."""


@dataclass(frozen=True)
class Peer:
    """Where a service is, and how we show ourselves there."""

    service: str
    address: str
    token: str
    deadline: float
    message_bytes: int
    certificates: "Certificates | None" = None


@dataclass(frozen=True)
class Certificates:
    """Files in PEM: whom we believe and, for mutual TLS, who we are."""

    authority: Path
    certificate: Path | None = None
    key: Path | None = None

    def credentials(self) -> grpc.ChannelCredentials:
        """What a channel is opened with."""
        return grpc.ssl_channel_credentials(
            self.authority.read_bytes(),
            self.key.read_bytes() if self.key else None,
            self.certificate.read_bytes() if self.certificate else None,
        )


@dataclass
class _Process:
    """What belongs to one process: a channel does not survive a fork."""

    pid: int
    channel: grpc.Channel
    methods: dict[str, Callable[..., Any]] = field(default_factory=dict)


class Remote:
    """The calls of one gRPC service. `repeatable` names those that may be made again when the service went away: the
    channel does so once, within the deadline.
    """

    def __init__(
        self, peer: Peer, stub: Callable[[grpc.Channel], Any], name: str, errors: Registry, repeatable: Collection[str]
    ) -> None:
        self._peer = peer
        self._stub = stub
        self._name = name
        self._errors = errors
        self._options = _options(peer, name, repeatable)
        self._lock = threading.Lock()
        self._process: _Process | None = None
        self.breaker = Breaker(peer.service)

    def call(self, method: str, request: Message, *, deadline: float | None = None) -> Any:  # noqa: ANN401 - a message
        """The service's answer.

        Raises:
            DomainError: what the service raised.
            ServiceUnavailable: it is away, or did not answer in time.
            TooLarge: the request has more bytes than the service reads.
            CalledInTransaction: see there.
        """
        if request.ByteSize() > self._peer.message_bytes:
            # gRPC would say so with a code that also means that the service is overloaded.
            raise TooLarge(
                f"A request to the {self._peer.service} service has at most {self._peer.message_bytes} bytes."
            )
        _refuse_in_transaction(f"{self._name}/{method}")
        seconds = deadlines.remaining(deadline or self._peer.deadline)
        return self.breaker.call(lambda: self._attempt(method, request, seconds))

    def stream(self, method: str, request: Message, *, seconds: float) -> Any:  # noqa: ANN401 - a call that yields messages
        """The service's answers, as they come. Errors of the stream are for `error_of()`."""
        _refuse_in_transaction(f"{self._name}/{method}")
        return self._method(method)(request, timeout=seconds, metadata=self._metadata())

    def error_of(self, failure: grpc.RpcError, method: str) -> Exception:
        """What the failure of a call means: the service's own error, or that it is away."""
        code = failure.code()
        metrics.CALLED.labels(self._name, method, code.name).inc()
        if error := from_call(failure, self._errors):
            return error
        if code in _AWAY:
            logger.warning("%s/%s: the %s service is away (%s)", self._name, method, self._peer.service, code.name)
            return ServiceUnavailable(self._peer.service)
        return CallFailed(f"{self._name}/{method} was refused: {code.name}")

    def _attempt(self, method: str, request: Message, seconds: float) -> Any:  # noqa: ANN401 - a message
        with tracing.span(f"{self._name}/{method}", Kind.CLIENT) as span:
            span.set({"rpc.system": "grpc", "rpc.service": self._name, "rpc.method": method})
            try:
                answer = self._method(method)(request, timeout=seconds, metadata=self._metadata())
            except grpc.RpcError as failure:
                span.set({"rpc.grpc.status_code": failure.code().value[0]})
                raise self.error_of(failure, method) from failure
            span.set({"rpc.grpc.status_code": 0})
        metrics.CALLED.labels(self._name, method, "OK").inc()
        return answer

    def _metadata(self) -> Sequence[tuple[str, str]]:
        request_id = get_guid()
        return (
            ("authorization", f"Bearer {self._peer.token}"),
            ("traceparent", tracing.traceparent_of(request_id)),
            *(((REQUEST_ID_KEY, request_id),) if request_id else ()),
        )

    def _method(self, name: str) -> Callable[..., Any]:
        process = self._process
        if process is None or process.pid != os.getpid():
            process = self._open()
        method = process.methods.get(name)
        if method is None:
            method = process.methods[name] = getattr(self._stub(process.channel), name)
        return method

    def _open(self) -> _Process:
        with self._lock:
            if self._process is None or self._process.pid != os.getpid():
                self._process = _Process(os.getpid(), self._channel())
            return self._process

    def _channel(self) -> grpc.Channel:
        certificates = self._peer.certificates
        if certificates is None:
            return grpc.insecure_channel(self._peer.address, options=self._options)
        return grpc.secure_channel(self._peer.address, certificates.credentials(), options=self._options)


def _options(peer: Peer, name: str, repeatable: Collection[str]) -> list[tuple[str, Any]]:
    retries = {
        "maxAttempts": 2,
        "initialBackoff": "0.05s",
        "maxBackoff": "0.2s",
        "backoffMultiplier": 2,
        "retryableStatusCodes": ["UNAVAILABLE"],
    }
    methods = [{"service": name, "method": method} for method in sorted(repeatable)]
    config: dict[str, Any] = {"loadBalancingConfig": [{"round_robin": {}}]}
    if methods:
        config["methodConfig"] = [{"name": methods, "retryPolicy": retries}]
    return [
        ("grpc.service_config", json.dumps(config)),
        ("grpc.enable_retries", 1),
        ("grpc.max_receive_message_length", peer.message_bytes),
        ("grpc.max_send_message_length", peer.message_bytes),
        # A server that is gone without a word is found out, and one that is back is soon found.
        ("grpc.keepalive_time_ms", 10_000),
        ("grpc.keepalive_timeout_ms", 3_000),
        ("grpc.initial_reconnect_backoff_ms", 200),
        ("grpc.min_reconnect_backoff_ms", 200),
        ("grpc.max_reconnect_backoff_ms", 2_000),
    ]


def _refuse_in_transaction(call: str) -> None:
    if any(connection.in_atomic_block for connection in connections.all(initialized_only=True)):
        raise CalledInTransaction(f"{call} was called inside a transaction.")
