"""The users service: accounts, sessions and tokens, as other code sees it."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from apps.common.errors import AlreadyExists, Conflict, InvalidInput, NotFound, Unauthenticated

# How many of one user are listed: more than anybody reads, while a program that logs in anew for every call has as many
# as it likes.
MOST_SESSIONS = 100
# How much of a user's activity log an export has; older lines are read page by page.
MOST_ACTIVITIES = 10_000


class Role(StrEnum):
    """What a person may do. An admin may do everything."""

    USER = "user"
    CATALOG_STAFF = "catalog_staff"
    ORDER_STAFF = "order_staff"
    ADMIN = "admin"


@dataclass(frozen=True)
class User:
    """An account."""

    id: UUID
    username: str
    email: str
    first_name: str
    last_name: str
    phone: str
    address: str
    role: Role
    active: bool
    email_verified: bool
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True)
class Client:
    """Where a request came from: kept with a session so that its owner can recognise it."""

    address: str
    agent: str


@dataclass(frozen=True)
class TokenPair:
    """What a log-in gives: `expires_in` is the access token's life in seconds."""

    access: str
    refresh: str
    expires_in: int
    user: User


@dataclass(frozen=True)
class Principal:
    """Who is asking, as far as a verified access token says. No database row stands behind it."""

    id: UUID
    role: Role
    session_id: UUID

    @property
    def is_authenticated(self) -> bool:
        """Always true; REST framework asks."""
        return True


class Scope(StrEnum):
    """What a service token lets another system do."""

    USERS_READ = "users:read"
    USERS_WRITE = "users:write"
    TOKENS_READ = "tokens:read"
    PRODUCTS_READ = "products:read"
    PRODUCTS_WRITE = "products:write"
    STOCK_WRITE = "stock:write"
    ORDERS_READ = "orders:read"
    ORDERS_WRITE = "orders:write"
    EVENTS = "events"


@dataclass(frozen=True)
class ServiceAccount:
    """Another system that is asking, as its service token says."""

    id: UUID
    name: str
    scopes: frozenset[Scope]


Caller = Principal | ServiceAccount


@dataclass(frozen=True)
class Identity:
    """Whose a token is, and when that token expires."""

    caller: Caller
    expires_at: datetime


@dataclass(frozen=True)
class Session:
    """A log-in on one device, alive until it expires or is revoked."""

    id: UUID
    address: str
    agent: str
    created_at: datetime
    last_used_at: datetime
    expires_at: datetime


@dataclass(frozen=True)
class Profile:
    """The parts of an account that its owner edits; None leaves a part as it is."""

    username: str | None = None
    email: str | None = None
    first_name: str | None = None
    last_name: str | None = None
    phone: str | None = None
    address: str | None = None


@dataclass(frozen=True)
class ActivityLine:
    """A line of a user's activity log, and the event that it tells of."""

    user_id: UUID
    action: str
    details: str
    happened_at: datetime
    event_id: UUID


@dataclass(frozen=True)
class Deed:
    """A line of a user's activity log, as its reader sees it."""

    action: str
    details: str
    happened_at: datetime


@dataclass(frozen=True)
class UserData:
    """All that the service holds about a user: sessions that have ended are kept for a while. Newest first."""

    user: User
    sessions: Sequence[Session]
    activities: Sequence[Deed]


class UserNotFound(NotFound):
    code = "user_not_found"


class SessionNotFound(NotFound):
    code = "session_not_found"


class EmailTaken(AlreadyExists):
    code = "email_taken"


class UsernameTaken(AlreadyExists):
    code = "username_taken"


class InvalidProfile(InvalidInput):
    """A name or an address is not in a form that an account can have."""


class WeakPassword(InvalidInput):
    code = "weak_password"


class WrongCredentials(Unauthenticated):
    code = "wrong_credentials"


class InvalidToken(Unauthenticated):
    """Malformed, expired, signed by somebody else, of the wrong kind, or its session has ended."""

    code = "invalid_token"


class OtpRequired(Unauthenticated):
    """The password is right, and the account has a second factor: a one-time code is missing or wrong."""

    code = "otp_required"


class InvalidLink(InvalidInput):
    """A token that was mailed is malformed, expired, or has been used, or the account has changed since."""

    code = "invalid_link"


class AlreadyVerified(Conflict):
    """The account's e-mail address is verified."""

    code = "already_verified"


class LastAdmin(Conflict):
    """There would be nobody left who can manage accounts."""

    code = "last_admin"


class OwnRole(Conflict):
    """Nobody changes their own role or deactivates themselves: the last admin could be lost."""

    code = "own_role"


class UserService(ABC):
    """Accounts, sessions and tokens."""

    @abstractmethod
    def register(self, *, username: str, email: str, password: str, profile: Profile) -> User:
        """Open an account with the role `user`; publishes `user.registered`.

        Raises:
            InvalidProfile: names each field that is not in a form that an account can have.
            EmailTaken, UsernameTaken: another account has it, ignoring case.
            WeakPassword: names each rule that the password breaks.
        """

    @abstractmethod
    def log_in(self, *, login: str, password: str, client: Client, otp: str = "") -> TokenPair:
        """Start a session for the e-mail address or username `login`. `otp` is a one-time code, or one of the recovery
        codes, for an account with a second factor.

        Raises:
            WrongCredentials: unknown, wrong password, deactivated, or too many attempts have failed; which of these is
                not told.
            OtpRequired: the password is right, and a good one-time code is missing.
        """

    @abstractmethod
    def refresh(self, *, refresh_token: str, client: Client) -> TokenPair:
        """Exchange a refresh token for a new pair. The old one is spent: presenting it again revokes the session.

        Raises:
            InvalidToken: it is not a live refresh token, or was spent before.
        """

    @abstractmethod
    def authenticate(self, *, access_token: str) -> Principal:
        """Who presents this access token. Costs no database query while the session is cached.

        Raises:
            InvalidToken: it is not a live access token of a live session.
        """

    @abstractmethod
    def identify_caller(self, *, token: str) -> Identity:
        """Who presents this token: a person's access token, or the service token of another system.

        Raises:
            InvalidToken: it is neither, or its session has ended, or it was revoked.
        """

    @abstractmethod
    def log_out(self, *, user_id: UUID, session_id: UUID) -> None:
        """End one session of the user; its tokens stop working at once.

        Raises:
            SessionNotFound: the user has no such live session.
        """

    @abstractmethod
    def end_other_sessions(self, *, user_id: UUID, session_id: UUID | None) -> int:
        """End every live session of the user but `session_id`, and those that browsers have on pages of ours; returns
        how many of the first.
        """

    @abstractmethod
    def get_user(self, *, user_id: UUID) -> User:
        """An erased account is not found.

        Raises:
            UserNotFound: there is no such account.
        """

    @abstractmethod
    def get_user_by_email(self, *, email: str) -> User:
        """
        Raises:
            UserNotFound: there is no such account.
        """

    @abstractmethod
    def list_sessions(self, *, user_id: UUID) -> Sequence[Session]:
        """The user's live sessions, newest first; at most `MOST_SESSIONS`. Ending some brings older ones up."""

    @abstractmethod
    def update_profile(self, *, user_id: UUID, profile: Profile) -> User:
        """Change the user's own data; publishes `user.updated`. A new e-mail address is unverified again, and a mail
        with which to verify it goes out.

        Raises:
            UserNotFound: there is no such account.
            InvalidProfile: names each field that is not in a form that an account can have.
            EmailTaken, UsernameTaken: another account has it, ignoring case.
        """

    @abstractmethod
    def change_password(self, *, user_id: UUID, session_id: UUID | None, old: str, new: str) -> None:
        """Set a new password and end every session of the user but `session_id`.

        Raises:
            UserNotFound: there is no such account.
            WrongCredentials: the old password is wrong, or was too often.
            WeakPassword: names each rule that the new password breaks.
        """

    @abstractmethod
    def request_verification(self, *, user_id: UUID) -> None:
        """Have another mail sent with which the user verifies their address.

        Raises:
            UserNotFound: there is no such account.
            AlreadyVerified: there is nothing to verify.
        """

    @abstractmethod
    def verify_email(self, *, token: str) -> User:
        """Note that the account's address is its owner's: `token` was mailed there. Publishes `user.updated`.

        Raises:
            InvalidLink: expired, used, or the address has changed since.
        """

    @abstractmethod
    def request_password_reset(self, *, email: str) -> None:
        """Have a mail sent with which a new password can be set, if there is such an account: that is found out later,
        so that neither answer nor time tells.
        """

    @abstractmethod
    def reset_password(self, *, token: str, password: str) -> None:
        """Set a new password for one who was mailed `token`; ends every session and opens an account that too many
        failed log-ins have closed.

        Raises:
            InvalidLink: expired, used, or the address or the password has changed since.
            WeakPassword: names each rule that the password breaks.
        """

    @abstractmethod
    def unlock_user(self, *, user_id: UUID) -> None:
        """Open an account again that too many failed log-ins have closed.

        Raises:
            UserNotFound: there is no such account.
        """

    @abstractmethod
    def erase_user(self, *, user_id: UUID, password: str) -> None:
        """Erase the account's personal data, for its owner, and end its sessions; publishes `user.deleted`, from which
        other services learn to do the same.

        Raises:
            UserNotFound: there is no such account.
            WrongCredentials: the password is wrong, or was too often.
            LastAdmin: nobody else could manage accounts.
        """

    @abstractmethod
    def export_user(self, *, user_id: UUID) -> UserData:
        """All that the service holds about the user; of the activity log the newest `MOST_ACTIVITIES`.

        Raises:
            UserNotFound: there is no such account.
        """

    @abstractmethod
    def manage_user(
        self, *, actor_id: UUID, user_id: UUID, role: Role | None = None, active: bool | None = None
    ) -> User:
        """Change a user's role or activity, for an admin; ends the user's sessions, since tokens carry the role.
        Publishes `user.updated`, or `user.deactivated`. What was changed and by whom is kept, and told in the user's
        activity log.

        Raises:
            UserNotFound: there is no such account.
            OwnRole: the actor is the user.
            LastAdmin: nobody else could manage accounts.
        """

    @abstractmethod
    def record_activities(self, *, lines: Sequence[ActivityLine]) -> None:
        """Add lines to users' activity logs; one event adds at most one, an unknown user's none."""
