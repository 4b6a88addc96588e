"""One service's answers about events."""

from collections.abc import Sequence
from uuid import UUID

from django.conf import settings
from django.utils.module_loading import import_string

from apps.common.databases import alias_of
from apps.common.errors import InvalidInput
from apps.events.envelope import Event
from apps.events.interface import EventService
from apps.events.models import FailedDelivery, InboxEntry
from apps.events.webhooks import fan_out


def of(service: str) -> EventService:
    """The service's, wherever it runs."""
    found: EventService = import_string(settings.EVENT_SERVICES)(service)
    return found


class LocalEventService(EventService):
    """The inbox and the webhooks of a service that runs in this process."""

    def __init__(self, service: str) -> None:
        self._service = service

    def list_unheard(self, *, consumer: str, event_ids: Sequence[UUID]) -> Sequence[UUID]:
        if consumer.partition(".")[0] != self._service:
            raise InvalidInput(f"{consumer} is not a consumer of the {self._service} service.")
        alias = alias_of(self._service)
        wanted = {"consumer": consumer, "event_id__in": event_ids}
        known = {
            *InboxEntry.objects.using(alias).filter(**wanted).values_list("event_id", flat=True),
            *FailedDelivery.objects.using(alias).filter(**wanted).values_list("event_id", flat=True),
        }
        return [event_id for event_id in event_ids if event_id not in known]

    def note_for_webhooks(self, *, events: Sequence[Event]) -> None:
        fan_out.note(events)
