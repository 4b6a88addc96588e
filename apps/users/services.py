"""The rules and the transactions of accounts and sessions."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from uuid import UUID

from django.core.exceptions import ValidationError
from django.db import IntegrityError
from django.db.models import QuerySet

from apps.common.databases import atomic
from apps.common.errors import Conflict, Problem
from apps.events.outbox import publish
from apps.users import liveness, models, passwords, service_tokens, sessions, tokens
from apps.users.events import DEACTIVATED, REGISTERED, UPDATED, user_fact
from apps.users.interface import (
    MOST_SESSIONS,
    ActivityLine,
    Client,
    EmailTaken,
    Identity,
    InvalidProfile,
    InvalidToken,
    OwnRole,
    Principal,
    Profile,
    Role,
    Session,
    SessionNotFound,
    TokenPair,
    User,
    UsernameTaken,
    UserNotFound,
    UserService,
    WrongCredentials,
)

_DETAILS_LENGTH = 300


class LocalUserService(UserService):
    """The users service in this process, on its own database."""

    def register(self, *, username: str, email: str, password: str, profile: Profile) -> User:
        user = models.User(**{**_given(profile), "username": username, "email": email})
        _check_fields(user)
        passwords.check_rules(password, user)
        user.set_password(password)
        with _unique_names(user.pk, user.username, user.email), atomic("users"):
            user.save(force_insert=True)
            registered = to_user(user)
            publish("users", user_fact(REGISTERED, registered, user.version))
        return registered

    def log_in(self, *, login: str, password: str, client: Client) -> TokenPair:
        checked = passwords.find_user(login, password)
        if checked is None:
            raise _wrong_credentials()
        with atomic("users"):
            # Checking took a while: the account may have been deactivated, or its password changed, in between.
            user = _lock(checked.pk)
            if not user.active or user.password != checked.password:
                raise _wrong_credentials()
            session = sessions.start(user, client)
            _note(user.pk, "user.logged_in", f"Logged in from {session.address or 'an unknown address'}.")
        return _issue(user, session)

    def refresh(self, *, refresh_token: str, client: Client) -> TokenPair:
        claims = tokens.read_refresh(refresh_token)
        with atomic("users"):
            session = sessions.rotate(claims, client)
            if session is None and sessions.end(models.Session.objects.filter(pk=claims.session_id)):
                _note(
                    claims.user_id, "user.session_revoked", "A spent refresh token came again; its session was ended."
                )
        if session is None:
            raise InvalidToken("The refresh token was used before, or its session has ended.")
        return _issue(session.user, session)

    def authenticate(self, *, access_token: str) -> Principal:
        principal = tokens.read_access(access_token)
        if not liveness.is_live(principal.session_id):
            raise InvalidToken("The session has ended.")
        return principal

    def identify_caller(self, *, token: str) -> Identity:
        identity = tokens.read_any(token)
        caller = identity.caller
        if isinstance(caller, Principal):
            if not liveness.is_live(caller.session_id):
                raise InvalidToken("The session has ended.")
        elif not service_tokens.is_live(caller.id):
            raise InvalidToken("The service token was revoked.")
        return identity

    def log_out(self, *, user_id: UUID, session_id: UUID) -> None:
        with atomic("users"):
            ended = sessions.end(models.Session.objects.filter(pk=session_id, user_id=user_id))
        if not ended:
            raise SessionNotFound("There is no such session.")

    def get_user(self, *, user_id: UUID) -> User:
        return to_user(_get(models.User.objects.filter(pk=user_id)))

    def get_user_by_email(self, *, email: str) -> User:
        return to_user(_get(models.User.objects.filter(email_folded=models.fold(email))))

    def list_sessions(self, *, user_id: UUID) -> Sequence[Session]:
        live = sessions.live(models.Session.objects.filter(user_id=user_id)).order_by("-id")
        return [_to_session(row) for row in live[:MOST_SESSIONS]]

    def update_profile(self, *, user_id: UUID, profile: Profile) -> User:
        with _unique_names(user_id, profile.username, profile.email), atomic("users"):
            user = _lock(user_id)
            before = to_user(user)
            for name, value in _given(profile).items():
                setattr(user, name, value)
            _check_fields(user)
            if models.fold(before.email) != user.email_folded:
                user.email_verified = False
            if to_user(user) == before:
                return before
            return _save_and_publish(user, UPDATED)

    def change_password(self, *, user_id: UUID, session_id: UUID | None, old: str, new: str) -> None:
        checked = _get(models.User.objects.filter(pk=user_id))
        if not checked.check_password(old):
            raise WrongCredentials(Problem("The old password is wrong.", "old_password"))
        passwords.check_rules(new, checked)
        known_hash = checked.password
        checked.set_password(new)
        with atomic("users"):
            user = _lock(user_id)
            if user.password != known_hash:
                raise WrongCredentials(Problem("The old password is wrong.", "old_password"))
            user.password = checked.password
            user.save(update_fields=["password", "updated_at"])
            sessions.end(models.Session.objects.filter(user=user).exclude(pk__in=[session_id] if session_id else []))
            _note(user_id, "user.password_changed", "Changed the password; all other sessions were ended.")

    def manage_user(
        self, *, actor_id: UUID, user_id: UUID, role: Role | None = None, active: bool | None = None
    ) -> User:
        if actor_id == user_id:
            raise OwnRole("Nobody can change their own role or deactivate themselves. Ask another admin.")
        with atomic("users"):
            user = _lock(user_id)
            before = to_user(user)
            user.role = before.role if role is None else role
            user.active = before.active if active is None else active
            if to_user(user) == before:
                return before
            sessions.end(models.Session.objects.filter(user=user))
            return _save_and_publish(user, DEACTIVATED if before.active and not user.active else UPDATED)

    def record_activities(self, *, lines: Sequence[ActivityLine]) -> None:
        with atomic("users"):
            users = models.User.objects.filter(pk__in={line.user_id for line in lines})
            known = set(users.values_list("pk", flat=True))
            rows = [
                models.Activity(**{**vars(line), "details": line.details[:_DETAILS_LENGTH]})
                for line in lines
                if line.user_id in known
            ]
            models.Activity.objects.bulk_create(rows, ignore_conflicts=True)


def end_all_sessions(user_id: UUID) -> None:
    """End every session of a user whose password somebody else has set."""
    with atomic("users"):
        sessions.end(models.Session.objects.filter(user_id=user_id))


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


def _to_session(row: models.Session) -> Session:
    return Session(
        id=row.pk,
        address=row.address or "",
        agent=row.agent,
        created_at=row.created_at,
        last_used_at=row.last_used_at,
        expires_at=row.expires_at,
    )


def _get(rows: QuerySet[models.User]) -> models.User:
    try:
        return rows.get()
    except models.User.DoesNotExist:
        raise UserNotFound("There is no such user.") from None


def _lock(user_id: UUID) -> models.User:
    """The user, changed by nobody else until the transaction ends. Rows that refer to the user can still be added:
    they would otherwise wait for us while we wait for their session.
    """
    return _get(models.User.objects.select_for_update(no_key=True).filter(pk=user_id))


def _given(profile: Profile) -> dict[str, str]:
    return {name: value for name, value in asdict(profile).items() if value is not None}


def _check_fields(user: models.User) -> None:
    """Bring names into the form in which they are kept, and refuse what the columns do not take."""
    try:
        user.clean_fields(exclude={"password", "username_folded", "email_folded"})
    except ValidationError as error:
        problems = [Problem(text, attr) for attr, texts in error.message_dict.items() for text in texts]
        raise InvalidProfile(*problems) from error


@contextmanager
def _unique_names(user_id: UUID, username: str | None, email: str | None) -> Iterator[None]:
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


def _save_and_publish(user: models.User, kind: str) -> User:
    user.version += 1
    user.save()
    changed = to_user(user)
    publish("users", user_fact(kind, changed, user.version))
    return changed


def _note(user_id: UUID, action: str, details: str) -> None:
    models.Activity.objects.create(user_id=user_id, action=action, details=details)


def _wrong_credentials() -> WrongCredentials:
    return WrongCredentials("The log-in or the password is wrong.")


def _issue(user: models.User, session: models.Session) -> TokenPair:
    claims = tokens.RefreshClaims(user_id=user.pk, session_id=session.pk, refresh_id=session.refresh_id)
    return TokenPair(
        access=tokens.write_access(user_id=user.pk, role=user.role, session_id=session.pk),
        refresh=tokens.write_refresh(claims),
        expires_in=int(tokens.AccessToken.lifetime.total_seconds()),
        user=to_user(user),
    )
