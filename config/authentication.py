"""How REST framework learns who is asking: `Authorization: Bearer`."""

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.authentication import BaseAuthentication, get_authorization_header
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from apps.users.interface import InvalidToken, Principal
from config import services


class BearerAuthentication(BaseAuthentication):
    """The bearer of an access token, as the users service knows them (RFC 6750)."""

    def authenticate(self, request: Request) -> tuple[Principal, str] | None:
        scheme, _, token = get_authorization_header(request).decode("latin-1").partition(" ")
        if scheme.lower() != "bearer":
            return None
        try:
            return services.users().authenticate(access_token=token.strip()), token.strip()
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
