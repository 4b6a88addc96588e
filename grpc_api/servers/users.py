"""`user.UserService`: a message in, one call of the interface, a message out."""

import grpc
from google.protobuf.empty_pb2 import Empty

from apps.users.interface import (
    ActivityLine,
    Client,
    InvalidToken,
    Principal,
    Profile,
    Role,
    Scope,
    UserNotFound,
    UserService,
)
from grpc_api.convert import from_message, read_choice, read_id, read_optional_id, to_message, to_messages, to_timestamp
from grpc_api.gen import user_pb2 as pb
from grpc_api.gen.user_pb2_grpc import UserServiceServicer, add_UserServiceServicer_to_server
from grpc_api.servers import calls
from grpc_api.servers.bounds import Bounds, count
from grpc_api.servers.interceptors import EVERYONE, Access, Policy
from grpc_api.servers.server import Hosted

SERVICE = "user.UserService"

_WRITE = Access(Scope.USERS_WRITE)

POLICY: Policy = {
    "GetUser": Access(Scope.USERS_READ, EVERYONE),
    "GetUserByEmail": Access(Scope.USERS_READ, EVERYONE),
    "ValidateToken": Access(None, EVERYONE),
    "IdentifyCaller": Access(Scope.TOKENS_READ),
    "Register": _WRITE,
    "LogIn": _WRITE,
    "Refresh": _WRITE,
    "LogOut": _WRITE,
    "ListSessions": Access(Scope.USERS_READ),
    "EndOtherSessions": _WRITE,
    "UpdateProfile": _WRITE,
    "ChangePassword": _WRITE,
    "RequestVerification": _WRITE,
    "VerifyEmail": _WRITE,
    "RequestPasswordReset": _WRITE,
    "ResetPassword": _WRITE,
    "UnlockUser": _WRITE,
    "EraseUser": _WRITE,
    "ExportUser": Access(Scope.USERS_READ),
    "ManageUser": _WRITE,
    "RecordActivities": _WRITE,
}


BOUNDS: Bounds = {"user.RecordActivitiesRequest": {"lines": count(0, 1000)}}


class UserServicer(UserServiceServicer):
    def __init__(self, users: UserService) -> None:
        self._users = users

    def GetUser(self, request: pb.GetUserRequest, context: grpc.ServicerContext) -> pb.GetUserResponse:
        user_id = read_id(request.id)
        if not calls.may_see_user(user_id):
            raise _no_such_user()
        return to_message(pb.GetUserResponse, self._users.get_user(user_id=user_id))

    def GetUserByEmail(self, request: pb.GetUserByEmailRequest, context: grpc.ServicerContext) -> pb.GetUserResponse:
        user = self._users.get_user_by_email(email=request.email)
        if not calls.may_see_user(user.id):
            raise _no_such_user()
        return to_message(pb.GetUserResponse, user)

    def ValidateToken(
        self, request: pb.ValidateTokenRequest, context: grpc.ServicerContext
    ) -> pb.ValidateTokenResponse:
        try:
            principal = self._users.authenticate(access_token=request.token)
        except InvalidToken:
            return pb.ValidateTokenResponse(valid=False)
        return pb.ValidateTokenResponse(valid=True, user_id=str(principal.id), role=principal.role)

    def IdentifyCaller(
        self, request: pb.IdentifyCallerRequest, context: grpc.ServicerContext
    ) -> pb.IdentifyCallerResponse:
        identity = self._users.identify_caller(token=request.token)
        answer = pb.IdentifyCallerResponse(expires_at=to_timestamp(identity.expires_at))
        if isinstance(identity.caller, Principal):
            answer.person.CopyFrom(to_message(pb.Principal, identity.caller))
        else:
            answer.service.CopyFrom(to_message(pb.ServiceAccount, identity.caller))
        return answer

    def Register(self, request: pb.RegisterRequest, context: grpc.ServicerContext) -> pb.GetUserResponse:
        user = self._users.register(
            username=request.username,
            email=request.email,
            password=request.password,
            profile=from_message(Profile, request.profile),
        )
        return to_message(pb.GetUserResponse, user)

    def LogIn(self, request: pb.LogInRequest, context: grpc.ServicerContext) -> pb.TokenPair:
        pair = self._users.log_in(
            login=request.login,
            password=request.password,
            client=from_message(Client, request.client),
            otp=request.otp,
        )
        return to_message(pb.TokenPair, pair)

    def Refresh(self, request: pb.RefreshRequest, context: grpc.ServicerContext) -> pb.TokenPair:
        pair = self._users.refresh(refresh_token=request.refresh_token, client=from_message(Client, request.client))
        return to_message(pb.TokenPair, pair)

    def LogOut(self, request: pb.LogOutRequest, context: grpc.ServicerContext) -> Empty:
        self._users.log_out(
            user_id=read_id(request.user_id, "user_id"), session_id=read_id(request.session_id, "session_id")
        )
        return Empty()

    def ListSessions(self, request: pb.ListSessionsRequest, context: grpc.ServicerContext) -> pb.ListSessionsResponse:
        sessions = self._users.list_sessions(user_id=read_id(request.user_id, "user_id"))
        return pb.ListSessionsResponse(sessions=to_messages(pb.Session, sessions))

    def EndOtherSessions(
        self, request: pb.EndOtherSessionsRequest, context: grpc.ServicerContext
    ) -> pb.EndOtherSessionsResponse:
        ended = self._users.end_other_sessions(
            user_id=read_id(request.user_id, "user_id"), session_id=read_optional_id(request, "session_id")
        )
        return pb.EndOtherSessionsResponse(ended=ended)

    def UpdateProfile(self, request: pb.UpdateProfileRequest, context: grpc.ServicerContext) -> pb.GetUserResponse:
        user = self._users.update_profile(
            user_id=read_id(request.user_id, "user_id"), profile=from_message(Profile, request.profile)
        )
        return to_message(pb.GetUserResponse, user)

    def ChangePassword(self, request: pb.ChangePasswordRequest, context: grpc.ServicerContext) -> Empty:
        self._users.change_password(
            user_id=read_id(request.user_id, "user_id"),
            session_id=read_optional_id(request, "session_id"),
            old=request.old,
            new=request.new,
        )
        return Empty()

    def RequestVerification(self, request: pb.RequestVerificationRequest, context: grpc.ServicerContext) -> Empty:
        self._users.request_verification(user_id=read_id(request.user_id, "user_id"))
        return Empty()

    def VerifyEmail(self, request: pb.VerifyEmailRequest, context: grpc.ServicerContext) -> pb.GetUserResponse:
        return to_message(pb.GetUserResponse, self._users.verify_email(token=request.token))

    def RequestPasswordReset(self, request: pb.RequestPasswordResetRequest, context: grpc.ServicerContext) -> Empty:
        self._users.request_password_reset(email=request.email)
        return Empty()

    def ResetPassword(self, request: pb.ResetPasswordRequest, context: grpc.ServicerContext) -> Empty:
        self._users.reset_password(token=request.token, password=request.password)
        return Empty()

    def UnlockUser(self, request: pb.UnlockUserRequest, context: grpc.ServicerContext) -> Empty:
        self._users.unlock_user(user_id=read_id(request.user_id, "user_id"))
        return Empty()

    def EraseUser(self, request: pb.EraseUserRequest, context: grpc.ServicerContext) -> Empty:
        self._users.erase_user(user_id=read_id(request.user_id, "user_id"), password=request.password)
        return Empty()

    def ExportUser(self, request: pb.ExportUserRequest, context: grpc.ServicerContext) -> pb.UserData:
        return to_message(pb.UserData, self._users.export_user(user_id=read_id(request.user_id, "user_id")))

    def ManageUser(self, request: pb.ManageUserRequest, context: grpc.ServicerContext) -> pb.GetUserResponse:
        user = self._users.manage_user(
            actor_id=read_id(request.actor_id, "actor_id"),
            user_id=read_id(request.user_id, "user_id"),
            role=read_choice(Role, request.role, "role") if request.HasField("role") else None,
            active=request.active if request.HasField("active") else None,
        )
        return to_message(pb.GetUserResponse, user)

    def RecordActivities(self, request: pb.RecordActivitiesRequest, context: grpc.ServicerContext) -> Empty:
        self._users.record_activities(lines=[from_message(ActivityLine, line) for line in request.lines])
        return Empty()


def _no_such_user() -> UserNotFound:
    return UserNotFound("There is no such user.")


def hosted(users: UserService) -> Hosted:
    """The service, for a server."""
    servicer = UserServicer(users)
    return Hosted(SERVICE, POLICY, lambda server: add_UserServiceServicer_to_server(servicer, server), BOUNDS)
