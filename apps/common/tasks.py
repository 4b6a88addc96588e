"""Housekeeping."""

from celery import shared_task
from django.utils import timezone

from apps.common.bulk import delete_in_batches
from apps.common.databases import all_aliases
from apps.common.models import KEPT_FOR, IdempotencyKey


@shared_task(name="common.clean_idempotency_keys")
def clean_idempotency_keys() -> None:
    """Forget keys that are older than a client may rely on."""
    for alias in all_aliases():
        delete_in_batches(IdempotencyKey.objects.using(alias).filter(created_at__lt=timezone.now() - KEPT_FOR))
