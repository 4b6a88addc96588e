"""Whether a session still lives, remembered so that a request need not ask the database."""

from collections.abc import Iterable
from datetime import timedelta
from uuid import UUID

from django.core.cache import cache
from django.utils import timezone

from apps.users.models import Session
from apps.users.tokens import AccessToken

_LIVE, _ENDED = "live", "ended"
_REMEMBERED = timedelta(minutes=1)


def is_live(session_id: UUID) -> bool:
    """Whether the session's tokens are good."""
    state = cache.get(_key(session_id))
    if state is None:
        is_in_database = Session.objects.filter(pk=session_id, revoked_at=None, expires_at__gt=timezone.now()).exists()
        state = _LIVE if is_in_database else _ENDED
        _note_unless_known(session_id, state)
    return bool(state == _LIVE)


def note_started(session_id: UUID) -> None:
    """Remember a new session. Call it when its row has committed."""
    _note_unless_known(session_id, _LIVE)


def note_ended(session_ids: Iterable[UUID]) -> None:
    """Have the sessions refused at once. Call it when their end has committed.

    They are marked, not forgotten: a request that read the row before the commit would bring a forgotten one back.
    """
    # By then the mark has outlived every token that it refuses.
    cache.set_many({_key(session_id): _ENDED for session_id in session_ids}, AccessToken.lifetime.total_seconds())


def _note_unless_known(session_id: UUID, state: str) -> None:
    # Not for long: should Redis be away when the session ends, the mark that it lives must not outlast it by much.
    cache.add(_key(session_id), state, _REMEMBERED.total_seconds())


def _key(session_id: UUID) -> str:
    return f"users:session:{session_id}"
