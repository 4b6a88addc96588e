"""Housekeeping of events, by Celery beat."""

from datetime import timedelta

from celery import shared_task
from django.utils import timezone

from apps.common.bulk import delete_in_batches
from apps.common.databases import all_aliases
from apps.events.models import FailedDelivery, InboxEntry, InboxPosition, OutboxEvent
from apps.events.relay import send

# Published events are history. What tells a late event from a new one is kept as long as one can be replayed.
OUTBOX_KEPT_FOR = timedelta(days=7)
INBOX_KEPT_FOR = timedelta(days=90)
_RETRY_BATCH = 100
# While its message may be on the way, a failed event is not sent again.
_IN_FLIGHT = timedelta(minutes=5)


@shared_task(name="events.retry_failed_deliveries")
def retry_failed_deliveries() -> None:
    """Deliver again what failed and is due."""
    now = timezone.now()
    for alias in all_aliases():
        due = FailedDelivery.objects.using(alias).filter(state=FailedDelivery.State.RETRYING, next_attempt_at__lte=now)
        failures = list(due.order_by("next_attempt_at")[:_RETRY_BATCH])
        due.filter(pk__in=[failure.pk for failure in failures]).update(next_attempt_at=now + _IN_FLIGHT)
        for failure in failures:
            replay(failure)


@shared_task(name="events.clean")
def clean() -> None:
    """Forget events that nobody can ask for any more."""
    now = timezone.now()
    for alias in all_aliases():
        delete_in_batches(OutboxEvent.objects.using(alias).filter(published_at__lt=now - OUTBOX_KEPT_FOR))
        delete_in_batches(InboxEntry.objects.using(alias).filter(handled_at__lt=now - INBOX_KEPT_FOR))
        delete_in_batches(InboxPosition.objects.using(alias).filter(moved_at__lt=now - INBOX_KEPT_FOR))
        delete_in_batches(FailedDelivery.objects.using(alias).filter(created_at__lt=now - INBOX_KEPT_FOR))


def replay(failure: FailedDelivery) -> None:
    """Hand a failed event to its consumer once more. Harmless when it has taken effect meanwhile."""
    send(failure.consumer, [failure.message])
