"""Publishing: an event is a row that commits with the change that it tells of."""

from typing import Any
from uuid import UUID

from django.db.transaction import get_connection
from django.utils import timezone
from django_guid import get_guid

from apps.common import tracing
from apps.common.databases import alias_of
from apps.common.ids import new_id
from apps.events.envelope import Fact
from apps.events.models import ENVELOPE_VERSION, LONGEST_REQUEST_ID, OutboxEvent

# Writes rows as `to_row` makes them, given as one JSON array, on PostgreSQL: to be a part of a larger statement.
INSERT_JSON = f"""
    INSERT INTO events_outboxevent (id, type, source, subject, sequence, data, version, traceparent, request_id,
        occurred_at, attempts, last_error)
    SELECT id, type, source, subject, sequence, data, {ENVELOPE_VERSION}, traceparent, request_id, occurred_at, 0, ''
    FROM json_to_recordset(%s::json) AS t (id uuid, type text, source text, subject uuid, sequence int, data jsonb,
        traceparent text, request_id text, occurred_at timestamptz)
"""  # noqa: S608 - a statement of ours


class NotInTransaction(RuntimeError):
    """An event was published outside of the transaction of its change."""


def publish(service: str, *facts: Fact) -> None:
    """Write the service's facts to its outbox, in one statement, inside the caller's transaction; those that are there
    already, by their ids, are left alone.

    Raises:
        NotInTransaction: the caller has no transaction open, so change and event could part.
    """
    alias = alias_of(service)
    if not get_connection(alias).in_atomic_block:
        raise NotInTransaction("publish() must be called in the transaction that makes the change.")
    trace = tracing.traceparent_of(get_guid())
    OutboxEvent.objects.using(alias).bulk_create(
        (OutboxEvent(**_to_row(service, fact, trace)) for fact in facts),
        ignore_conflicts=any(fact.id for fact in facts),
    )


def to_row(service: str, fact: Fact) -> dict[str, Any]:
    """The outbox's row of a fact, for a caller that writes it in one statement with the change."""
    return _to_row(service, fact, tracing.traceparent_of(get_guid()))


def _to_row(service: str, fact: Fact, trace: str) -> dict[str, Any]:
    return {
        "id": fact.id or new_id(),
        "type": fact.type,
        "source": service,
        "subject": fact.subject,
        "sequence": fact.sequence,
        "data": dict(fact.data),
        "traceparent": trace,
        "request_id": _request_id(),
        "occurred_at": timezone.now(),
    }


def _request_id() -> str:
    """As the client knows it, who may have named it: by a UUID, which may be between any number of braces."""
    given: str = get_guid() or ""
    return given if len(given) <= LONGEST_REQUEST_ID else UUID(given).hex
