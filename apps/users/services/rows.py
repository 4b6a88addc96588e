"""Rows of accounts: how they are found and locked, and what the interface promises of them."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from uuid import UUID

from django.core.exceptions import ValidationError
from django.db import IntegrityError
from django.db.models import Q, QuerySet

from apps.common.errors import Conflict, Problem
from apps.events.outbox import publish
from apps.users import models
from apps.users.events import user_fact
from apps.users.interface import (
    EmailTaken,
    InvalidProfile,
    LastAdmin,
    Profile,
    Role,
    Session,
    User,
    UsernameTaken,
    UserNotFound,
)

_ADMINS = Q(role=Role.ADMIN, active=True)


def to_user(row: models.User) -> User:
    return User(
        id=row.pk,
        username=row.username,
        email=row.email,
        first_name=row.first_name,
        last_name=row.last_name,
        phone=row.phone,
        address=row.address,
        role=Role(row.role),
        active=row.active,
        email_verified=row.email_verified,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )


def to_session(row: models.Session) -> Session:
    return Session(
        id=row.pk,
        address=row.address or "",
        agent=row.agent,
        created_at=row.created_at,
        last_used_at=row.last_used_at,
        expires_at=row.expires_at,
    )


def get(**condition: object) -> models.User:
    """
    Raises:
        UserNotFound: there is none, or it has been erased.
    """
    return _only(models.User.objects.filter(**condition))


def _only(rows: QuerySet[models.User]) -> models.User:
    try:
        return rows.get(erased_at=None)
    except models.User.DoesNotExist:
        raise UserNotFound("There is no such user.") from None


def lock(user_id: UUID) -> models.User:
    """The user, changed by nobody else until the transaction ends. Rows that refer to the user can still be added:
    they would otherwise wait for us while we wait for their session.
    """
    return _only(models.User.objects.select_for_update(no_key=True).filter(pk=user_id))


def lock_with_admins(user_id: UUID) -> models.User:
    """The user and every admin, locked in one order: of two who remove each other neither waits for the other.

    Raises:
        UserNotFound: there is none, or it has been erased.
    """
    wanted = models.User.objects.filter(Q(pk=user_id) | _ADMINS, erased_at=None)
    rows = wanted.order_by("pk").select_for_update(no_key=True)
    for row in rows:
        if row.pk == user_id:
            return row
    raise UserNotFound("There is no such user.")


def given(profile: Profile) -> dict[str, str]:
    return {name: value for name, value in asdict(profile).items() if value is not None}


def check_fields(user: models.User) -> None:
    """Bring names into the form in which they are kept, and refuse what the columns do not take."""
    try:
        user.clean_fields(exclude={"password", "username_folded", "email_folded"})
    except ValidationError as error:
        problems = [Problem(text, attr) for attr, texts in error.message_dict.items() for text in texts]
        raise InvalidProfile(*problems) from error


@contextmanager
def unique_names(user_id: UUID, username: str | None, email: str | None) -> Iterator[None]:
    """Tell which name was taken when the database refuses a user; only it can decide between two at once."""
    try:
        yield
    except IntegrityError as error:
        taken = _taken(user_id, username, email)
        if taken is None:
            raise
        raise taken from error


def _taken(user_id: UUID, username: str | None, email: str | None) -> Conflict | None:
    others = models.User.objects.exclude(pk=user_id)
    if email is not None and others.filter(email_folded=models.fold(email)).exists():
        return EmailTaken(Problem("Another account has this e-mail address.", "email"))
    if username is not None and others.filter(username_folded=models.fold(username)).exists():
        return UsernameTaken(Problem("Another account has this username.", "username"))
    return None


def save_and_publish(user: models.User, kind: str, **more: object) -> User:
    """Save a change and tell of it, in the caller's transaction. `more` is what the event says besides."""
    user.version += 1
    user.save()
    changed = to_user(user)
    publish("users", user_fact(kind, changed, user.version, **more))
    return changed


def keep_an_admin(user: models.User) -> None:
    """Make sure that another admin is left than this one, who was locked with all of them.

    Raises:
        LastAdmin: the user is the only one.
    """
    if user.role != Role.ADMIN or not user.active:
        return
    if not models.User.objects.filter(_ADMINS).exclude(pk=user.pk).exists():
        raise LastAdmin("This is the last admin. Make somebody else an admin first.")


def note(user_id: UUID, action: str, details: str) -> None:
    models.Activity.objects.create(user_id=user_id, action=action, details=details)
