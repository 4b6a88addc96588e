"""An order's live status, as server-sent events (WHATWG HTML, section 9.2)."""

import re
from collections.abc import Iterator
from http import HTTPStatus
from time import monotonic
from uuid import UUID

from django.db import Error as DatabaseTrouble
from django.http import HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework.request import Request
from rest_framework.views import APIView

from apps.common.api.negotiation import AlwaysJSON
from apps.common.api.renderers import JSONRenderer, to_json
from apps.orders.api.actors import anyone
from apps.orders.interface import OrderWatch, TimelineEntry
from apps.users.interface import InvalidToken
from config import services
from config.authentication import BearerAuthentication

# A comment that often keeps proxies from closing the connection.
HEARTBEAT_SECONDS = 15
_RETRY_MILLISECONDS = 2000
_HEARTBEAT = b": still here\n\n"
_EVENT = """event: status
id: 3
data: {"order_id":"01938d5e-7b1a-7c3e-9a51-0242ac120002","sequence":3,"status":"shipped","action":"ship",\
"actor_id":null,"reason":"","at":"2025-01-01T12:00:00Z"}
"""


class EventsView(APIView):
    # By token only: a stream ends with its session, and to look after a cookie's session costs a query each time.
    authentication_classes = [BearerAuthentication]
    content_negotiation_class = AlwaysJSON
    renderer_classes = [JSONRenderer]

    @extend_schema(
        tags=["orders"],
        summary="Follow an order's status live",
        description=(
            "Server-sent events: the latest change, then each that follows, as `event: status` with the change's "
            "number as its `id`. The stream ends when the order can change no more, with the access token or the "
            "session, and after five minutes; a client that comes again with `Last-Event-ID` misses nothing. If "
            "nothing will follow, the answer is 204."
        ),
        parameters=[
            OpenApiParameter(
                "Last-Event-ID", str, OpenApiParameter.HEADER, description="The `id` of the last event that came."
            )
        ],
        responses={
            (200, "text/event-stream"): OpenApiResponse(OpenApiTypes.STR, description=_EVENT),
            204: OpenApiResponse(description="The order has ended, and its last change has been told."),
        },
    )
    def get(self, request: Request, order_id: UUID) -> HttpResponseBase:
        watch = services.orders().watch_order(order_id=order_id, actor=anyone(request), after=_last_seen(request))
        if watch is None:
            return HttpResponse(status=HTTPStatus.NO_CONTENT, headers={"Cache-Control": "no-store"})
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        stream = EventStream(watch, order_id=order_id, access_token=str(request.auth))
        return StreamingHttpResponse(stream, content_type="text/event-stream", headers=headers)


class EventStream(Iterator[bytes]):
    """What is written to a client that watches an order. The server closes it when the client has gone."""

    def __init__(self, watch: OrderWatch, *, order_id: UUID, access_token: str) -> None:
        self._watch = watch
        self._order_id = order_id
        self._access_token = access_token
        self._written_at: float | None = None

    def __next__(self) -> bytes:
        if self._written_at is None:
            self._written_at = monotonic()
            return b"retry: %d\n\n" % _RETRY_MILLISECONDS
        entry = next(self._watch)
        if not self._may_go_on():
            raise StopIteration
        if entry is None and monotonic() - self._written_at < HEARTBEAT_SECONDS:
            # Nothing is sent, but the server tries to, and finds out whether the client has gone.
            return b""
        self._written_at = monotonic()
        return _HEARTBEAT if entry is None else self._event(entry)

    def close(self) -> None:
        self._watch.close()

    def _event(self, entry: TimelineEntry) -> bytes:
        data = to_json(
            {
                "order_id": self._order_id,
                "sequence": entry.sequence,
                "status": entry.status,
                "action": entry.action,
                "actor_id": entry.actor_id,
                "reason": entry.reason,
                "at": entry.at,
            }
        )
        return b"event: status\nid: %d\ndata: %s\n\n" % (entry.sequence, data)

    def _may_go_on(self) -> bool:
        """Whether the token is still good: it expires, and a log-out ends it at once."""
        try:
            services.users().authenticate(access_token=self._access_token)
        except InvalidToken:
            return False
        except DatabaseTrouble:
            # Nobody can say. The token itself was good, and ends within minutes.
            return True
        return True


def _last_seen(request: Request) -> int | None:
    """The number in `Last-Event-ID`; what is none of ours is as good as none."""
    number = re.fullmatch("[0-9]{1,9}", request.headers.get("Last-Event-ID", ""))
    return int(number[0]) if number else None
