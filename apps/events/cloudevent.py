"""An event as other systems get it: CloudEvents 1.0 in JSON, the same over webhooks, an exchange and a stream."""

from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent

from apps.events.envelope import Event

CONTENT_TYPE = JSONFormat.CONTENT_TYPE
# The extension `sequence` is text that sorts; our numbers have ten digits at most.
_DIGITS = 10


def to_json(event: Event) -> str:
    """The event in CloudEvents' structured JSON; only ASCII, so that nobody signs other bytes than are sent."""
    attributes = {
        "specversion": "1.0",
        "id": str(event.id),
        "source": f"/cartwright/{event.source}",
        "type": event.type,
        "subject": str(event.subject),
        "time": event.timestamp,
        "datacontenttype": "application/json",
        "sequence": f"{event.sequence:0{_DIGITS}}",
        "dataversion": str(event.version),
        **({"traceparent": event.traceparent} if event.traceparent else {}),
    }
    return JSONFormat().write(CloudEvent(attributes, dict(event.data))).decode()
