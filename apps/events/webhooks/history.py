"""How long webhooks are remembered."""

from datetime import timedelta

from django.utils import timezone

from apps.common.bulk import delete_in_batches
from apps.events.models import WebhookDelivery, WebhookEndpoint
from apps.events.webhooks.rows import deliveries, endpoints

KEPT_FOR = timedelta(days=30)
PAUSED_FOR = timedelta(days=7)


def clean() -> None:
    """Turn off what has been paused for long, give up what waits for nobody, and forget old deliveries."""
    now, states = timezone.now(), WebhookEndpoint.State
    forgotten = endpoints().filter(state=states.PAUSED, stopped_at__lt=now - PAUSED_FOR)
    forgotten.update(state=states.OFF, reason="Nobody has resumed it for seven days.")
    waiting = deliveries().filter(state=WebhookDelivery.State.WAITING, endpoint__state=states.OFF)
    waiting.update(state=WebhookDelivery.State.FAILED, error="The endpoint is off.")
    delete_in_batches(deliveries().filter(created_at__lt=now - KEPT_FOR))
