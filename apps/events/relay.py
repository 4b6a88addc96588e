"""The relay: takes committed events out of an outbox and hands them to the tasks that subscribe to them."""

import logging
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from celery import current_app
from django.conf import settings
from django.db import transaction
from django.db.models import Q, QuerySet
from django.db.models.functions import Now
from kombu.exceptions import OperationalError as BrokerError

from apps.common import tracing
from apps.common.databases import later, skips_locked
from apps.common.outages import Outage
from apps.common.tracing import Kind, Span
from apps.events import metrics
from apps.events.models import OutboxEvent
from apps.events.outlets import enlist

logger = logging.getLogger(__name__)

BATCH = 100
# A relay that died is replaced after this: longer than publishing a batch ever takes.
LEASE = timedelta(seconds=30)
# What failed is tried again soon: a broker that is back should not be kept waiting.
MAX_BACK_OFF_SECONDS = 5
# A broker that takes a message and does not say so has hung.
_CONFIRM_SECONDS = 5

Message = dict[str, Any]

broker_outage = Outage("The broker")


def relay_batch(alias: str) -> int:
    """Publish up to `BATCH` events of one database, oldest first; returns how many it took.

    Several relays may run: each leases its own rows. An event is marked as published after the broker has it, so that
    it is published at least once; a failure puts the whole batch off, longer each time.
    """
    events = _lease(alias)
    if not events:
        return 0
    rows = OutboxEvent.objects.using(alias).filter(pk__in=[event.pk for event in events])
    try:
        _dispatch(events)
        enlist(alias, events)
    except BrokerError as error:
        broker_outage.began(error)
        _put_off(rows, events, error)
    except Exception as error:
        logger.exception("Publishing %d events failed", len(events))
        _put_off(rows, events, error)
    else:
        broker_outage.ended()
        # Without a broker every subscriber has run by now.
        rows.update(published_at=Now(), delivered_at=Now() if settings.CELERY_TASK_ALWAYS_EAGER else None)
        for event in events:
            metrics.PUBLISHED.labels(event.type).inc()
    return len(events)


def _put_off(rows: QuerySet[OutboxEvent], events: Sequence[OutboxEvent], error: Exception) -> None:
    attempts = max(event.attempts for event in events) + 1
    back_off = timedelta(seconds=min(MAX_BACK_OFF_SECONDS, 2 ** min(attempts, 10)))
    rows.update(attempts=attempts, last_error=f"{type(error).__name__}: {error}", available_at=later(back_off))


def _lease(alias: str) -> Sequence[OutboxEvent]:
    """Take a batch for ourselves. Looks before it opens a transaction: an idle relay must not lock a SQLite file.

    Times are the database's: a process whose clock is wrong must neither hold up events nor take those of others.
    """
    free = Q(available_at=None) | Q(available_at__lte=Now())
    due = OutboxEvent.objects.using(alias).filter(free, published_at=None)
    if not due.exists():
        return []
    with transaction.atomic(using=alias):
        events = list(due.select_for_update(skip_locked=skips_locked(alias)).order_by("id")[:BATCH])
        OutboxEvent.objects.using(alias).filter(pk__in=[event.pk for event in events]).update(available_at=later(LEASE))
    return events


def _dispatch(events: Sequence[OutboxEvent]) -> None:
    """One message for each subscriber, with all the events that it hears of."""
    batches: dict[str, list[Message]] = defaultdict(list)
    with tracing.span("relay events", Kind.PRODUCER) as batch, _publishing(events, batch) as messages:
        for event, message in zip(events, messages, strict=True):
            # Nobody hears of a type that is not in the table: a newer version, since rolled back, may have left one.
            for task in settings.EVENT_SUBSCRIBERS.get(event.type, ()):
                batches[task].append(message)
        for task in sorted(batches, key=settings.SLOW_SUBSCRIBERS.__contains__):
            send(task, batches[task])


@contextmanager
def _publishing(events: Sequence[OutboxEvent], batch: Span) -> Iterator[Sequence[Message]]:
    """The events as messages, and a span for each, in the event's own trace: what subscribers do is below it."""
    spans = [
        tracing.start(f"publish {event.type}", Kind.PRODUCER, parent=event.traceparent, links=[batch.traceparent])
        for event in events
    ]
    messages = [
        {**event.to_event().to_message(), "traceparent": span.traceparent or event.traceparent}
        for event, span in zip(events, spans, strict=True)
    ]
    failure: BaseException | None = None
    try:
        yield messages
    except BaseException as error:
        failure = error
        raise
    finally:
        for event, span in zip(events, spans, strict=True):
            span.set({"messaging.message.id": str(event.id)})
            span.end(failure)


def send(task: str, messages: Sequence[Message]) -> None:
    """Hand messages to a subscriber: over the broker or, without one, here and now."""
    if settings.CELERY_TASK_ALWAYS_EAGER:
        current_app.tasks[task].apply_async(args=(messages,))
    else:
        trace = tracing.traceparent()
        headers = {"traceparent": trace} if trace else None
        current_app.send_task(task, args=(messages,), headers=headers, confirm_timeout=_CONFIRM_SECONDS)
