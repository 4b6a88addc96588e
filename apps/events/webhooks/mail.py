"""What the owner of an endpoint is written."""

from uuid import UUID

from django.conf import settings
from django.core.mail import send_mail
from django.template.loader import render_to_string

from apps.events.models import WebhookEndpoint
from apps.events.webhooks.rows import endpoints


def send_stopped(endpoint_id: UUID, *, state: str, reason: str) -> None:
    """Tell the owner that nothing is sent any more, and why.

    Raises:
        OSError: the mail server did not take it.
    """
    endpoint = endpoints().filter(pk=endpoint_id).first()
    if endpoint is None:
        return
    is_paused = state == WebhookEndpoint.State.PAUSED
    body = render_to_string("events/mail/stopped.txt", {"endpoint": endpoint, "is_paused": is_paused, "reason": reason})
    send_mail("Your webhook endpoint was stopped", body, settings.DEFAULT_FROM_EMAIL, [endpoint.owner_email])
