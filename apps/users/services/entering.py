"""Sessions: how they begin, go on and end, and who is in them."""

from collections.abc import Sequence
from uuid import UUID

from apps.common.databases import atomic
from apps.common.ids import new_id
from apps.users import guard, liveness, models, passwords, second_factor, service_tokens, sessions, tokens
from apps.users.interface import (
    MOST_SESSIONS,
    Client,
    Identity,
    InvalidToken,
    OtpRequired,
    Principal,
    Session,
    SessionNotFound,
    TokenPair,
    WrongCredentials,
)
from apps.users.services.rows import get, lock, note, to_session, to_user


class Entering:
    """The part of the users service that lets people in."""

    def log_in(self, *, login: str, password: str, client: Client, otp: str = "") -> TokenPair:
        checked = passwords.find_user(login, password, client.address)
        if checked is None:
            raise _wrong_credentials()
        with atomic("users"):
            # Checking took a while: the account may have been deactivated, or its password changed, in between.
            user = lock(checked.pk)
            if not user.active or user.password != checked.password:
                raise _wrong_credentials()
            session = _begin(user, client) if second_factor.lets_in(user, otp) else None
        if session is None:
            raise _missing_code(user, otp, client)
        return _issue(user, session)

    def refresh(self, *, refresh_token: str, client: Client) -> TokenPair:
        claims = tokens.read_refresh(refresh_token)
        with atomic("users"):
            session = sessions.rotate(claims, client)
            if session is None and sessions.end(models.Session.objects.filter(pk=claims.session_id)):
                note(claims.user_id, "user.session_revoked", "A spent refresh token came again; its session was ended.")
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

    def end_other_sessions(self, *, user_id: UUID, session_id: UUID | None) -> int:
        with atomic("users"):
            models.User.objects.filter(pk=user_id).update(cookie_key=new_id())
            ended = sessions.end(sessions.others(user_id, session_id))
            if ended:
                note(user_id, "user.sessions_ended", f"Ended {ended} other sessions.")
        return ended

    def list_sessions(self, *, user_id: UUID) -> Sequence[Session]:
        live = sessions.live(models.Session.objects.filter(user_id=user_id)).order_by("-id")
        return [to_session(row) for row in live[:MOST_SESSIONS]]

    def unlock_user(self, *, user_id: UUID) -> None:
        user = get(pk=user_id)
        with atomic("users"):
            guard.forget(user.pk)
            note(user.pk, "user.unlocked", "An admin has opened the account for log-ins again.")


def _begin(user: models.User, client: Client) -> models.Session:
    guard.forget(user.pk)
    session = sessions.start(user, client)
    note(user.pk, "user.logged_in", f"Logged in from {session.address or 'an unknown address'}.")
    return session


def _wrong_credentials() -> WrongCredentials:
    # Told to everybody, so that it does not tell to whom it applies.
    return WrongCredentials(
        "The log-in or the password is wrong. After many attempts, wait a while or set a new password."
    )


def _missing_code(user: models.User, otp: str, client: Client) -> OtpRequired:
    """The refusal of one who knows the password. A wrong code counts as a failed log-in, a missing one does not."""
    if not otp:
        return OtpRequired("This account has a second factor. Send a code from your authenticator app as otp.")
    guard.attempt(user.username, user, client.address).note_failure()
    return OtpRequired("The one-time code is wrong or was used before. Wait for the next one, and send it as otp.")


def _issue(user: models.User, session: models.Session) -> TokenPair:
    claims = tokens.RefreshClaims(user_id=user.pk, session_id=session.pk, refresh_id=session.refresh_id)
    return TokenPair(
        access=tokens.write_access(user_id=user.pk, role=user.role, session_id=session.pk),
        refresh=tokens.write_refresh(claims),
        expires_in=int(tokens.AccessToken.lifetime.total_seconds()),
        user=to_user(user),
    )
