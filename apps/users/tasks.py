"""What the users service does in the background."""

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from celery import shared_task
from django.db.models import DateTimeField, Q
from django.utils import timezone

from apps.common.databases import atomic, connection_of
from apps.events.consumer import batch_subscriber, subscriber
from apps.events.envelope import Event
from apps.users.interface import ActivityLine
from apps.users.mail import write_to_owner
from apps.users.models import Activity, FailedLogIns, Session
from apps.users.services.leaving import KEPT_ACTION
from config import services

SESSIONS_KEPT_FOR = timedelta(days=30)

# Event type → what its line in the log says of it.
_SENTENCES = {
    "user.registered": "Opened the account.",
    "user.updated": "The account was changed.",
    "user.deactivated": "The account was deactivated.",
    "order.created": "Placed order {number} over {total} {currency}.",
    "order.updated": "Changed order {number}.",
    "order.paid": "Paid order {number}: {total} {currency}.",
    "order.shipped": "Order {number} was shipped.",
    "order.delivered": "Order {number} was delivered.",
    "order.cancelled": "Order {number} was cancelled.",
    "order.expired": "Order {number} expired unpaid.",
    "order.refunded": "Order {number} was refunded.",
    "payment.failed": "A payment of order {number} failed.",
    "refund.completed": "{refund[amount]} {currency} of order {number} were refunded.",
    "refund.failed": "The refund of order {number} was refused.",
}


@batch_subscriber("users.log_activity")
def log_activity(events: Sequence[Event]) -> None:
    """Write each event to its user's activity log."""
    services.users().record_activities(
        lines=[
            ActivityLine(
                user_id=UUID(event.data["user_id"]),
                action=event.type,
                details=_SENTENCES[event.type].format_map(event.data),
                happened_at=event.timestamp,
                event_id=event.id,
            )
            for event in events
        ]
    )


@subscriber("users.mail_owner", transactional=False)
def mail_owner(event: Event) -> None:
    """Mail the owner of an account what they need to verify their address, or to set a new password."""
    write_to_owner(event)


@shared_task(name="users.clean_failed_log_ins")
def clean_failed_log_ins() -> None:
    """Forget failures whose window is over."""
    with atomic("users"):
        FailedLogIns.objects.filter(ends_at__lt=timezone.now()).delete()


@shared_task(name="users.clean_sessions")
def clean_sessions() -> None:
    """Forget sessions that ended long ago, those of browsers included."""
    limit = timezone.now() - SESSIONS_KEPT_FOR
    with atomic("users"):
        Session.objects.filter(Q(expires_at__lt=limit) | Q(revoked_at__lt=limit)).delete()
        # What was told of somebody while they were being erased.
        Activity.objects.filter(user__erased_at__isnull=False).exclude(action=KEPT_ACTION).delete()
    _clean_browsers_sessions()


def _clean_browsers_sessions() -> None:
    """A process of the users service alone does not have Django's app for them; its database has the table, if staff
    pages run somewhere.
    """
    connection = connection_of("users")
    with connection.cursor() as cursor:
        if "django_session" in connection.introspection.table_names(cursor):
            now = DateTimeField().get_db_prep_value(timezone.now(), connection)
            cursor.execute("DELETE FROM django_session WHERE expire_date < %s", [now])
