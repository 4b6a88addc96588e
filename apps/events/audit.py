"""What must hold of events, for `manage.py audit`."""

from collections.abc import Iterator
from datetime import timedelta

from django.utils import timezone

from apps.common.audit import Rule
from apps.common.databases import all_aliases
from apps.events.dead_letters import dead_letters
from apps.events.delivery import missing
from apps.events.models import FailedDelivery, OutboxEvent

# An event takes effect within a second or so; one that has not for so long was lost or nobody works.
_GRACE = timedelta(minutes=5)
_PAGE = 1000


def _published() -> Iterator[str]:
    for alias in all_aliases():
        stuck = OutboxEvent.objects.using(alias).filter(published_at=None, occurred_at__lt=timezone.now() - _GRACE)
        for event in stuck.iterator():
            reason = event.last_error or "does the relay run?"
            yield f"event {event.id} ({event.type}) waits since {event.occurred_at}: {reason}"


def _handled() -> Iterator[str]:
    """Each published event against the inbox of each of its subscribers."""
    for alias in all_aliases():
        published = OutboxEvent.objects.using(alias).filter(published_at__lt=timezone.now() - _GRACE).order_by("id")
        page = list(published[:_PAGE])
        while page:
            yield from _unhandled(page)
            page = list(published.filter(id__gt=page[-1].id)[:_PAGE])


def _unhandled(page: list[OutboxEvent]) -> Iterator[str]:
    for consumer, events in missing(page).items():
        for event in events:
            yield f"event {event.id} ({event.type}) never reached {consumer}"


def _overdue() -> Iterator[str]:
    for alias in all_aliases():
        overdue = FailedDelivery.objects.using(alias).filter(
            state=FailedDelivery.State.RETRYING, next_attempt_at__lt=timezone.now() - _GRACE
        )
        for failure in overdue.iterator():
            due = failure.next_attempt_at
            yield f"delivery {failure.id} to {failure.consumer} should have been tried again at {due}"


def _dead() -> Iterator[str]:
    for alias in all_aliases():
        for failure in FailedDelivery.objects.using(alias).filter(state=FailedDelivery.State.DEAD).iterator():
            yield f"delivery {failure.id} to {failure.consumer} has failed {failure.attempts} times: {failure.error}"


def _count_dead_letters() -> int:
    return len(dead_letters())


def _count_events() -> int:
    return sum(OutboxEvent.objects.using(alias).count() for alias in all_aliases())


def _count_failures() -> int:
    return sum(FailedDelivery.objects.using(alias).count() for alias in all_aliases())


RULES = [
    Rule("every event is published", _count_events, _published),
    Rule("every published event has reached every subscriber", _count_events, _handled),
    Rule("every failed delivery is tried again in time", _count_failures, _overdue),
    Rule("no delivery has been given up", _count_failures, _dead),
    Rule("no message has been put aside unread", _count_dead_letters, dead_letters),
]
