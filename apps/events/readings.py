"""How many events wait, and for how long: read from outboxes and the broker when somebody asks for metrics."""

from collections import Counter
from collections.abc import Iterator
from functools import partial
from typing import Any

from celery import current_app
from django.conf import settings
from kombu import Connection

from apps.common.databases import alias_of, all_aliases
from apps.common.readings import Gauge, Reading, Sample, seconds_since
from apps.events import outlets
from apps.events.models import FailedDelivery, OutboxEvent, PendingExport, WebhookDelivery, WebhookEndpoint

# More are not counted.
MOST = 10_000
_UNSOLVED = (FailedDelivery.State.RETRYING, FailedDelivery.State.DEAD)

DEPTH = Gauge("outbox_depth", f"Events that wait for the relay; {MOST} means so many or more.", ("service",))
AGE = Gauge("outbox_oldest_age_seconds", "How long the oldest of them has waited; 0 if none does.", ("service",))
UNCONFIRMED = Gauge(
    "events_unconfirmed_oldest_age_seconds",
    "How long ago the oldest event was published of which it is not known yet that all subscribers have dealt with it.",
    ("database",),
)
FAILED = Gauge(
    "events_failed_deliveries",
    "Deliveries that failed and are not resolved: `retrying`, or `dead`, which wait for a person.",
    ("consumer", "state"),
)
EXPORTS = Gauge("events_pending_exports", "Events that a way out of the shop has yet to get.", ("database", "outlet"))
ENDPOINTS = Gauge("webhook_endpoints", "Webhook endpoints by their state.", ("state",))
WAITING = Gauge("webhook_deliveries_waiting", "Webhook deliveries that have yet to succeed.")
QUEUED = Gauge("broker_queue_messages", "Messages in a queue of the broker that no worker has taken.", ("queue",))


def _outbox(alias: str) -> Iterator[Sample]:
    waiting = OutboxEvent.objects.using(alias).filter(published_at=None).order_by("id")
    rows = list(waiting.values_list("source", "occurred_at")[:MOST])
    depth, oldest = Counter(source for source, _ in rows), dict(reversed(rows))
    for service in _services(alias):
        yield DEPTH.of(depth[service], service)
        yield AGE.of(seconds_since(oldest[service]) if service in oldest else 0, service)
    unsure = OutboxEvent.objects.using(alias).filter(delivered_at=None, published_at__isnull=False)
    published_at = unsure.order_by("published_at").values_list("published_at", flat=True).first()
    yield UNCONFIRMED.of(seconds_since(published_at) if published_at else 0, alias)


def _failed(alias: str) -> Iterator[Sample]:
    unsolved = FailedDelivery.objects.using(alias).filter(state__in=_UNSOLVED).order_by()
    rows = list(unsolved.values_list("consumer", "state")[:MOST])
    consumers = {task for tasks in settings.EVENT_SUBSCRIBERS.values() for task in tasks}
    ours = {(task, state) for task in consumers if task.partition(".")[0] in _services(alias) for state in _UNSOLVED}
    counts = Counter(rows)
    for consumer, state in sorted(ours | counts.keys()):
        yield FAILED.of(counts[consumer, state], consumer, state)


def _ways_out(alias: str) -> Iterator[Sample]:
    for name in outlets.configured():
        pending = PendingExport.objects.using(alias).filter(outlet=name).order_by()
        yield EXPORTS.of(pending.values("pk")[:MOST].count(), alias, name)


def _webhooks(alias: str) -> Iterator[Sample]:
    states = Counter(WebhookEndpoint.objects.using(alias).order_by().values_list("state", flat=True)[:MOST])
    for state in WebhookEndpoint.State.values:
        yield ENDPOINTS.of(states[state], state)
    waiting = WebhookDelivery.objects.using(alias).filter(state=WebhookDelivery.State.WAITING).order_by()
    yield WAITING.of(waiting.values("pk")[:MOST].count())


def _broker() -> Iterator[Sample]:
    services = settings.PROFILE.services
    ours = [name[service] for service in services for name in (settings.QUEUES, settings.SLOW_QUEUES)]
    with current_app.connection_for_read() as connection:
        for name in (*ours, settings.CELERY_TASK_DEFAULT_QUEUE, settings.DEAD_LETTERS):
            yield QUEUED.of(_length(connection, name), name)


def _length(connection: Connection, queue: str) -> int:
    # A channel each: RabbitMQ closes the one on which somebody has asked for a queue that is not there yet.
    channel: Any = connection.channel()
    with channel:
        try:
            length: int = channel.queue_declare(queue=queue, passive=True).message_count
        except connection.channel_errors:
            return 0
        return length


def _services(alias: str) -> list[str]:
    return [service for service in settings.PROFILE.services if alias_of(service) == alias]


READINGS = [
    reading
    for alias in all_aliases()
    for reading in (
        Reading(alias, [DEPTH, AGE, UNCONFIRMED], partial(_outbox, alias)),
        Reading(alias, [FAILED], partial(_failed, alias)),
        Reading(alias, [EXPORTS], partial(_ways_out, alias)),
    )
]
if settings.PROFILE.runs(settings.WEBHOOKS_SERVICE):
    _home = alias_of(settings.WEBHOOKS_SERVICE)
    READINGS.append(Reading(_home, [ENDPOINTS, WAITING], partial(_webhooks, _home)))
if settings.BROKER_URL:
    READINGS.append(Reading("broker", [QUEUED], _broker))
