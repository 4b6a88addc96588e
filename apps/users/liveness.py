"""Whether a session still lives: by its mark where processes share a cache, else by its row."""

from collections.abc import Iterable
from uuid import UUID

from django.utils import timezone

from apps.common import session_marks
from apps.users.models import Session


def is_live(session_id: UUID) -> bool:
    """Whether the session's tokens are good."""
    known = session_marks.says_live(session_id)
    if known is not None:
        return known
    is_in_database = Session.objects.filter(pk=session_id, revoked_at=None, expires_at__gt=timezone.now()).exists()
    if is_in_database:
        session_marks.mark_live(session_id)
    else:
        session_marks.mark_ended([session_id])
    return is_in_database


def note_started(session_id: UUID) -> None:
    """Remember a new session. Call it when its row has committed."""
    session_marks.mark_live(session_id)


def note_ended(session_ids: Iterable[UUID]) -> None:
    """Have the sessions refused at once. Call it when their end has committed.

    They are marked, not forgotten: a request that read the row before the commit would bring a forgotten one back.
    """
    session_marks.mark_ended(session_ids)
