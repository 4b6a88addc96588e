"""`event.EventService`: a message in, one call of the interface, a message out."""

import json
from collections.abc import Callable

import grpc
from google.protobuf.empty_pb2 import Empty

from apps.common.errors import InvalidInput, NotFound
from apps.events.envelope import Event
from apps.events.interface import EventService
from apps.users.interface import Scope
from grpc_api.convert import read_ids
from grpc_api.gen import event_pb2 as pb
from grpc_api.gen.event_pb2_grpc import EventServiceServicer, add_EventServiceServicer_to_server
from grpc_api.servers.bounds import Bounds, count
from grpc_api.servers.interceptors import Access, Policy
from grpc_api.servers.server import Hosted

SERVICE = "event.EventService"

POLICY: Policy = {"ListUnheard": Access(Scope.EVENTS), "NoteForWebhooks": Access(Scope.EVENTS)}

# A relay publishes a hundred at a time; deliveries are confirmed a thousand at a time.
BOUNDS: Bounds = {
    "event.ListUnheardRequest": {"event_ids": count(0, 1000)},
    "event.NoteForWebhooksRequest": {"events": count(0, 1000)},
}

# Of which service the events are asked about; a server may have several.
Find = Callable[[str], EventService]


class EventServicer(EventServiceServicer):
    def __init__(self, find: Find, webhooks: str) -> None:
        self._find = find
        self._webhooks = webhooks

    def ListUnheard(self, request: pb.ListUnheardRequest, context: grpc.ServicerContext) -> pb.ListUnheardResponse:
        service = self._find(request.consumer.partition(".")[0])
        unheard = service.list_unheard(consumer=request.consumer, event_ids=read_ids(request.event_ids, "event_ids"))
        return pb.ListUnheardResponse(event_ids=map(str, unheard))

    def NoteForWebhooks(self, request: pb.NoteForWebhooksRequest, context: grpc.ServicerContext) -> Empty:
        self._find(self._webhooks).note_for_webhooks(events=[_read(text) for text in request.events])
        return Empty()


class NoSuchConsumer(NotFound):
    """None of a service that this server has."""


def hosted(find: Find, *, webhooks: str) -> Hosted:
    """The service, for a server; `find` raises `NoSuchConsumer` for a service that it does not have."""
    servicer = EventServicer(find, webhooks)
    return Hosted(SERVICE, POLICY, lambda server: add_EventServiceServicer_to_server(servicer, server), BOUNDS)


def _read(text: str) -> Event:
    try:
        return Event.from_message(json.loads(text))
    except (KeyError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise InvalidInput("That is not an event.") from error
