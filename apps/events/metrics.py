"""What is counted of events on their way."""

from django.conf import settings
from prometheus_client import Counter

PUBLISHED = Counter("events_published_total", "Events that the relay has handed on.", ("type",))
HANDLED = Counter(
    "events_handled_total",
    "Events that reached a subscriber, by whether it could deal with them. One that is delivered again counts again.",
    ("consumer", "outcome"),
)
SUCCEEDED, FAILED = "succeeded", "failed"

for _type, _consumers in settings.EVENT_SUBSCRIBERS.items() if settings.PROFILE.does_work else ():
    PUBLISHED.labels(_type)
    for _consumer in _consumers:
        if settings.PROFILE.runs(_consumer.partition(".")[0]):
            HANDLED.labels(_consumer, SUCCEEDED)
            HANDLED.labels(_consumer, FAILED)
