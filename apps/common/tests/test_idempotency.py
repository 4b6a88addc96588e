"""Claims of a client's `Idempotency-Key`; what comes of them is tested where there is something to order."""

from datetime import timedelta

import pytest
import time_machine
from django.db.models import F
from django.utils import timezone

from apps.common.api import idempotency
from apps.common.databases import alias_of
from apps.common.ids import new_id
from apps.common.models import IdempotencyKey

pytestmark = pytest.mark.django_db

OWNER = new_id()
HOUR = timedelta(hours=1)


@pytest.mark.parametrize(
    ("first", "second"), [(HOUR, 0 * HOUR), (-HOUR, 0 * HOUR), (0 * HOUR, HOUR), (0 * HOUR, -HOUR)]
)
def test_a_claim_lasts_a_minute_whatever_time_two_servers_have(first: timedelta, second: timedelta) -> None:
    with time_machine.travel(timezone.now() + first):
        claim, is_ours = idempotency._claim("orders", OWNER, "k1", "same")
    assert is_ours
    with time_machine.travel(timezone.now() + second):
        with pytest.raises(idempotency.RequestInProgress):
            idempotency._claim("orders", OWNER, "k1", "same")
        rows = IdempotencyKey.objects.using(alias_of("orders"))
        rows.update(claimed_until=F("claimed_until") - timedelta(seconds=61))
        again, is_ours = idempotency._claim("orders", OWNER, "k1", "same")
    assert (again.resource_id, is_ours) == (claim.resource_id, True)
