"""Publishing: an event is a row that commits with the change that it tells of."""

import secrets
from uuid import UUID

from django.db.transaction import get_connection
from django_guid import get_guid

from apps.common.databases import alias_of
from apps.common.ids import new_id
from apps.events.envelope import Fact
from apps.events.models import OutboxEvent


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
    trace = _traceparent()
    OutboxEvent.objects.using(alias).bulk_create(
        (
            OutboxEvent(
                id=fact.id or new_id(),
                type=fact.type,
                source=service,
                subject=fact.subject,
                sequence=fact.sequence,
                data=dict(fact.data),
                traceparent=trace,
            )
            for fact in facts
        ),
        ignore_conflicts=any(fact.id for fact in facts),
    )


def _traceparent() -> str:
    """A W3C trace context (`traceparent`, version 00). The request's id is the trace's, so both find each other."""
    request_id = get_guid()
    # A client may name its request, by a UUID in any of its forms.
    trace_id = UUID(request_id).hex if request_id else secrets.token_hex(16)
    return f"00-{trace_id}-{secrets.token_hex(8)}-00"
