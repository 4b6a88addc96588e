"""What the products service counts: each thing once, when it has committed."""

from functools import partial

from prometheus_client import Counter

from apps.common.metrics import once_committed

RESERVATIONS = Counter(
    "reservations_total",
    "What became of orders' stock: `held`, or `refused` as there was too little of it; then `committed` (sold), "
    "`released` (its order has ended), `expired` (held past its time) or `returned` (after it was sold).",
    ("outcome",),
)
HELD, REFUSED, COMMITTED, RELEASED, EXPIRED, RETURNED = OUTCOMES = (
    *("held", "refused", "committed", "released", "expired", "returned"),
)
for _outcome in OUTCOMES:
    RESERVATIONS.labels(_outcome)


def count_reservations(outcome: str, number: int = 1) -> None:
    if number:
        once_committed("products", partial(RESERVATIONS.labels(outcome).inc, number))
