"""What the orders service counts: each thing once, when it has committed."""

from prometheus_client import Counter

from apps.common.metrics import once_committed
from apps.orders.interface import PaymentStatus, RefundStatus
from apps.orders.states import Action

PLACED = Counter("orders_total", "Orders that were placed; one that is sent again under its key counts once.")
REFUSED = Counter("orders_refused_total", "Orders that were not taken in, by the error's code.", ("code",))
MOVED = Counter("order_transitions_total", "Steps that orders have taken since they were placed.", ("action",))
PAYMENTS = Counter(
    "payments_total",
    "What became of payments. `unknown` and `requires_action` are not the end: the same payment counts again.",
    ("outcome",),
)
REFUNDS = Counter("refunds_total", "What became of refunds.", ("outcome",))

# A payment that fails for a reason of the provider's is declined, whatever code the provider has for it.
_DECLINED = "declined"
_FAILURES = {
    "not_asked": "not_attempted",
    "stock_lost": "stock_lost",
    "not_confirmed": "not_confirmed",
    "abandoned": "not_confirmed",
    "never_arrived": "never_arrived",
    "never_charged": "never_arrived",
}

REFUSED.labels("out_of_stock")
for _action in Action:
    MOVED.labels(_action)
for _outcome in (
    *(PaymentStatus.SUCCEEDED, PaymentStatus.UNKNOWN, PaymentStatus.REQUIRES_ACTION),
    *(_DECLINED, *_FAILURES.values()),
):
    PAYMENTS.labels(_outcome)
for _outcome in (RefundStatus.SUCCEEDED, RefundStatus.FAILED):
    REFUNDS.labels(_outcome)


def count_order() -> None:
    once_committed("orders", PLACED.inc)


def count_move(action: Action) -> None:
    once_committed("orders", MOVED.labels(action).inc)


def count_payment(outcome: PaymentStatus, failure_code: str = "") -> None:
    """`failure_code` says why, of one that has failed."""
    name = _FAILURES.get(failure_code, _DECLINED) if outcome == PaymentStatus.FAILED else outcome
    once_committed("orders", PAYMENTS.labels(name).inc)


def count_refund(outcome: RefundStatus) -> None:
    once_committed("orders", REFUNDS.labels(outcome).inc)
