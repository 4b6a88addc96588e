"""What the orders service has left open: read from its database when somebody asks for metrics."""

from collections import Counter
from collections.abc import Iterator, Sequence

from django.db.models import QuerySet
from django.db.models.functions import Now

from apps.common.databases import alias_of
from apps.common.readings import Gauge, Reading, Sample, seconds_since
from apps.orders.interface import OrderStatus
from apps.orders.models import OPEN_REFUNDS, UNSETTLED_PAYMENTS, Order, Payment, Refund

# More are not counted.
MOST = 10_000

OVERDUE = Gauge("orders_overdue", "Unpaid orders whose time is over and that are still pending.")
OVERDUE_AGE = Gauge("orders_overdue_oldest_age_seconds", "For how long the first of them is overdue; 0 if none is.")
_STATUS = ("status",)
PAYMENTS = Gauge("payments_open", "Payments that have not come to an end; `unknown`: no answer yet.", _STATUS)
PAYMENTS_AGE = Gauge("payments_open_oldest_age_seconds", "How old the oldest of them is; 0 if there is none.", _STATUS)
REFUNDS = Gauge("refunds_open", "Refunds that have not come to an end; `unknown`: no answer yet.", _STATUS)
REFUNDS_AGE = Gauge("refunds_open_oldest_age_seconds", "How old the oldest of them is; 0 if there is none.", _STATUS)


def _overdue() -> Iterator[Sample]:
    overdue = Order.objects.filter(status=OrderStatus.PENDING, expires_at__lt=Now()).order_by("expires_at")
    ends = list(overdue.values_list("expires_at", flat=True)[:MOST])
    yield OVERDUE.of(len(ends))
    yield OVERDUE_AGE.of(seconds_since(ends[0]) if ends else 0)


def _payments() -> Iterator[Sample]:
    yield from _open(PAYMENTS, PAYMENTS_AGE, Payment.objects.all(), UNSETTLED_PAYMENTS)


def _refunds() -> Iterator[Sample]:
    yield from _open(REFUNDS, REFUNDS_AGE, Refund.objects.all(), OPEN_REFUNDS)


def _open(
    number: Gauge, age: Gauge, rows: "QuerySet[Payment] | QuerySet[Refund]", statuses: Sequence[str]
) -> Iterator[Sample]:
    found = rows.filter(status__in=statuses).order_by().values_list("status", "created_at")[:MOST]
    dates = list(found)
    counts = Counter(status for status, _ in dates)
    for status in statuses:
        began_at = min((created_at for each, created_at in dates if each == status), default=None)
        yield number.of(counts[status], status)
        yield age.of(seconds_since(began_at) if began_at else 0, status)


_STORE = alias_of("orders")
READINGS = [
    Reading(_STORE, [OVERDUE, OVERDUE_AGE], _overdue),
    Reading(_STORE, [PAYMENTS, PAYMENTS_AGE], _payments),
    Reading(_STORE, [REFUNDS, REFUNDS_AGE], _refunds),
]
