"""The transactional outbox, the idempotent inbox, and what leaves the shop. Each service's database has its own copy of
these tables; those of webhooks are used in one (`settings.WEBHOOKS_SERVICE`).
"""

from django.core.serializers.json import DjangoJSONEncoder
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils import timezone

from apps.common.ids import new_id
from apps.events.envelope import Event

ENVELOPE_VERSION = 1
LONGEST_REQUEST_ID = 64


class OutboxEvent(models.Model):
    """An event that committed with its change. The relay publishes it and sets `published_at`."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    type = models.CharField(max_length=64)
    source = models.CharField(max_length=32)
    subject = models.UUIDField(db_index=True)
    sequence = models.PositiveIntegerField()
    data = models.JSONField(encoder=DjangoJSONEncoder)
    version = models.PositiveSmallIntegerField(default=ENVELOPE_VERSION)
    traceparent = models.CharField(max_length=55)
    request_id = models.CharField(
        max_length=LONGEST_REQUEST_ID, blank=True, db_default="", help_text="What the client was told in X-Request-ID."
    )
    occurred_at = models.DateTimeField(default=timezone.now)
    available_at = models.DateTimeField(
        null=True, help_text="The relay leaves the event alone until then: another relay has it, or it failed."
    )
    attempts = models.PositiveIntegerField(default=0)
    last_error = models.TextField(blank=True)
    published_at = models.DateTimeField(null=True, db_index=True)
    delivered_at = models.DateTimeField(null=True, help_text="Every subscriber is known to have dealt with it by then.")

    class Meta:
        ordering = ["-id"]
        indexes = [
            models.Index(fields=["id"], condition=Q(published_at=None), name="outbox_unpublished"),
            models.Index(fields=["published_at"], condition=Q(delivered_at=None), name="outbox_undelivered"),
            models.Index(fields=["type", "-id"], name="outbox_by_type"),
        ]

    def __str__(self) -> str:
        return f"{self.type} {self.id}"

    def to_event(self) -> Event:
        return Event(
            id=self.id,
            type=self.type,
            source=self.source,
            subject=self.subject,
            sequence=self.sequence,
            data=self.data,
            timestamp=self.occurred_at,
            version=self.version,
            traceparent=self.traceparent,
            request_id=self.request_id,
        )


class InboxEntry(models.Model):
    """A consumer has dealt with an event; the row commits with the effect."""

    consumer = models.CharField(max_length=64)
    event_id = models.UUIDField()
    applied = models.BooleanField(help_text="False: the event came late and was ignored.")
    handled_at = models.DateTimeField(default=timezone.now, db_index=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["consumer", "event_id"], name="inbox_once")]

    def __str__(self) -> str:
        return f"{self.consumer} {self.event_id}"


class InboxPosition(models.Model):
    """How far a consumer has followed one subject. Its row lock puts the events of that subject in a line."""

    consumer = models.CharField(max_length=64)
    subject = models.UUIDField()
    sequence = models.PositiveIntegerField()
    moved_at = models.DateTimeField(default=timezone.now, db_index=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["consumer", "subject"], name="inbox_position_once")]

    def __str__(self) -> str:
        return f"{self.consumer} {self.subject} at {self.sequence}"


class FailedDelivery(models.Model):
    """An event whose consumer raised: kept with its error, tried again with back-off, then left for a person."""

    class State(models.TextChoices):
        RETRYING = "retrying"
        DEAD = "dead"
        RESOLVED = "resolved"

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    consumer = models.CharField(max_length=64)
    event_id = models.UUIDField()
    type = models.CharField(max_length=64)
    message = models.JSONField(encoder=DjangoJSONEncoder)
    error = models.TextField()
    state = models.CharField(max_length=8, choices=State, default=State.RETRYING)
    attempts = models.PositiveIntegerField(default=1)
    next_attempt_at = models.DateTimeField(db_default=Now())
    created_at = models.DateTimeField(default=timezone.now, db_index=True)

    class Meta:
        ordering = ["-id"]
        verbose_name_plural = "failed deliveries"
        constraints = [models.UniqueConstraint(fields=["consumer", "event_id"], name="failed_delivery_once")]
        indexes = [
            models.Index(fields=["next_attempt_at"], condition=Q(state="retrying"), name="failed_delivery_due"),
            models.Index(fields=["event_id"], name="failed_delivery_of_event"),
            models.Index(fields=["state", "-id"], name="failed_delivery_by_state"),
        ]

    def __str__(self) -> str:
        return f"{self.consumer}: {self.type}"


class PendingExport(models.Model):
    """An event that an outlet of the shop (webhooks, an exchange, a stream) has yet to get; deleted when it has."""

    outlet = models.CharField(max_length=16)
    event = models.ForeignKey(OutboxEvent, on_delete=models.CASCADE, related_name="exports", db_index=False)
    available_at = models.DateTimeField(db_default=Now(), help_text="A relay has it until then.")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["event", "outlet"], name="pending_export_once")]
        indexes = [models.Index(fields=["outlet", "event"], name="pending_export_in_order")]

    def __str__(self) -> str:
        return f"{self.event_id} to {self.outlet}"


class WebhookEndpoint(models.Model):
    """An address of somebody else's that wants to hear of events.

    `available_at` is both a lease and a back-off: whoever sends has the endpoint until then, or it has failed.
    """

    class State(models.TextChoices):
        ACTIVE = "active"
        PAUSED = "paused", "Paused: it failed for too long; what it misses is kept"
        OFF = "off", "Off: nothing is kept for it"

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    url = models.CharField("URL", max_length=2000)
    types = models.JSONField(default=list, blank=True, help_text="The events that it wants; none means all.")
    description = models.CharField(max_length=200, blank=True)
    owner_email = models.EmailField(max_length=254, help_text="Who is told when it fails for too long.")
    state = models.CharField(max_length=8, choices=State, default=State.ACTIVE)
    reason = models.CharField(max_length=300, blank=True, help_text="Why the shop has stopped it.")
    secret = models.TextField(help_text="Encrypted.")
    old_secret = models.TextField(blank=True, help_text="Encrypted; signs, too, for a day after it was replaced.")
    old_secret_until = models.DateTimeField(null=True)
    failures = models.PositiveIntegerField(default=0, help_text="Attempts that failed since the last that did not.")
    failing_since = models.DateTimeField(null=True)
    stopped_at = models.DateTimeField(null=True)
    stops = models.PositiveIntegerField(default=0, help_text="How often the shop has stopped it: numbers its events.")
    available_at = models.DateTimeField(db_default=Now())
    wants_since = models.DateTimeField(default=timezone.now, help_text="When its state or types were changed.")
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["-id"]

    def __str__(self) -> str:
        return self.url

    def wants(self, event_type: str) -> bool:
        return not self.types or event_type in self.types


class WebhookDelivery(models.Model):
    """An event on its way to an endpoint, with the last attempt and its answer."""

    class State(models.TextChoices):
        WAITING = "waiting"
        DELIVERED = "delivered"
        FAILED = "failed"

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    endpoint = models.ForeignKey(WebhookEndpoint, on_delete=models.CASCADE, related_name="deliveries", db_index=False)
    event_id = models.UUIDField()
    type = models.CharField(max_length=64)
    body = models.TextField()
    state = models.CharField(max_length=9, choices=State, default=State.WAITING)
    attempts = models.PositiveSmallIntegerField(default=0)
    next_attempt_at = models.DateTimeField(db_default=Now())
    attempted_at = models.DateTimeField(null=True)
    status_code = models.PositiveSmallIntegerField(null=True)
    response = models.TextField(blank=True, help_text="The first 1,000 characters.")
    error = models.CharField(max_length=300, blank=True, help_text="Why there is no response.")
    duration_ms = models.PositiveIntegerField(null=True)
    created_at = models.DateTimeField(default=timezone.now, db_index=True)

    class Meta:
        ordering = ["-id"]
        verbose_name_plural = "webhook deliveries"
        constraints = [models.UniqueConstraint(fields=["endpoint", "event_id"], name="webhook_delivery_once")]
        indexes = [
            models.Index(fields=["endpoint", "id"], condition=Q(state="waiting"), name="webhook_waiting"),
            models.Index(fields=["endpoint", "-id"], name="webhook_delivery_of_endpoint"),
            models.Index(fields=["event_id"], name="webhook_delivery_of_event"),
            models.Index(fields=["state", "-id"], name="webhook_delivery_by_state"),
            models.Index(fields=["type", "-id"], name="webhook_delivery_by_type"),
        ]

    def __str__(self) -> str:
        return f"{self.type} {self.event_id}"
