"""Whether published events have arrived. A broker may lose what it was given; the inboxes tell."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from django.conf import settings

from apps.common.databases import alias_of
from apps.events.models import FailedDelivery, InboxEntry, OutboxEvent


def missing(events: Iterable[OutboxEvent]) -> Mapping[str, Sequence[OutboxEvent]]:
    """Subscriber → those of the events that it should have heard of, and has neither dealt with nor failed on."""
    heard_by: dict[str, list[OutboxEvent]] = defaultdict(list)
    for event in events:
        for consumer in settings.EVENT_SUBSCRIBERS.get(event.type, ()):
            heard_by[consumer].append(event)
    left = {}
    for consumer, expected in heard_by.items():
        alias = alias_of(consumer.partition(".")[0])
        wanted = {"consumer": consumer, "event_id__in": [event.id for event in expected]}
        done = {
            *InboxEntry.objects.using(alias).filter(**wanted).values_list("event_id", flat=True),
            *FailedDelivery.objects.using(alias).filter(**wanted).values_list("event_id", flat=True),
        }
        if lost := [event for event in expected if event.id not in done]:
            left[consumer] = lost
    return left
