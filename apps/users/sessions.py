"""Rows of sessions: how they start, go on and end. Call these inside the transaction of the change."""

import ipaddress
from functools import partial
from uuid import UUID

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from apps.common.databases import alias_of
from apps.common.ids import new_id
from apps.users import liveness, tokens
from apps.users.interface import Client
from apps.users.models import Session, User

_AGENT_LENGTH = 200


def live(sessions: QuerySet[Session]) -> QuerySet[Session]:
    """Those of the sessions that have neither expired nor been revoked."""
    return sessions.filter(revoked_at=None, expires_at__gt=timezone.now())


def others(user_id: UUID, session_id: UUID | None) -> QuerySet[Session]:
    """The user's sessions but the one; all of them, if there is none to keep."""
    return Session.objects.filter(user_id=user_id).exclude(pk__in=[session_id] if session_id else [])


def start(user: User, client: Client) -> Session:
    """A new session, remembered as live as soon as it has committed."""
    expires_at = timezone.now() + tokens.RefreshToken.lifetime
    session = Session.objects.create(user=user, expires_at=expires_at, **_seen_from(client))
    _on_commit(partial(liveness.note_started, session.pk))
    return session


def rotate(claims: tokens.RefreshClaims, client: Client) -> Session | None:
    """Spend the refresh token; None when it was spent before, or the session or the account is not live.

    Of two that present it at once, the condition of the update lets one through.
    """
    now = timezone.now()
    unspent = live(Session.objects.filter(pk=claims.session_id, refresh_id=claims.refresh_id))
    rotated = unspent.update(
        refresh_id=new_id(), last_used_at=now, expires_at=now + tokens.RefreshToken.lifetime, **_seen_from(client)
    )
    if not rotated:
        return None
    session = Session.objects.select_related("user").get(pk=claims.session_id)
    return session if session.user.active else None


def end(sessions: QuerySet[Session]) -> int:
    """End those of the sessions that live, and have their tokens refused as soon as that has committed."""
    ids = list(live(sessions).values_list("pk", flat=True))
    ended = live(Session.objects.filter(pk__in=ids)).update(revoked_at=timezone.now())
    _on_commit(partial(liveness.note_ended, ids))
    return ended


def _on_commit(act: "partial[None]") -> None:
    transaction.on_commit(act, using=alias_of("users"))


def _seen_from(client: Client) -> dict[str, str | None]:
    """The client as the columns take it: proxies and browsers send anything."""
    agent = "".join(character for character in client.agent if character.isprintable())
    try:
        address = str(ipaddress.ip_address(client.address)).partition("%")[0]
    except ValueError:
        address = None
    return {"address": address, "agent": agent[:_AGENT_LENGTH]}
