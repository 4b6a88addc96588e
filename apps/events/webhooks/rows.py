"""Webhooks' tables, in the one database where they are used."""

from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet

from apps.common.databases import alias_of, atomic
from apps.events.models import WebhookDelivery, WebhookEndpoint


def home() -> str:
    """The alias of that database."""
    return alias_of(settings.WEBHOOKS_SERVICE)


def atomic_home() -> transaction.Atomic:
    """One transaction there."""
    return atomic(settings.WEBHOOKS_SERVICE)


def endpoints() -> QuerySet[WebhookEndpoint]:
    return WebhookEndpoint.objects.using(home())


def deliveries() -> QuerySet[WebhookDelivery]:
    return WebhookDelivery.objects.using(home())
