"""Webhooks' tables, in the one database where they are used."""

from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet

from apps.common.databases import alias_of, atomic, connection_of
from apps.events.models import WebhookDelivery, WebhookEndpoint
from apps.events.webhooks.interface import Delivery, Endpoint


def home() -> str:
    """The alias of that database."""
    return alias_of(settings.WEBHOOKS_SERVICE)


def are_here() -> bool:
    """Whether that database is one of this process."""
    return settings.WEBHOOKS_SERVICE in settings.SERVICE_DATABASES


def atomic_home() -> transaction.Atomic:
    """One transaction there."""
    return atomic(settings.WEBHOOKS_SERVICE)


def endpoints() -> QuerySet[WebhookEndpoint]:
    return WebhookEndpoint.objects.using(home())


def deliveries() -> QuerySet[WebhookDelivery]:
    return WebhookDelivery.objects.using(home())


def lock_out_others() -> None:
    """Let nobody else add or change an endpoint until the caller's transaction ends. SQLite has one writer anyway."""
    connection = connection_of(settings.WEBHOOKS_SERVICE)
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(f"LOCK TABLE {WebhookEndpoint._meta.db_table} IN SHARE ROW EXCLUSIVE MODE")


def to_endpoint(row: WebhookEndpoint) -> Endpoint:
    return Endpoint(
        id=row.id,
        url=row.url,
        types=row.types,
        description=row.description,
        owner_email=row.owner_email,
        state=WebhookEndpoint.State(row.state),
        reason=row.reason,
        failing_since=row.failing_since,
        created_at=row.created_at,
    )


def to_delivery(row: WebhookDelivery) -> Delivery:
    is_waiting = row.state == WebhookDelivery.State.WAITING
    return Delivery(
        id=row.id,
        event_id=row.event_id,
        type=row.type,
        state=WebhookDelivery.State(row.state),
        attempts=row.attempts,
        next_attempt_at=row.next_attempt_at if is_waiting else None,
        attempted_at=row.attempted_at,
        status_code=row.status_code,
        response=row.response,
        error=row.error,
        duration_ms=row.duration_ms,
        body=row.body,
        created_at=row.created_at,
    )
