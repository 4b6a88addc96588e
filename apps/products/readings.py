"""How much stock is held for orders: read from the service's database when somebody asks for metrics."""

from collections.abc import Iterator

from django.db.models.functions import Now

from apps.common.databases import alias_of
from apps.common.readings import Gauge, Reading, Sample, seconds_since
from apps.products.interface import ReservationState
from apps.products.models import Reservation

# More are not counted.
MOST_HELD = 100_000
_MOST_OVERDUE = 1_000

HELD = Gauge("reservations_active", f"Orders whose stock is held now; {MOST_HELD} means so many or more.")
OVERDUE = Gauge("reservations_overdue", "Those of them that are held past their time.")
AGE = Gauge("reservations_overdue_oldest_age_seconds", "For how long the first of those is overdue; 0 if none is.")


def _reservations() -> Iterator[Sample]:
    active = Reservation.objects.filter(state=ReservationState.ACTIVE).order_by()
    yield HELD.of(active.values("order_id")[:MOST_HELD].count())
    overdue = active.filter(expires_at__lt=Now()).order_by("expires_at")
    ends = list(overdue.values_list("expires_at", flat=True)[:_MOST_OVERDUE])
    yield OVERDUE.of(len(ends))
    yield AGE.of(seconds_since(ends[0]) if ends else 0)


READINGS = [Reading(alias_of("products"), [HELD, OVERDUE, AGE], _reservations)]
