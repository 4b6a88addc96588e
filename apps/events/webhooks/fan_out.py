"""One delivery for each endpoint that wants an event."""

from collections.abc import Sequence

from apps.events.cloudevent import to_json
from apps.events.envelope import Event
from apps.events.models import WebhookDelivery, WebhookEndpoint
from apps.events.webhooks.rows import deliveries, endpoints


def wanting_endpoints() -> Sequence[WebhookEndpoint]:
    """The endpoints that get events: also those that are paused, for later."""
    return list(endpoints().exclude(state=WebhookEndpoint.State.OFF))


def note(events: Sequence[Event]) -> None:
    """Note what is to be delivered; what was noted before is left alone.

    Raises:
        DatabaseError: the database is away, or an endpoint was deleted just now.
    """
    wanting = wanting_endpoints()
    bodies = {event.id: to_json(event) for event in events} if wanting else {}
    rows = [
        WebhookDelivery(endpoint=endpoint, event_id=event.id, type=event.type, body=bodies[event.id])
        for event in events
        for endpoint in wanting
        if endpoint.wants(event.type)
    ]
    # A transaction for nothing would lock a SQLite file.
    if rows:
        deliveries().bulk_create(rows, ignore_conflicts=True)
