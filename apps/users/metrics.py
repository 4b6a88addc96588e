"""What the users service counts: each thing once, when it has committed."""

from prometheus_client import Counter

from apps.common.metrics import once_committed

REGISTRATIONS = Counter("user_registrations_total", "Accounts that were opened.")


def count_registration() -> None:
    once_committed("users", REGISTRATIONS.inc)
