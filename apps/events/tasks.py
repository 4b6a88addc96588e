"""Housekeeping of events, by Celery beat."""

import logging
from datetime import timedelta

from celery import shared_task
from django.db.models.functions import Now
from django.utils import timezone

from apps.common.bulk import delete_in_batches
from apps.common.databases import all_aliases, later
from apps.common.errors import ServiceUnavailable
from apps.events.delivery import missing
from apps.events.models import FailedDelivery, InboxEntry, InboxPosition, OutboxEvent
from apps.events.relay import send
from apps.events.webhooks import history

logger = logging.getLogger(__name__)

# Published events are history. What tells a late event from a new one is kept as long as one can be replayed.
OUTBOX_KEPT_FOR = timedelta(days=7)
INBOX_KEPT_FOR = timedelta(days=90)
_RETRY_BATCH = 100
_CONFIRM_BATCH = 1000
# While its message may be on the way, an event is not sent again.
_IN_FLIGHT = timedelta(minutes=5)


@shared_task(name="events.retry_failed_deliveries")
def retry_failed_deliveries() -> None:
    """Deliver again what failed and is due."""
    for alias in all_aliases():
        due = FailedDelivery.objects.using(alias).filter(
            state=FailedDelivery.State.RETRYING, next_attempt_at__lte=Now()
        )
        failures = list(due.order_by("next_attempt_at")[:_RETRY_BATCH])
        due.filter(pk__in=[failure.pk for failure in failures]).update(next_attempt_at=later(_IN_FLIGHT))
        for failure in failures:
            replay(failure)


@shared_task(name="events.confirm_deliveries")
def confirm_deliveries() -> None:
    """Find events that were published and never arrived, and send them again: a broker may lose what it was given, and
    a worker what it was doing. Harmless for one that is only late: the inbox knows it.
    """
    for alias in all_aliases():
        unsure = OutboxEvent.objects.using(alias).filter(
            published_at__lt=later(-_IN_FLIGHT), delivered_at=None, available_at__lte=Now()
        )
        events = list(unsure.order_by("published_at")[:_CONFIRM_BATCH])
        try:
            lost = missing(events)
        except ServiceUnavailable as error:
            logger.warning("Deliveries are confirmed later: %s", error)
            return
        for consumer, batch in lost.items():
            logger.warning("%d events never reached %s; they are sent again", len(batch), consumer)
            send(consumer, [event.to_event().to_message() for event in batch])
        again = {event.id for batch in lost.values() for event in batch}
        rows = OutboxEvent.objects.using(alias)
        rows.filter(pk__in=again).update(available_at=later(_IN_FLIGHT))
        rows.filter(pk__in=[event.id for event in events if event.id not in again]).update(delivered_at=Now())


@shared_task(name="events.clean")
def clean() -> None:
    """Forget events that nobody can ask for any more."""
    now = timezone.now()
    for alias in all_aliases():
        delete_in_batches(OutboxEvent.objects.using(alias).filter(delivered_at__lt=now - OUTBOX_KEPT_FOR))
        delete_in_batches(InboxEntry.objects.using(alias).filter(handled_at__lt=now - INBOX_KEPT_FOR))
        delete_in_batches(InboxPosition.objects.using(alias).filter(moved_at__lt=now - INBOX_KEPT_FOR))
        delete_in_batches(FailedDelivery.objects.using(alias).filter(created_at__lt=now - INBOX_KEPT_FOR))


@shared_task(name="events.clean_webhooks")
def clean_webhooks() -> None:
    """Forget old deliveries, and wait no longer for endpoints that nobody resumes."""
    history.clean()


def replay(failure: FailedDelivery) -> None:
    """Hand a failed event to its consumer once more. Harmless when it has taken effect meanwhile."""
    send(failure.consumer, [failure.message])
