"""The users service over REST."""

from typing import cast
from uuid import UUID

from django.contrib.auth import logout
from django.db.models import QuerySet
from django.http import StreamingHttpResponse
from django_filters.rest_framework import DjangoFilterBackend
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import generics, serializers, status
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import PermissionDenied
from rest_framework.permissions import AllowAny, BasePermission, IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.common.addresses import client_address
from apps.common.api.download import csv_file
from apps.common.api.negotiation import CSV, JSONOrCSV, wants_csv
from apps.common.api.paging import NewestFirst
from apps.common.api.permissions import IsAdmin
from apps.common.api.schema import refusal
from apps.users import models
from apps.users.api import examples
from apps.users.api.filters import UserFilter
from apps.users.api.serializers import (
    ActivitySerializer,
    EraseInput,
    LoginInput,
    ManageInput,
    PasswordChangeInput,
    ProfileInput,
    RefreshInput,
    RegisterInput,
    ResetInput,
    ResetRequestInput,
    SessionSerializer,
    TokenInput,
    TokenPairSerializer,
    UserDataSerializer,
    UserSerializer,
)
from apps.users.api.sheets import activity_to_csv
from apps.users.interface import MOST_ACTIVITIES, MOST_SESSIONS, Client, Principal, Profile, Role, UserNotFound
from apps.users.services.rows import to_user
from config import services

_OWN_ORDERS = "/api/v1/orders?page_size=100"
_TAKEN = refusal("email_taken", "username_taken")


class RegisterView(APIView):
    """Anyone opens an account."""

    authentication_classes = ()
    permission_classes = (AllowAny,)

    @extend_schema(
        tags=["users"],
        summary="Open an account",
        request=RegisterInput,
        responses={201: UserSerializer, 409: _TAKEN},
        examples=[examples.REGISTER, examples.USER],
    )
    def post(self, request: Request) -> Response:
        return _register(request)


class UsersView(generics.GenericAPIView[models.User]):
    """Admins list accounts; anyone opens one."""

    queryset = models.User.objects.filter(erased_at=None)
    serializer_class = UserSerializer
    filter_backends = (DjangoFilterBackend,)
    filterset_class = UserFilter

    @property
    def _registers(self) -> bool:
        # While the OpenAPI document is made, a view is asked before it has a request.
        return getattr(self.request, "method", None) == "POST"

    def get_authenticators(self) -> list[BaseAuthentication]:
        return [] if self._registers else super().get_authenticators()

    def get_permissions(self) -> list[BasePermission]:
        return [AllowAny()] if self._registers else [IsAdmin()]

    @extend_schema(tags=["users"], summary="List accounts", responses=UserSerializer(many=True))
    def get(self, request: Request) -> Response:
        page = self.paginate_queryset(self.filter_queryset(self.get_queryset())) or []
        return self.get_paginated_response(UserSerializer([to_user(row) for row in page], many=True).data)

    @extend_schema(
        tags=["users"],
        summary="Open an account (the same as /users/register)",
        request=RegisterInput,
        responses={201: UserSerializer, 409: _TAKEN},
        examples=[examples.REGISTER, examples.USER],
        filters=False,
    )
    def post(self, request: Request) -> Response:
        return _register(request)


class LoginView(APIView):
    """Starts a session."""

    authentication_classes = ()
    permission_classes = (AllowAny,)

    @extend_schema(
        tags=["users"],
        summary="Log in",
        description="With either `email` or `username`. A refusal does not tell which part was wrong, nor whether too "
        "many attempts have closed the account for a while. `otp_required`: the password is right, and `otp` is "
        "missing or wrong.",
        request=LoginInput,
        responses={200: TokenPairSerializer, 401: refusal("wrong_credentials", "otp_required")},
        examples=[examples.LOGIN, examples.LOGIN_WITH_CODE, examples.TOKEN_PAIR],
    )
    def post(self, request: Request) -> Response:
        given = LoginInput.read(request)
        pair = services.users().log_in(
            login=given.get("email") or given["username"],
            password=given["password"],
            client=_client(request),
            otp=given["otp"],
        )
        return Response(TokenPairSerializer(pair).data)


class RefreshView(APIView):
    """Exchanges a refresh token for a new pair."""

    authentication_classes = ()
    permission_classes = (AllowAny,)

    @extend_schema(
        tags=["users"],
        summary="Exchange a refresh token; used twice, it ends its session",
        description="It is refused when it has expired, was used before, or its session has ended.",
        request=RefreshInput,
        responses={200: TokenPairSerializer, 401: refusal("invalid_token")},
        examples=[examples.REFRESH, examples.TOKEN_PAIR],
    )
    def post(self, request: Request) -> Response:
        given = RefreshInput.read(request)
        pair = services.users().refresh(refresh_token=given["refresh"], client=_client(request))
        return Response(TokenPairSerializer(pair).data)


class LogoutView(APIView):
    """Ends the session of this request."""

    @extend_schema(tags=["users"], summary="Log out", request=None, responses={204: None})
    def delete(self, request: Request) -> Response:
        return self._end(request)

    @extend_schema(tags=["users"], summary="Log out", request=None, responses={204: None})
    def post(self, request: Request) -> Response:
        return self._end(request)

    def _end(self, request: Request) -> Response:
        session_id = _session_id(request)
        if session_id is None:  # a browser that logged in to the staff pages
            logout(request._request)  # noqa: SLF001 - Django's own request
        else:
            services.users().log_out(user_id=_caller(request).id, session_id=session_id)
        return Response(status=status.HTTP_204_NO_CONTENT)


class ProfileView(APIView):
    """The caller's own account."""

    @extend_schema(tags=["users"], summary="Read your account", responses=UserSerializer, examples=[examples.USER])
    def get(self, request: Request) -> Response:
        return Response(UserSerializer(services.users().get_user(user_id=_caller(request).id)).data)

    @extend_schema(
        tags=["users"],
        summary="Replace your data; what is left out is emptied",
        request=ProfileInput,
        responses={200: UserSerializer, 409: _TAKEN},
        examples=[examples.PROFILE, examples.USER],
    )
    def put(self, request: Request) -> Response:
        return self._change(request, partial=False)

    @extend_schema(
        tags=["users"],
        summary="Change parts of your data",
        request=ProfileInput,
        responses={200: UserSerializer, 409: _TAKEN},
        examples=[examples.PROFILE, examples.USER],
    )
    def patch(self, request: Request) -> Response:
        return self._change(request, partial=True)

    @extend_schema(
        tags=["users"],
        summary="Erase your account",
        description="Your data is erased and your sessions end, at once. Your orders stay, without your name, address "
        "and notes as soon as they are done.",
        request=EraseInput,
        responses={204: None, 401: refusal("wrong_credentials"), 409: refusal("last_admin")},
        examples=[examples.ERASE],
    )
    def delete(self, request: Request) -> Response:
        given = EraseInput.read(request)
        services.users().erase_user(user_id=_caller(request).id, password=given["password"])
        return Response(status=status.HTTP_204_NO_CONTENT)

    def _change(self, request: Request, *, partial: bool) -> Response:
        profile = Profile(**ProfileInput.read(request, partial=partial))
        user = services.users().update_profile(user_id=_caller(request).id, profile=profile)
        return Response(UserSerializer(user).data)


class ExportView(APIView):
    """All that is held about the caller."""

    @extend_schema(
        tags=["users"],
        summary="Get all data that is held about you",
        description=f"Sessions that ended in the last weeks are among them; of the activity log the newest "
        f"{MOST_ACTIVITIES} lines. `orders.href` is where your orders are read: they are another service's.",
        responses=UserDataSerializer,
        examples=[examples.USER_DATA],
    )
    def get(self, request: Request) -> Response:
        data = services.users().export_user(user_id=_caller(request).id)
        context = {"session_id": _session_id(request), "orders": request.build_absolute_uri(_OWN_ORDERS)}
        headers = {"Content-Disposition": 'attachment; filename="my-data.json"'}
        return Response(UserDataSerializer(data, context=context).data, headers=headers)


class VerifyView(APIView):
    """Whoever has the mail shows that the address is theirs."""

    authentication_classes = ()
    permission_classes = (AllowAny,)

    @extend_schema(
        tags=["users"],
        summary="Verify an e-mail address with the token that was mailed there",
        description="400 `invalid_link`: expired, used, or the address has changed since.",
        request=TokenInput,
        responses={204: None},
        examples=[examples.VERIFY],
    )
    def post(self, request: Request) -> Response:
        services.users().verify_email(token=TokenInput.read(request)["token"])
        return Response(status=status.HTTP_204_NO_CONTENT)


class VerifyRequestView(APIView):
    """Another mail for the caller."""

    @extend_schema(
        tags=["users"],
        summary="Have another mail sent to verify your e-mail address",
        request=None,
        responses={202: None, 409: refusal("already_verified")},
    )
    def post(self, request: Request) -> Response:
        services.users().request_verification(user_id=_caller(request).id)
        return Response(status=status.HTTP_202_ACCEPTED)


class SessionsView(APIView):
    """Where the caller is logged in."""

    @extend_schema(
        tags=["users"],
        summary="List your log-ins",
        description=f"The newest {MOST_SESSIONS} that are alive.",
        responses=SessionSerializer(many=True),
    )
    def get(self, request: Request) -> Response:
        sessions = services.users().list_sessions(user_id=_caller(request).id)
        context = {"session_id": _session_id(request)}
        return Response(SessionSerializer(sessions, many=True, context=context).data)

    @extend_schema(
        tags=["users"],
        summary="End all your other log-ins",
        request=None,
        responses={204: None},
        operation_id="users_sessions_destroy_others",
    )
    def delete(self, request: Request) -> Response:
        services.users().end_other_sessions(user_id=_caller(request).id, session_id=_session_id(request))
        return Response(status=status.HTTP_204_NO_CONTENT)


class SessionView(APIView):
    """One of the caller's log-ins."""

    @extend_schema(tags=["users"], summary="End one of your log-ins", responses={204: None})
    def delete(self, request: Request, session_id: UUID) -> Response:
        services.users().log_out(user_id=_caller(request).id, session_id=session_id)
        return Response(status=status.HTTP_204_NO_CONTENT)


class ActivityView(generics.ListAPIView[models.Activity]):
    """The log of what happened to an account."""

    queryset = models.Activity.objects.all()
    serializer_class = ActivitySerializer
    pagination_class = NewestFirst
    content_negotiation_class = JSONOrCSV

    def get_queryset(self) -> QuerySet[models.Activity]:
        return super().get_queryset().filter(user_id=self._asked_for())

    def _asked_for(self) -> UUID:
        caller = _caller(self.request)
        text = self.request.query_params.get("user")
        if text is None:
            return caller.id
        user_id: UUID = serializers.UUIDField().run_validation(text)
        if user_id != caller.id and caller.role == Role.USER:
            raise PermissionDenied
        return user_id

    @extend_schema(
        tags=["users"],
        summary="Read your activity log; staff, anyone's",
        parameters=[OpenApiParameter("user", OpenApiTypes.UUID, description="Whose log, for staff.")],
        description="With `Accept: text/csv` a file of the whole log, which is not paged.",
        responses={
            (200, "application/json"): ActivitySerializer(many=True),
            (200, CSV): OpenApiTypes.STR,
            403: refusal("permission_denied"),
        },
    )
    def get(  # type: ignore[override] # a file, too
        self, request: Request, *args: object, **kwargs: object
    ) -> Response | StreamingHttpResponse:
        if wants_csv(request):
            return csv_file(activity_to_csv(self.get_queryset()), "activity.csv")
        return super().get(request, *args, **kwargs)


class PasswordChangeView(APIView):
    """A new password for the caller."""

    @extend_schema(
        tags=["users"],
        summary="Change your password and end all your other sessions",
        request=PasswordChangeInput,
        description="400 `weak_password`: the new one breaks a rule.",
        responses={204: None, 401: refusal("wrong_credentials")},
        examples=[examples.PASSWORD_CHANGE],
    )
    def post(self, request: Request) -> Response:
        given = PasswordChangeInput.read(request)
        services.users().change_password(
            user_id=_caller(request).id,
            session_id=_session_id(request),
            old=given["old_password"],
            new=given["new_password"],
        )
        return Response(status=status.HTTP_204_NO_CONTENT)


class PasswordResetView(APIView):
    """Somebody has forgotten their password."""

    authentication_classes = ()
    permission_classes = (AllowAny,)

    @extend_schema(
        tags=["users"],
        summary="Have a mail sent to set a new password",
        description="The answer is the same whether or not there is such an account.",
        request=ResetRequestInput,
        responses={202: None},
        examples=[examples.RESET_REQUEST],
    )
    def post(self, request: Request) -> Response:
        services.users().request_password_reset(email=ResetRequestInput.read(request)["email"])
        return Response(status=status.HTTP_202_ACCEPTED)


class PasswordResetConfirmView(APIView):
    """A new password for whoever has the mail."""

    authentication_classes = ()
    permission_classes = (AllowAny,)

    @extend_schema(
        tags=["users"],
        summary="Set a new password with the token that was mailed; ends all sessions",
        description="400 `invalid_link`: expired, used, or the address or the password has changed since. 400 "
        "`weak_password`: the password breaks a rule.",
        request=ResetInput,
        responses={204: None},
        examples=[examples.RESET],
    )
    def post(self, request: Request) -> Response:
        given = ResetInput.read(request)
        services.users().reset_password(token=given["token"], password=given["password"])
        return Response(status=status.HTTP_204_NO_CONTENT)


class UserView(APIView):
    """One account: read by its owner and staff, managed by admins."""

    def get_permissions(self) -> list[BasePermission]:
        return [IsAdmin() if self.request.method == "PATCH" else IsAuthenticated()]

    @extend_schema(tags=["users"], summary="Read an account", responses=UserSerializer, examples=[examples.USER])
    def get(self, request: Request, user_id: UUID) -> Response:
        caller = _caller(request)
        if caller.id != user_id and caller.role == Role.USER:
            raise UserNotFound("There is no such user.")
        return Response(UserSerializer(services.users().get_user(user_id=user_id)).data)

    @extend_schema(
        tags=["users"],
        summary="Change an account's role, or deactivate it; ends its sessions",
        description="Nobody manages themselves.",
        request=ManageInput,
        responses={200: UserSerializer, 409: refusal("own_role")},
        examples=[examples.MANAGE, examples.USER],
    )
    def patch(self, request: Request, user_id: UUID) -> Response:
        given = ManageInput.read(request, partial=True)
        role = Role(given["role"]) if "role" in given else None
        user = services.users().manage_user(
            actor_id=_caller(request).id, user_id=user_id, role=role, active=given.get("active")
        )
        return Response(UserSerializer(user).data)


def _register(request: Request) -> Response:
    given = RegisterInput.read(request)
    password = given.pop("password")
    user = services.users().register(
        username=given["username"], email=given["email"], password=password, profile=Profile(**given)
    )
    return Response(UserSerializer(user).data, status=status.HTTP_201_CREATED)


def _caller(request: Request) -> Principal | models.User:
    """Who is logged in: the bearer of a token, or a user of the staff pages. Both have an id and a role."""
    return cast("Principal | models.User", request.user)


def _session_id(request: Request) -> UUID | None:
    caller = _caller(request)
    return caller.session_id if isinstance(caller, Principal) else None


def _client(request: Request) -> Client:
    return Client(address=client_address(request), agent=request.headers.get("User-Agent", ""))
