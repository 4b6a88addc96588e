"""The users service, elsewhere."""

from collections import OrderedDict
from collections.abc import Sequence
from datetime import UTC, datetime
from threading import Lock
from uuid import UUID

from apps.common import session_marks
from apps.common.errors import ServiceUnavailable
from apps.users import interface
from apps.users.interface import (
    ActivityLine,
    Client,
    Identity,
    InvalidToken,
    Principal,
    Profile,
    Role,
    ServiceAccount,
    Session,
    TokenPair,
    User,
    UserData,
    UserService,
)
from grpc_api.clients.remote import Peer, Remote
from grpc_api.convert import from_message, from_timestamp, to_message, to_messages
from grpc_api.errors import registry
from grpc_api.gen import user_pb2 as pb
from grpc_api.gen.user_pb2_grpc import UserServiceStub

_REPEATABLE = ("GetUser", "GetUserByEmail", "IdentifyCaller", "ListSessions", "RecordActivities", "ExportUser")
_MOST_TOKENS = 4096


class RemoteUserService(UserService):
    """Speaks to the users service over gRPC.

    Whose a token is, is asked once and remembered; after that the marks in the shared cache say whether it is still
    good. Without a shared cache it is asked each time. While the service is away, a token is believed that it has
    confirmed to this process before, and that no mark says has been revoked.
    """

    def __init__(self, peer: Peer) -> None:
        self._remote = Remote(peer, UserServiceStub, "user.UserService", registry(interface), _REPEATABLE)
        self._identities = _Identities()

    def register(self, *, username: str, email: str, password: str, profile: Profile) -> User:
        request = pb.RegisterRequest(
            username=username, email=email, password=password, profile=to_message(pb.Profile, profile)
        )
        return from_message(User, self._remote.call("Register", request))

    def log_in(self, *, login: str, password: str, client: Client, otp: str = "") -> TokenPair:
        request = pb.LogInRequest(login=login, password=password, client=to_message(pb.Client, client), otp=otp)
        return from_message(TokenPair, self._remote.call("LogIn", request))

    def refresh(self, *, refresh_token: str, client: Client) -> TokenPair:
        request = pb.RefreshRequest(refresh_token=refresh_token, client=to_message(pb.Client, client))
        return from_message(TokenPair, self._remote.call("Refresh", request))

    def authenticate(self, *, access_token: str) -> Principal:
        caller = self.identify_caller(token=access_token).caller
        if not isinstance(caller, Principal):
            raise InvalidToken("The token is not valid, has expired, or its session has ended.")
        return caller

    def identify_caller(self, *, token: str) -> Identity:
        known = self._identities.get(token)
        is_live = session_marks.says_live(_mark_of(known)) if known else None
        if known and is_live:
            return known
        if is_live is False:
            raise InvalidToken("The session has ended.")
        try:
            identity = _to_identity(self._remote.call("IdentifyCaller", pb.IdentifyCallerRequest(token=token)))
        except ServiceUnavailable:
            if known:
                return known
            raise
        self._identities.remember(token, identity)
        return identity

    def log_out(self, *, user_id: UUID, session_id: UUID) -> None:
        self._remote.call("LogOut", pb.LogOutRequest(user_id=str(user_id), session_id=str(session_id)))

    def end_other_sessions(self, *, user_id: UUID, session_id: UUID | None) -> int:
        request = pb.EndOtherSessionsRequest(user_id=str(user_id), session_id=_text(session_id))
        ended: int = self._remote.call("EndOtherSessions", request).ended
        return ended

    def get_user(self, *, user_id: UUID) -> User:
        return from_message(User, self._remote.call("GetUser", pb.GetUserRequest(id=str(user_id))))

    def get_user_by_email(self, *, email: str) -> User:
        return from_message(User, self._remote.call("GetUserByEmail", pb.GetUserByEmailRequest(email=email)))

    def list_sessions(self, *, user_id: UUID) -> Sequence[Session]:
        answer = self._remote.call("ListSessions", pb.ListSessionsRequest(user_id=str(user_id)))
        return [from_message(Session, session) for session in answer.sessions]

    def update_profile(self, *, user_id: UUID, profile: Profile) -> User:
        request = pb.UpdateProfileRequest(user_id=str(user_id), profile=to_message(pb.Profile, profile))
        return from_message(User, self._remote.call("UpdateProfile", request))

    def change_password(self, *, user_id: UUID, session_id: UUID | None, old: str, new: str) -> None:
        request = pb.ChangePasswordRequest(user_id=str(user_id), session_id=_text(session_id), old=old, new=new)
        self._remote.call("ChangePassword", request)

    def request_verification(self, *, user_id: UUID) -> None:
        self._remote.call("RequestVerification", pb.RequestVerificationRequest(user_id=str(user_id)))

    def verify_email(self, *, token: str) -> User:
        return from_message(User, self._remote.call("VerifyEmail", pb.VerifyEmailRequest(token=token)))

    def request_password_reset(self, *, email: str) -> None:
        self._remote.call("RequestPasswordReset", pb.RequestPasswordResetRequest(email=email))

    def reset_password(self, *, token: str, password: str) -> None:
        self._remote.call("ResetPassword", pb.ResetPasswordRequest(token=token, password=password))

    def unlock_user(self, *, user_id: UUID) -> None:
        self._remote.call("UnlockUser", pb.UnlockUserRequest(user_id=str(user_id)))

    def erase_user(self, *, user_id: UUID, password: str) -> None:
        self._remote.call("EraseUser", pb.EraseUserRequest(user_id=str(user_id), password=password))

    def export_user(self, *, user_id: UUID) -> UserData:
        return from_message(UserData, self._remote.call("ExportUser", pb.ExportUserRequest(user_id=str(user_id))))

    def manage_user(
        self, *, actor_id: UUID, user_id: UUID, role: Role | None = None, active: bool | None = None
    ) -> User:
        request = pb.ManageUserRequest(actor_id=str(actor_id), user_id=str(user_id), role=role, active=active)
        return from_message(User, self._remote.call("ManageUser", request))

    def record_activities(self, *, lines: Sequence[ActivityLine]) -> None:
        self._remote.call("RecordActivities", pb.RecordActivitiesRequest(lines=to_messages(pb.ActivityLine, lines)))


class _Identities:
    """The tokens that were asked for last, until they expire."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._known: OrderedDict[str, Identity] = OrderedDict()

    def get(self, token: str) -> Identity | None:
        identity = self._known.get(token)
        return identity if identity and identity.expires_at > datetime.now(UTC) else None

    def remember(self, token: str, identity: Identity) -> None:
        with self._lock:
            self._known[token] = identity
            if len(self._known) > _MOST_TOKENS:
                self._known.popitem(last=False)


def _to_identity(answer: pb.IdentifyCallerResponse) -> Identity:
    caller = (
        from_message(Principal, answer.person)
        if answer.HasField("person")
        else from_message(ServiceAccount, answer.service)
    )
    return Identity(caller=caller, expires_at=from_timestamp(answer.expires_at))


def _text(key: UUID | None) -> str | None:
    return None if key is None else str(key)


def _mark_of(identity: Identity) -> UUID:
    """What a mark in the cache names: the session or, of another system, the token."""
    caller = identity.caller
    return caller.session_id if isinstance(caller, Principal) else caller.id
