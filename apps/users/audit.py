"""What must hold for every account and session."""

from collections.abc import Iterator

from django.utils import timezone

from apps.common.audit import Rule
from apps.users.interface import Role
from apps.users.models import Session, User, fold


def _misfolded() -> Iterator[str]:
    for user in User.objects.only("username", "email", "username_folded", "email_folded").iterator():
        if (user.username_folded, user.email_folded) != (fold(user.username), fold(user.email)):
            yield f"user {user.pk} is not found by their own username or e-mail address."


def _sessions_of_inactive() -> Iterator[str]:
    live = Session.objects.filter(revoked_at=None, expires_at__gt=timezone.now())
    for session in live.filter(user__active=False).iterator():
        yield f"session {session.pk} lives though user {session.user_id} is deactivated."


def _unknown_roles() -> Iterator[str]:
    for user in User.objects.exclude(role__in=list(Role)).iterator():
        yield f"user {user.pk} has the unknown role {user.role!r}."


RULES = [
    Rule("Users are found by their username and e-mail address", User.objects.count, _misfolded),
    Rule("Live sessions belong to active users", Session.objects.count, _sessions_of_inactive),
    Rule("Every user has a role that exists", User.objects.count, _unknown_roles),
]
