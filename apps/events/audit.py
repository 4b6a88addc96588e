"""What must hold of events, for `manage.py audit`."""

from collections.abc import Iterator, Sequence
from datetime import timedelta

from django.conf import settings
from django.utils import timezone

from apps.common.audit import Rule
from apps.common.databases import all_aliases
from apps.common.errors import ServiceUnavailable
from apps.events.dead_letters import dead_letters
from apps.events.delivery import missing
from apps.events.models import FailedDelivery, OutboxEvent, PendingExport, WebhookDelivery, WebhookEndpoint
from apps.events.webhooks import rows
from apps.events.webhooks.fan_out import wanting_endpoints

# An event takes effect within a second or so; one that has not for so long was lost or nobody works.
_GRACE = timedelta(minutes=5)
_PAGE = 1000
# An event that was committed while an endpoint was being registered may have been published before that.
_REGISTERING = timedelta(seconds=10)


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
    try:
        lost = missing(page)
    except ServiceUnavailable as error:
        yield f"events since {page[0].occurred_at} may not have reached every subscriber: {error}"
        return
    for consumer, events in lost.items():
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


def _exported() -> Iterator[str]:
    for alias in all_aliases():
        late = PendingExport.objects.using(alias).filter(event__published_at__lt=timezone.now() - _GRACE)
        for pending in late.select_related("event").iterator():
            yield f"event {pending.event_id} ({pending.event.type}) has not reached {pending.outlet}"


def _noted_for_webhooks() -> Iterator[str]:
    """Each published event against the deliveries of each endpoint that wanted it."""
    wanting = wanting_endpoints()
    if not wanting:
        return
    since = min(endpoint.wants_since for endpoint in wanting) + _REGISTERING
    for alias in all_aliases():
        published = OutboxEvent.objects.using(alias).exclude(type__in=settings.INTERNAL_EVENTS).order_by("id")
        published = published.filter(published_at__lt=timezone.now() - _GRACE, occurred_at__gt=since)
        page = list(published[:_PAGE])
        while page:
            yield from _not_noted(page, wanting)
            page = list(published.filter(id__gt=page[-1].id)[:_PAGE])


def _not_noted(page: Sequence[OutboxEvent], wanting: Sequence[WebhookEndpoint]) -> Iterator[str]:
    noted = set(
        rows.deliveries().filter(event_id__in=[event.id for event in page]).values_list("event_id", "endpoint_id")
    )
    for event in page:
        for endpoint in wanting:
            is_wanted = endpoint.wants(event.type) and event.occurred_at > endpoint.wants_since + _REGISTERING
            if is_wanted and (event.id, endpoint.id) not in noted:
                yield f"event {event.id} ({event.type}) was never noted for {endpoint.url}"


def _sent() -> Iterator[str]:
    """What waits for an endpoint that fails, or is paused, waits for a reason."""
    late = rows.deliveries().filter(
        state=WebhookDelivery.State.WAITING,
        next_attempt_at__lt=timezone.now() - _GRACE,
        endpoint__state=WebhookEndpoint.State.ACTIVE,
        endpoint__failures=0,
    )
    for delivery in late.select_related("endpoint").iterator():
        yield f"delivery {delivery.id} to {delivery.endpoint.url} should have been sent at {delivery.next_attempt_at}"


def _count_exports() -> int:
    return sum(PendingExport.objects.using(alias).count() for alias in all_aliases())


def _count_deliveries() -> int:
    return rows.deliveries().count()


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
    Rule("every event has left by every way out", _count_exports, _exported),
]
if rows.are_here():
    RULES += [
        Rule("every event that a webhook wanted has a delivery", _count_deliveries, _noted_for_webhooks),
        Rule("every webhook is sent in time", _count_deliveries, _sent),
    ]
