"""What is done around every call, each by an interceptor of its own; `SERVER` has them in order, outermost first."""

import logging
import re
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import unquote
from uuid import UUID

import grpc
import structlog
from django.db import DataError, close_old_connections
from django_guid import clear_guid, get_guid, set_guid
from google.protobuf.message import DecodeError, Message

from apps.common import logs, tracing
from apps.common.addresses import around
from apps.common.api.errors import DATABASE_AWAY, DatabaseUnavailable
from apps.common.errors import DomainError, Forbidden, InvalidInput, Problem, Unauthenticated
from apps.common.tracing import Kind
from apps.users.interface import Caller, Identity, Principal, Role, Scope
from grpc_api import deadlines, metrics
from grpc_api.errors import to_status
from grpc_api.metadata import REQUEST_ID_KEY
from grpc_api.servers import calls
from grpc_api.servers.bounds import Bounds, check

logger = logging.getLogger(__name__)
access_log = structlog.get_logger("access")

_PUBLIC = ("/grpc.health.v1.Health/", "/grpc.reflection.")
# Ours, not the caller's.
_FAULTS = frozenset(
    {
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.UNIMPLEMENTED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DATA_LOSS,
    }
)
_TRACEPARENT = re.compile(r"00-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")


@dataclass(frozen=True)
class Access:
    """Who may make a call: a service token with the scope, and people with one of the roles."""

    scope: Scope | None
    roles: frozenset[Role] = frozenset()


_Behaviour = Callable[..., Any]

EVERYONE = frozenset(Role)
Policy = Mapping[str, Access]


@dataclass(frozen=True)
class Call:
    """A call, before its message is read."""

    service: str
    method: str
    metadata: Mapping[str, str]
    is_public: bool
    is_stream: bool = False


class PublicStreams(grpc.ServerInterceptor):
    """Keeps strangers from having all threads: a stream that needs no token has one for as long as its caller likes."""

    def __init__(self, most: int) -> None:
        self._places = threading.BoundedSemaphore(most)

    def intercept_service(
        self,
        continuation: "Callable[[grpc.HandlerCallDetails], grpc.RpcMethodHandler[Any, Any] | None]",
        handler_call_details: grpc.HandlerCallDetails,
    ) -> "grpc.RpcMethodHandler[Any, Any] | None":
        handler = continuation(handler_call_details)
        if handler is None or not handler.response_streaming or not handler_call_details.method.startswith(_PUBLIC):
            return handler
        make = (
            grpc.stream_stream_rpc_method_handler if handler.request_streaming else grpc.unary_stream_rpc_method_handler
        )
        behave = cast(_Behaviour, handler.stream_stream if handler.request_streaming else handler.unary_stream)
        return make(
            self._limited(behave),
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )

    def _limited(self, behave: _Behaviour) -> Callable[..., Iterator[Any]]:
        def limited(request: object, context: grpc.ServicerContext) -> Iterator[object]:
            if not self._places.acquire(blocking=False):
                context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "Too many streams are open.")
            if not context.add_callback(self._places.release):
                self._places.release()  # the caller is gone already
                return
            yield from behave(request, context)

        return limited


class Around(grpc.ServerInterceptor):
    """Runs `around()` for the whole of each call: to the end of the answer, or of the stream."""

    def around(self, call: Call, context: grpc.ServicerContext) -> AbstractContextManager[None]:
        """What is done before and after."""
        raise NotImplementedError

    def intercept_service(
        self,
        continuation: "Callable[[grpc.HandlerCallDetails], grpc.RpcMethodHandler[Any, Any] | None]",
        handler_call_details: grpc.HandlerCallDetails,
    ) -> "grpc.RpcMethodHandler[Any, Any] | None":
        handler = continuation(handler_call_details)
        if handler is None or handler.request_streaming:
            return handler  # of ours none streams its request; reflection does
        call = _call_of(handler_call_details, is_stream=handler.response_streaming)
        codec = {
            "request_deserializer": _reading(handler.request_deserializer),
            "response_serializer": handler.response_serializer,
        }
        if handler.response_streaming:
            return grpc.unary_stream_rpc_method_handler(
                self._stream(cast(_Behaviour, handler.unary_stream), call), **codec
            )
        return grpc.unary_unary_rpc_method_handler(self._unary(cast(_Behaviour, handler.unary_unary), call), **codec)

    def _unary(self, behave: _Behaviour, call: Call) -> _Behaviour:
        def surrounded(request: object, context: grpc.ServicerContext) -> object:
            with self.around(call, context):
                return behave(request, context)

        return surrounded

    def _stream(self, behave: _Behaviour, call: Call) -> Callable[..., Iterator[Any]]:
        def surrounded(request: object, context: grpc.ServicerContext) -> Iterator[object]:
            with self.around(call, context):
                yield from behave(request, context)

        return surrounded


class Requests(Around):
    """Gives the call an id, which its log lines and events carry: that of the caller's request or trace, if it names
    one (`x-request-id`; W3C Trace Context). An answer has it in its initial metadata, a stream once it is open
    (`calls.open_stream`); a refusal among its trailers, which is then all that is sent.
    """

    @contextmanager
    def around(self, call: Call, context: grpc.ServicerContext) -> Iterator[None]:
        request_id = _request_id(call.metadata)
        set_guid(request_id)
        try:
            yield
            if not call.is_stream:
                context.send_initial_metadata(((REQUEST_ID_KEY, request_id),))
        finally:
            clear_guid()


class AccessLog(Around):
    """Writes a line about each call, and makes a span of it; not of those that ask whether the server lives."""

    @contextmanager
    def around(self, call: Call, context: grpc.ServicerContext) -> Iterator[None]:
        if call.is_public:
            yield
            return
        name, began_at = f"{call.service}/{call.method}", time.perf_counter()
        span = tracing.start(name, Kind.SERVER, parent=call.metadata.get("traceparent", ""))
        with logs.apart(), span.active():
            try:
                yield
            finally:
                code = _code_of(context)
                span.set({"rpc.system": "grpc", "rpc.service": call.service, "rpc.method": call.method})
                span.set({"rpc.grpc.status_code": code.value[0]})
                span.end(code.name if code in _FAULTS else None)
                message = f"{name} {code.name}"
                access_log.info(
                    message,
                    method=name,
                    status=code.name,
                    duration_ms=round((time.perf_counter() - began_at) * 1000, 1),
                    network=_network(context),
                )


class Metrics(Around):
    """Counts calls and their time."""

    @contextmanager
    def around(self, call: Call, context: grpc.ServicerContext) -> Iterator[None]:
        began_at = time.perf_counter()
        try:
            yield
        finally:
            metrics.HANDLED.labels(call.service, call.method, _code_of(context).name).inc()
            metrics.HANDLING_SECONDS.labels(call.service, call.method).observe(time.perf_counter() - began_at)


class Connections(Around):
    """Has each call begin and end with database connections that work, as Django does for requests."""

    @contextmanager
    def around(self, call: Call, context: grpc.ServicerContext) -> Iterator[None]:
        close_old_connections()
        try:
            yield
        finally:
            close_old_connections()


class Errors(Around):
    """Ends the call with the status of a domain error. What nobody expected is logged, and told nobody else."""

    @contextmanager
    def around(self, call: Call, context: grpc.ServicerContext) -> Iterator[None]:
        try:
            yield
        except DomainError as error:
            _refuse(context, error)
        except DATABASE_AWAY as error:
            logger.warning("%s/%s: the database does not answer (%s)", call.service, call.method, type(error).__name__)
            _refuse(context, DatabaseUnavailable(DatabaseUnavailable.sentence))
        except DataError:
            logger.warning("%s/%s: a value that no column takes", call.service, call.method)
            _refuse(context, InvalidInput("A value of the request cannot be stored."))
        except Exception:
            if context.code() is not None:  # type: ignore[attr-defined]  # aborted on purpose, further inside
                raise
            logger.exception("%s/%s failed", call.service, call.method)
            context.set_trailing_metadata(((REQUEST_ID_KEY, get_guid()),))
            context.abort(grpc.StatusCode.INTERNAL, "Something went wrong on our side. It has been noted.")


def _refuse(context: grpc.ServicerContext, error: DomainError) -> None:
    context.abort_with_status(to_status(error, (REQUEST_ID_KEY, get_guid())))


class Deadlines(Around):
    """Does nothing for a caller that waits no longer, and lets no call of ours outlive the caller's."""

    @contextmanager
    def around(self, call: Call, context: grpc.ServicerContext) -> Iterator[None]:
        seconds = context.time_remaining()
        if seconds <= 0:
            context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, "The caller waits no longer.")
        with deadlines.within(seconds):
            yield


class Input(Around):
    """Refuses text that no column takes, and what a service's bounds do not allow, once it is known that the caller may
    call at all.
    """

    def __init__(self, bounds: Mapping[str, Bounds]) -> None:
        self._bounds = bounds

    def _unary(self, behave: _Behaviour, call: Call) -> _Behaviour:
        def checked(request: Any, context: grpc.ServicerContext) -> object:  # noqa: ANN401 - a message, or reflection's
            if request is _NO_MESSAGE:
                raise InvalidInput("The request is no message of this call.")
            _refuse_nul(request)
            check(request, self._bounds.get(call.service, {}))
            if order_id := getattr(request, "order_id", ""):
                logs.bind(order_id=order_id)
            return behave(request, context)

        return checked

    _stream = _unary


class Authentication(Around):
    """Lets a call through that its caller may make, by the policies of all services; what is in none is refused."""

    def __init__(self, identify: Callable[[str], Identity], policies: Mapping[str, Policy]) -> None:
        self._identify = identify
        self._policies = policies

    @contextmanager
    def around(self, call: Call, context: grpc.ServicerContext) -> Iterator[None]:
        if call.is_public:
            yield
            return
        token = _token(call)
        who = self._identify(token).caller
        access = self._policies.get(call.service, {}).get(call.method)
        if access is None or not _allows(access, who):
            raise Forbidden("You do not have permission to perform this action.")
        logs.bind(**({"user_id": who.id} if isinstance(who, Principal) else {"caller": who.name}))
        with calls.made_by(who, lambda: self._identify(token)):
            yield


class NotAuthenticated(Unauthenticated):
    """The call has no token."""

    code = "not_authenticated"


def _token(call: Call) -> str:
    scheme, _, token = call.metadata.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise NotAuthenticated("Authentication credentials were not provided.")
    return token.strip()


def _allows(access: Access, who: Caller) -> bool:
    if isinstance(who, Principal):
        return who.role in access.roles
    return access.scope is None or access.scope in who.scopes


# What `Input` gets, and refuses, in place of bytes that are no message.
_NO_MESSAGE = object()


def _reading(deserialize: Callable[[bytes], Any] | None) -> Callable[[bytes], Any]:
    """gRPC itself would log a traceback and call it an error of ours, whoever sends that."""

    def read(content: bytes) -> object:
        try:
            return deserialize(content) if deserialize else content
        except DecodeError:
            return _NO_MESSAGE

    return read


def _call_of(details: grpc.HandlerCallDetails, *, is_stream: bool) -> Call:
    _, service, method = details.method.split("/", 2)
    metadata = {key: value for key, value in details.invocation_metadata or () if isinstance(value, str)}
    return Call(service, method, metadata, is_public=details.method.startswith(_PUBLIC), is_stream=is_stream)


def _code_of(context: grpc.ServicerContext) -> grpc.StatusCode:
    """What the call is answered with, as far as that is known."""
    code: Any = context.code() or grpc.StatusCode.OK  # type: ignore[attr-defined]  # not in its types
    return code if isinstance(code, grpc.StatusCode) else grpc.StatusCode.UNKNOWN


def _network(context: grpc.ServicerContext) -> str:
    """Around where the call came from; its peer is such as `ipv4:127.0.0.1:4711` or `ipv6:[::1]:4711`."""
    address = unquote(context.peer()).partition(":")[2].rpartition(":")[0]
    return around(address.strip("[]"))


def _request_id(metadata: Mapping[str, str]) -> str:
    given = metadata.get(REQUEST_ID_KEY, "")
    with suppress(ValueError):
        UUID(given)
        return given
    if trace := _TRACEPARENT.fullmatch(metadata.get("traceparent", "")):
        return trace[1]
    return secrets.token_hex(16)


def _refuse_nul(message: Message, within: str | None = None) -> None:
    """No column takes a NUL character. What is in a map is named by the map."""
    for field, content in message.ListFields():
        is_map = field.message_type is not None and field.message_type.GetOptions().map_entry
        parts = [*content.keys(), *content.values()] if is_map else content if field.is_repeated else [content]
        for part in parts:
            if isinstance(part, Message):
                _refuse_nul(part, field.name if is_map else within)
            elif isinstance(part, str) and "\0" in part:
                raise InvalidInput(Problem("Null characters are not allowed.", within or field.name))
