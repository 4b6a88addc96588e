"""Tokens of other systems: how they are given out, listed and taken back."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.utils import timezone

from apps.common import session_marks
from apps.common.databases import atomic
from apps.common.errors import InvalidInput, NotFound
from apps.common.ids import new_id
from apps.users import tokens
from apps.users.interface import Scope, ServiceAccount
from apps.users.models import ServiceToken

MAX_NAME = 100


class UnknownServiceToken(NotFound):
    """There is no such token, or it was revoked before."""


@dataclass(frozen=True)
class IssuedToken:
    """A token that was given out. `text` is told once, and kept nowhere."""

    id: UUID
    text: str
    expires_at: datetime


def issue(*, name: str, scopes: Iterable[Scope], lifetime: timedelta) -> IssuedToken:
    """Give a system a token with these scopes.

    Raises:
        InvalidInput: no name, or nothing that the token would allow.
    """
    account = ServiceAccount(id=new_id(), name=name.strip(), scopes=frozenset(scopes))
    if not 0 < len(account.name) <= MAX_NAME or not account.name.isprintable() or not account.scopes:
        raise InvalidInput(f"A service token has a name of at most {MAX_NAME} characters, and at least one scope.")
    expires_at = timezone.now() + lifetime
    with atomic("users"):
        ServiceToken.objects.create(
            id=account.id, name=account.name, scopes=sorted(account.scopes), expires_at=expires_at
        )
    return IssuedToken(account.id, tokens.write_service(account, lifetime=lifetime), expires_at)


def live() -> Sequence[ServiceToken]:
    """Tokens that are good, newest first."""
    return list(ServiceToken.objects.filter(revoked_at=None, expires_at__gt=timezone.now()))


def revoke(token_id: UUID) -> None:
    """Refuse the token from now on.

    Raises:
        UnknownServiceToken: there is no such token, or it was revoked before.
    """
    with atomic("users"):
        revoked = ServiceToken.objects.filter(pk=token_id, revoked_at=None).update(revoked_at=timezone.now())
    if not revoked:
        raise UnknownServiceToken("There is no such service token.")
    session_marks.mark_ended([token_id])


def is_live(token_id: UUID) -> bool:
    """Whether the token is still good, as far as it was not revoked."""
    known = session_marks.says_live(token_id)
    if known is not None:
        return known
    is_in_database = ServiceToken.objects.filter(pk=token_id, revoked_at=None).exists()
    if is_in_database:
        session_marks.mark_live(token_id)
    return is_in_database
