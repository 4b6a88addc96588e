"""The access log: a line, and a span, for every request."""

from collections.abc import Callable, Iterator, Mapping
from http import HTTPStatus
from time import perf_counter
from typing import Any, cast

import structlog
from django.conf import settings
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.utils.encoding import escape_uri_path
from structlog.contextvars import get_contextvars

from apps.common import logs, tracing
from apps.common.addresses import around, client_address
from apps.common.tracing import Kind, Span
from config.metrics import METHODS

logger = structlog.get_logger("access")

# Asked every few seconds by who watches over the process.
_UNWATCHED = frozenset({"/health", "/ready", "/accepting", "/metrics"})
_LONGEST_PATH = 300


class AccessLog:
    """Writes a line about each request when its answer is complete: of a stream, when that has ended.

    What a view binds (`apps.common.logs.bind`) is said on every line of its request, and on none of the next.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if request.path in _UNWATCHED:
            return self.get_response(request)
        began_at = perf_counter()
        span = tracing.start(_method(request), Kind.SERVER, parent=_parent(request))
        with logs.apart(), span.active():
            response: HttpResponseBase = self.get_response(request)
            seen = _Request(request, response.status_code, span, began_at)
            if isinstance(response, StreamingHttpResponse):
                parts = cast(Iterator[bytes], response.streaming_content)
                response.streaming_content = _Stream(parts, seen, get_contextvars())
            else:
                seen.end(len(response.content) if isinstance(response, HttpResponse) else 0)
        return response

    def process_view(self, request: HttpRequest, view: object, args: object, kwargs: Mapping[str, Any]) -> None:  # noqa: ARG002
        if "order_id" in kwargs:
            logs.bind(order_id=kwargs["order_id"])


class _Request:
    """A request that has an answer."""

    def __init__(self, request: HttpRequest, status: int, span: Span, began_at: float) -> None:
        self._method = _method(request)
        self._path = escape_uri_path(request.path)[:_LONGEST_PATH]
        self._route = _route(request)
        self._network = around(client_address(request))
        self._status = status
        self._span = span
        self._began_at = began_at

    def active(self) -> Any:  # noqa: ANN401 - see Span
        return self._span.active()

    def end(self, number: int) -> None:
        """The answer is complete, with so many bytes."""
        self._end_span()
        message = f"{self._method} {self._path} {self._status}"
        logger.info(
            message,
            method=self._method,
            path=self._path,
            route=self._route,
            status=self._status,
            duration_ms=round((perf_counter() - self._began_at) * 1000, 1),
            bytes=number,
            network=self._network,
        )

    def _end_span(self) -> None:
        if self._route:
            self._span.rename(f"{self._method} {self._route}")
        self._span.set(
            {
                "http.request.method": self._method,
                "http.route": self._route,
                "url.path": self._path,
                "http.response.status_code": self._status,
            }
        )
        self._span.end("server error" if self._status >= HTTPStatus.INTERNAL_SERVER_ERROR else None)


class _Stream(Iterator[bytes]):
    """What is sent bit by bit; the server closes it when it has ended, or the client has gone."""

    def __init__(self, parts: Iterator[bytes], request: _Request, context: Mapping[str, Any]) -> None:
        self._parts = parts
        self._request = request
        self._context = context
        self._sent = 0
        self._is_open = True

    def __next__(self) -> bytes:
        with logs.saying(self._context), self._request.active():
            part = next(self._parts)
        self._sent += len(part)
        return part

    def close(self) -> None:
        if not self._is_open:
            return
        self._is_open = False
        with logs.saying(self._context), self._request.active():
            self._request.end(self._sent)


def _method(request: HttpRequest) -> str:
    """The method; a word of the client's own is none."""
    return request.method if request.method in METHODS else "HTTP"


def _route(request: HttpRequest) -> str:
    """The address as it is written among those of the shop, with names for what differs; nothing, if it is none."""
    route = request.resolver_match.route if request.resolver_match else ""
    return f"/{route.lstrip('^/')}" if route or request.path == "/" else ""


def _parent(request: HttpRequest) -> str:
    """The trace that a proxy of ours is in. A stranger does not choose which requests are traced."""
    return request.META.get("HTTP_TRACEPARENT", "") if settings.REST_FRAMEWORK["NUM_PROXIES"] else ""
