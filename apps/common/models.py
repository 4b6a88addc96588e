"""Tables that every service keeps beside its own."""

from datetime import timedelta

from django.db import models
from django.utils import timezone

from apps.common.ids import new_id

KEPT_FOR = timedelta(hours=24)
# No request takes longer; a claim that is older belongs to a process that died.
CLAIM_LASTS = timedelta(seconds=60)


class IdempotencyKey(models.Model):
    """A client's `Idempotency-Key`: claimed by inserting the row, answered by filling in `status` and `body`.

    The unique row decides which of two simultaneous requests is the first. `resource_id` is chosen with the claim, so
    that a request that was cut off and comes again makes the same resource, not a second one.
    """

    owner_id = models.UUIDField()
    key = models.CharField(max_length=255)
    fingerprint = models.CharField(max_length=64)
    resource_id = models.UUIDField(default=new_id)
    status = models.PositiveSmallIntegerField(null=True)
    body = models.BinaryField(null=True)
    claimed_until = models.DateTimeField()
    created_at = models.DateTimeField(default=timezone.now, db_index=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["owner_id", "key"], name="idempotency_key_once")]

    def __str__(self) -> str:
        return self.key
