"""Receiving: an event takes effect once for each consumer, and a late one not at all."""

from collections.abc import Callable, Sequence
from datetime import datetime
from itertools import repeat
from operator import attrgetter
from typing import Any
from uuid import UUID

from django.db import models
from django.utils import timezone

from apps.common.databases import alias_of, connection_of
from apps.events.envelope import Event
from apps.events.models import InboxEntry, InboxPosition

# The upsert takes the row's lock, so that two events of one subject wait for each other; it changes nothing, and
# returns no row, when the consumer has been as far already.
_ADVANCE = """
    INSERT INTO events_inboxposition (consumer, subject, sequence, moved_at) VALUES {rows}
    ON CONFLICT (consumer, subject) DO UPDATE SET sequence = excluded.sequence, moved_at = excluded.moved_at
    WHERE events_inboxposition.sequence < excluded.sequence
    RETURNING subject
"""
_RECORD = """
    INSERT INTO events_inboxentry (consumer, event_id, applied, handled_at) VALUES {rows}
    ON CONFLICT (consumer, event_id) DO NOTHING
    RETURNING event_id
"""


def accept(service: str, consumer: str, events: Sequence[Event], *, ordered: bool) -> Sequence[Event]:
    """Note the events in the inbox; returns those that were not handled before nor, for an ordered consumer, overtaken.
    Two statements at most.

    Call it in the transaction of the effect. Of an ordered consumer, no two of the events may have one subject.
    """
    ahead = _advance(service, consumer, events) if ordered else {event.subject for event in events}
    fresh = record(service, consumer, events, applied=[event.subject in ahead for event in events])
    return [event for event in events if event.id in fresh and event.subject in ahead]


def record(service: str, consumer: str, events: Sequence[Event], *, applied: Sequence[bool] | None = None) -> set[UUID]:
    """Note that the consumer has dealt with the events; returns the ids of those of which it was not noted before."""
    bound, now = _binder(service)
    noted = zip(events, applied or repeat(True), strict=False)
    return _insert(service, _RECORD, [(consumer, bound(event.id), applies, now) for event, applies in noted])


def unseen(service: str, consumer: str, events: Sequence[Event]) -> Sequence[Event]:
    """The events that the consumer has not dealt with."""
    entries = InboxEntry.objects.using(alias_of(service)).filter(consumer=consumer)
    seen = set(entries.filter(event_id__in=[event.id for event in events]).values_list("event_id", flat=True))
    return [event for event in events if event.id not in seen]


def not_overtaken(service: str, consumer: str, events: Sequence[Event]) -> Sequence[Event]:
    """The events whose subjects the consumer has not followed as far."""
    positions = InboxPosition.objects.using(alias_of(service)).filter(consumer=consumer)
    reached = dict(positions.filter(subject__in=[each.subject for each in events]).values_list("subject", "sequence"))
    return [event for event in events if event.sequence > reached.get(event.subject, 0)]


def _advance(service: str, consumer: str, events: Sequence[Event]) -> set[UUID]:
    """Move ahead; returns the subjects of which the consumer had not been as far. Locks in the order of subjects."""
    bound, now = _binder(service)
    rows = [
        (consumer, bound(event.subject), event.sequence, now) for event in sorted(events, key=attrgetter("subject"))
    ]
    return _insert(service, _ADVANCE, rows)


def _insert(service: str, statement: str, rows: Sequence[tuple[Any, ...]]) -> set[UUID]:
    places = ", ".join(["(%s, %s, %s, %s)"] * len(rows))
    with connection_of(service).cursor() as cursor:
        cursor.execute(statement.format(rows=places), [value for row in rows for value in row])
        return {key if isinstance(key, UUID) else UUID(key) for (key,) in cursor.fetchall()}


def _binder(service: str) -> tuple[Callable[[UUID], UUID | str], datetime | str]:
    """How the service's database takes an id, and the time."""
    connection = connection_of(service)
    now = models.DateTimeField().get_db_prep_value(timezone.now(), connection)
    return lambda key: models.UUIDField().get_db_prep_value(key, connection), now
