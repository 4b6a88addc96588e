"""The inbox and the webhooks of a service elsewhere."""

import json
from collections.abc import Sequence
from uuid import UUID

from apps.common import errors
from apps.events.envelope import Event
from apps.events.interface import EventService
from grpc_api.clients.remote import Peer, Remote
from grpc_api.convert import read_ids
from grpc_api.errors import registry
from grpc_api.gen import event_pb2 as pb
from grpc_api.gen.event_pb2_grpc import EventServiceStub


class RemoteEventService(EventService):
    """Speaks to it over gRPC."""

    def __init__(self, peer: Peer) -> None:
        repeatable = ("ListUnheard", "NoteForWebhooks")
        self._remote = Remote(peer, EventServiceStub, "event.EventService", registry(errors), repeatable)

    def list_unheard(self, *, consumer: str, event_ids: Sequence[UUID]) -> Sequence[UUID]:
        request = pb.ListUnheardRequest(consumer=consumer, event_ids=map(str, event_ids))
        return read_ids(self._remote.call("ListUnheard", request).event_ids, "event_ids")

    def note_for_webhooks(self, *, events: Sequence[Event]) -> None:
        texts = [json.dumps(event.to_message()) for event in events]
        self._remote.call("NoteForWebhooks", pb.NoteForWebhooksRequest(events=texts))
