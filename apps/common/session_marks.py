"""Marks in the shared cache that say of a session whether it lives, for every process that shares the Redis.

Without a shared cache nothing is marked: another process would not see that a session has ended.
"""

from collections.abc import Iterable
from datetime import timedelta
from uuid import UUID

from django.conf import settings
from django.core.cache import cache

_LIVE, _ENDED = "live", "ended"
# Not for long: should Redis be away when the session ends, the mark that it lives must not outlast it by much.
_LIVE_SECONDS = timedelta(minutes=1).total_seconds()


def says_live(session_id: UUID) -> bool | None:
    """True: it lives. False: it has ended. None: no mark says so, or the cache is away; ask whom the session is of."""
    state = cache.get(_key(session_id)) if settings.SHARED_CACHE else None
    return None if state is None else bool(state == _LIVE)


def mark_live(session_id: UUID) -> None:
    """Mark a session as live, unless a mark says already that it has ended."""
    if settings.SHARED_CACHE:
        cache.add(_key(session_id), _LIVE, _LIVE_SECONDS)


def mark_ended(session_ids: Iterable[UUID]) -> None:
    """Mark sessions as ended, whatever was known of them, until the last of their access tokens has expired."""
    if settings.SHARED_CACHE:
        lifetime = settings.SIMPLE_JWT["ACCESS_TOKEN_LIFETIME"].total_seconds()
        cache.set_many({_key(session_id): _ENDED for session_id in session_ids}, lifetime)


def _key(session_id: UUID) -> str:
    return f"users:session:{session_id}"
