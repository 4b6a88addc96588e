"""Counts failed log-ins into each account and from each network: too many close it until their window is over.

Not django-axes: it hangs on signals and on `authenticate(request)`, which neither REST nor gRPC calls here, and it can
only count what happens in a process that has the staff pages.

What several try at the same moment is counted when they have failed: as many more get through as requests are answered
at once, and that once in a window.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from uuid import UUID

from django.conf import settings
from django.db import models
from django.utils import timezone

from apps.common.addresses import network_of
from apps.common.databases import connection_of
from apps.users.models import FailedLogIns, User, fold

# One statement, so that of two failures at once none is lost.
_COUNT = """
    INSERT INTO users_failedlogins (key, failures, ends_at) VALUES {rows}
    ON CONFLICT (key) DO UPDATE SET
        failures = CASE WHEN users_failedlogins.ends_at > %s THEN users_failedlogins.failures + 1 ELSE 1 END,
        ends_at = CASE WHEN users_failedlogins.ends_at > %s THEN users_failedlogins.ends_at ELSE excluded.ends_at END
"""


@dataclass(frozen=True)
class Attempt:
    """Somebody tries to log in: the key of the account, which need not exist, and that of the network, if known."""

    account: str
    network: str

    def is_refused(self) -> bool:
        """Whether there have been too many failures, whatever the password is now."""
        limits = {self.account: settings.LOCK_ACCOUNT_AFTER, self.network: settings.LOCK_ADDRESS_AFTER}
        counts = FailedLogIns.objects.filter(key__in=self._keys(), ends_at__gt=timezone.now())
        return any(failures >= limits[key] for key, failures in counts.values_list("key", "failures"))

    def note_failure(self) -> None:
        """Count it, for the account and for the network. Their windows begin with the first failure."""
        connection, now = connection_of("users"), timezone.now()
        bound_now, bound_end = (
            models.DateTimeField().get_db_prep_value(time, connection) for time in (now, now + settings.LOCK_FOR)
        )
        keys = sorted(self._keys())
        rows = ", ".join(["(%s, 1, %s)"] * len(keys))
        values = [value for key in keys for value in (key, bound_end)]
        with connection.cursor() as cursor:
            cursor.execute(_COUNT.format(rows=rows), [*values, bound_now, bound_now])

    def _keys(self) -> Sequence[str]:
        return [key for key in (self.account, self.network) if key]


def attempt(login: str, user: User | None, address: str) -> Attempt:
    """The attempt to log in as `login`, which is the user's if there is one. Both of a user's names count together."""
    name = _of_user(user.pk) if user else f"name:{blake2b(fold(login).encode(), digest_size=16).hexdigest()}"
    return Attempt(account=name, network=f"network:{network_of(address)}"[:80] if address else "")


def forget(user_id: UUID) -> None:
    """Open the account again: its owner has shown who they are, or an admin has."""
    FailedLogIns.objects.filter(key=_of_user(user_id)).delete()


def failures_of(user_id: UUID) -> FailedLogIns | None:
    """What has been counted of the account in the present window."""
    return FailedLogIns.objects.filter(key=_of_user(user_id), ends_at__gt=timezone.now()).first()


def is_closed(counted: FailedLogIns) -> bool:
    """Whether an account of which this was counted lets nobody in."""
    return bool(counted.failures >= settings.LOCK_ACCOUNT_AFTER)


def _of_user(user_id: UUID) -> str:
    return f"account:{user_id}"
