"""The transactional outbox and the idempotent inbox. Each service's database has its own copy of these tables."""

from django.core.serializers.json import DjangoJSONEncoder
from django.db import models
from django.db.models import Q
from django.utils import timezone

from apps.common.ids import new_id
from apps.events.envelope import Event

ENVELOPE_VERSION = 1


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
    next_attempt_at = models.DateTimeField(default=timezone.now)
    created_at = models.DateTimeField(default=timezone.now, db_index=True)

    class Meta:
        ordering = ["-id"]
        verbose_name_plural = "failed deliveries"
        constraints = [models.UniqueConstraint(fields=["consumer", "event_id"], name="failed_delivery_once")]
        indexes = [models.Index(fields=["next_attempt_at"], condition=Q(state="retrying"), name="failed_delivery_due")]

    def __str__(self) -> str:
        return f"{self.consumer}: {self.type}"
