"""Ways out of the shop. Each has its own list of what it has yet to get, so that one that is away delays nobody else:
neither the shop's own subscribers nor another outlet.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import timedelta
from typing import Protocol

from django.conf import settings
from django.db import Error as DatabaseTrouble
from django.db import transaction
from django.db.models.functions import Now

from apps.common.databases import later, skips_locked
from apps.events import services
from apps.events.envelope import Event
from apps.events.models import OutboxEvent, PendingExport
from apps.events.targets import AmqpExchange, RedisStream
from apps.events.webhooks import fan_out, rows

_BATCH = 100
# A relay that died is replaced after this. Publishing a batch takes longer only if the outlet takes seconds for each.
_LEASE = timedelta(seconds=60)

WEBHOOKS = "webhooks"


class Outlet(Protocol):
    """Takes events, at least once each, oldest first as far as possible."""

    def publish(self, events: Sequence[Event]) -> None:
        """Take all of the events, or raise."""

    def close(self) -> None:
        """Let go of the connection."""


class Webhooks:
    """The outlet to webhooks, which are noted where their service has them."""

    def publish(self, events: Sequence[Event]) -> None:
        """
        Raises:
            DatabaseError, ServiceUnavailable: nobody can note them there.
        """
        services.of(settings.WEBHOOKS_SERVICE).note_for_webhooks(events=events)

    def close(self) -> None:
        """It has no connection of its own."""


_OUTLETS: Mapping[str, Callable[[], Outlet]] = {
    WEBHOOKS: Webhooks,
    "amqp": AmqpExchange,
    "redis": RedisStream,
}


def configured() -> Collection[str]:
    """The outlets that this shop has."""
    urls = {"amqp": settings.EVENTS_AMQP_URL, "redis": settings.EVENTS_REDIS_URL}
    return [name for name in _OUTLETS if urls.get(name, True)]


def make(name: str) -> Outlet:
    """The outlet, which keeps its connection: for one thread."""
    return _OUTLETS[name]()


def enlist(alias: str, events: Sequence[OutboxEvent]) -> None:
    """Note that the outlets have yet to get these events; each will, even if this process dies."""
    public = [event for event in events if event.type not in settings.INTERNAL_EVENTS]
    if not public:
        return
    wanted = _wanted_by_webhooks(public)
    pending = [
        PendingExport(outlet=name, event=event)
        for name in configured()
        for event in (wanted if name == WEBHOOKS else public)
    ]
    # A transaction for nothing would lock a SQLite file.
    if pending:
        PendingExport.objects.using(alias).bulk_create(pending, ignore_conflicts=True)


def _wanted_by_webhooks(events: Sequence[OutboxEvent]) -> Sequence[OutboxEvent]:
    if not rows.are_here():
        return events
    try:
        wanting = fan_out.wanting_endpoints()
    except DatabaseTrouble:
        # Its database is not this one, and is away: who wants the events is found out later.
        return events
    return [event for event in events if any(endpoint.wants(event.type) for endpoint in wanting)]


def export_batch(alias: str, name: str, outlet: Outlet) -> int:
    """Hand the outlet what it has yet to get of one database's events, up to a batch; returns how many.

    Raises:
        Exception: the outlet is away; the events wait, and none has overtaken another.
    """
    pending = PendingExport.objects.using(alias).filter(outlet=name)
    leased = _lease(alias, name)
    if not leased:
        return 0
    mine = pending.filter(pk__in=[row.pk for row in leased])
    try:
        outlet.publish([row.event.to_event() for row in leased])
    except Exception:
        mine.update(available_at=Now())
        raise
    mine.delete()
    return len(leased)


def _lease(alias: str, name: str) -> Sequence[PendingExport]:
    """Take a batch for ourselves. Looks before it opens a transaction: an idle relay must not lock a SQLite file."""
    due = PendingExport.objects.using(alias).filter(outlet=name, available_at__lte=Now())
    if not due.exists():
        return []
    with transaction.atomic(using=alias):
        locked = due.select_for_update(skip_locked=skips_locked(alias), of=("self",))
        leased = list(locked.select_related("event").order_by("event_id")[:_BATCH])
        PendingExport.objects.using(alias).filter(pk__in=[row.pk for row in leased]).update(available_at=later(_LEASE))
    return leased
