"""Whether published events have arrived. A broker may lose what it was given; the inboxes tell."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from django.conf import settings

from apps.events import services
from apps.events.models import OutboxEvent


def missing(events: Iterable[OutboxEvent]) -> Mapping[str, Sequence[OutboxEvent]]:
    """Subscriber → those of the events that it should have heard of, and has neither dealt with nor failed on.

    Raises:
        ServiceUnavailable: the service of a subscriber cannot be asked.
    """
    heard_by: dict[str, list[OutboxEvent]] = defaultdict(list)
    for event in events:
        for consumer in settings.EVENT_SUBSCRIBERS.get(event.type, ()):
            heard_by[consumer].append(event)
    left = {}
    for consumer, expected in heard_by.items():
        inbox = services.of(consumer.partition(".")[0])
        unheard = set(inbox.list_unheard(consumer=consumer, event_ids=[event.id for event in expected]))
        if lost := [event for event in expected if event.id in unheard]:
            left[consumer] = lost
    return left
