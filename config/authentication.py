"""How it is learnt who is asking: `Authorization: Bearer`."""

from django.http import HttpRequest
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from apps.common import logs
from apps.users.interface import InvalidToken, Principal
from config import services

_KEPT = "_bearer"


def bearer_of(request: HttpRequest) -> tuple[Principal, str] | None:
    """Who shows an access token, and that token; None if there is none. Looked up once, however often it is asked.

    Raises:
        InvalidToken: the token is none of ours, has expired, or its session has ended.
    """
    kept = vars(request)
    if _KEPT not in kept:
        kept[_KEPT] = _look_up(request)
    found: tuple[Principal, str] | InvalidToken | None = kept[_KEPT]
    if isinstance(found, InvalidToken):
        raise found
    return found


def _look_up(request: HttpRequest) -> tuple[Principal, str] | InvalidToken | None:
    scheme, _, token = request.META.get("HTTP_AUTHORIZATION", "").partition(" ")
    if scheme.lower() != "bearer":
        return None
    token = token.strip()
    try:
        principal = services.users().authenticate(access_token=token)
    except InvalidToken as error:
        return error
    logs.bind(user_id=principal.id)
    return principal, token


class BearerAuthentication(BaseAuthentication):
    """The bearer of an access token, as the users service knows them (RFC 6750)."""

    def authenticate(self, request: Request) -> tuple[Principal, str] | None:
        try:
            return bearer_of(request._request)  # noqa: SLF001 - Django's own request, which other code asks about too
        except InvalidToken as error:
            # REST framework must see its own kind: it then knows that nobody is logged in when it renders the answer.
            raise AuthenticationFailed(str(error), code=error.code) from error

    def authenticate_header(self, request: Request) -> str:  # noqa: ARG002
        return 'Bearer realm="api"'


class BearerScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]  # the library's
    """What the OpenAPI document says of it."""

    target_class = BearerAuthentication
    name = "bearer"

    def get_security_definition(self, auto_schema: object) -> dict[str, str]:  # noqa: ARG002
        return {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}
