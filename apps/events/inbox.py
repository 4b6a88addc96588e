"""Receiving: an event takes effect once for each consumer, and a late one not at all."""

from datetime import datetime
from uuid import UUID

from django.db import models
from django.utils import timezone

from apps.common.databases import alias_of, connection_of
from apps.events.envelope import Event
from apps.events.models import InboxEntry

# The upsert takes the row's lock, so that two events of one subject wait for each other; it changes nothing, and
# counts no row, when the consumer has been as far already.
_ADVANCE = """
    INSERT INTO events_inboxposition (consumer, subject, sequence, moved_at) VALUES (%s, %s, %s, %s)
    ON CONFLICT (consumer, subject) DO UPDATE SET sequence = excluded.sequence, moved_at = excluded.moved_at
    WHERE events_inboxposition.sequence < excluded.sequence
"""
_RECORD = """
    INSERT INTO events_inboxentry (consumer, event_id, applied, handled_at) VALUES (%s, %s, %s, %s)
    ON CONFLICT (consumer, event_id) DO NOTHING
"""


def accept(service: str, consumer: str, event: Event, *, ordered: bool) -> bool:
    """Note the event in the inbox; False when it was handled before or, for an ordered consumer, overtaken.

    Call it in the transaction of the effect.
    """
    applies = not ordered or _advance(service, consumer, event)
    return record(service, consumer, event, applied=applies) and applies


def record(service: str, consumer: str, event: Event, *, applied: bool = True) -> bool:
    """Note that the consumer has dealt with the event; False when that was noted before."""
    with connection_of(service).cursor() as cursor:
        cursor.execute(_RECORD, [consumer, _uuid(service, event.id), applied, _now(service)])
        return bool(cursor.rowcount == 1)


def has(service: str, consumer: str, event: Event) -> bool:
    """Whether the consumer has dealt with the event."""
    return InboxEntry.objects.using(alias_of(service)).filter(consumer=consumer, event_id=event.id).exists()


def _advance(service: str, consumer: str, event: Event) -> bool:
    with connection_of(service).cursor() as cursor:
        cursor.execute(_ADVANCE, [consumer, _uuid(service, event.subject), event.sequence, _now(service)])
        return bool(cursor.rowcount == 1)


def _uuid(service: str, value: UUID) -> UUID | str:
    bound: UUID | str = models.UUIDField().get_db_prep_value(value, connection_of(service))
    return bound


def _now(service: str) -> datetime | str:
    bound: datetime | str = models.DateTimeField().get_db_prep_value(timezone.now(), connection_of(service))
    return bound
