"""What the OpenAPI document says of refusals: which statuses a call answers, in the one shape that errors have."""

from typing import Any, Literal

from drf_spectacular import openapi
from drf_spectacular.extensions import OpenApiSerializerFieldExtension
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse
from rest_framework import serializers
from rest_framework.permissions import SAFE_METHODS, AllowAny

from apps.common.api.fields import AmountField
from apps.common.api.permissions import HasRole, ReadOnlyOrCatalogStaff

IDEMPOTENCY_KEY = OpenApiParameter(
    "Idempotency-Key",
    str,
    OpenApiParameter.HEADER,
    description="1 to 255 visible ASCII characters. The same key and body get the first answer again, for 24 hours.",
)
IDEMPOTENT_REPLAYED = OpenApiParameter(
    "Idempotent-Replayed",
    str,
    OpenApiParameter.HEADER,
    response=True,
    enum=["true"],
    description="Present when this is the first answer again.",
)
IF_MATCH = OpenApiParameter(
    "If-Match", str, OpenApiParameter.HEADER, description="An ETag; only its revision counts, so that sales do not."
)
IF_NONE_MATCH = OpenApiParameter(
    "If-None-Match", str, OpenApiParameter.HEADER, description="ETags of the copies that the client has; 304 if fresh."
)
ETAG = OpenApiParameter(
    "ETag", str, OpenApiParameter.HEADER, response=[200, 201, 304], description="The version of this answer."
)
LOCATION = OpenApiParameter(
    "Location", str, OpenApiParameter.HEADER, response=[201], description="The address of what was made."
)
LINK = OpenApiParameter(
    "Link", str, OpenApiParameter.HEADER, response=[200], description='The address of the next page, with `rel="next"`.'
)
_REQUEST_ID = OpenApiParameter(
    "X-Request-ID", str, OpenApiParameter.HEADER, response=True, description="The request's name in our logs."
)
_RETRY_AFTER = OpenApiParameter(
    "Retry-After", int, OpenApiParameter.HEADER, response=[429, 503], description="Seconds to wait."
)
_BUSY = ("order_busy", "idempotency_in_progress")
_RETRY_IF_BUSY = OpenApiParameter(
    "Retry-After",
    int,
    OpenApiParameter.HEADER,
    response=[409],
    description=f"Seconds to wait; present if the code is {' or '.join(f'`{code}`' for code in _BUSY)}.",
)


ERROR_TYPES = ["validation_error", "client_error", "server_error"]


class AmountSchema(OpenApiSerializerFieldExtension):  # type: ignore[no-untyped-call]  # the library's
    """An amount comes in as a string or a number, and goes out as a string."""

    target_class = AmountField

    def map_serializer_field(self, auto_schema: object, direction: str) -> dict[str, Any]:
        text = {"type": "string", "format": "decimal", "pattern": r"^\d{1,11}(\.\d{1,3})?$"}
        return {"oneOf": [text, {"type": "number", "minimum": 0}]} if direction == "request" else text


class ProblemSerializer(serializers.Serializer[Any]):
    code = serializers.CharField(help_text="For programs; it does not change.")
    detail = serializers.CharField(help_text="For people; it may change.")
    attr = serializers.CharField(
        allow_null=True, help_text="The part of the input that it is about: `items.0.quantity`."
    )


class ErrorSerializer(serializers.Serializer[Any]):
    type = serializers.ChoiceField(choices=ERROR_TYPES)
    errors = ProblemSerializer(many=True, allow_empty=False)  # type: ignore[assignment] # the name is part of the shape


def refusal(*codes: str) -> OpenApiResponse:
    """An answer that refuses with one of these error codes."""
    return _error("Code " + " or ".join(f"`{code}`" for code in codes) + ".")


class AutoSchema(openapi.AutoSchema):
    """Adds the refusals that follow from a view's own declarations. Views name those of their domain by `refusal`."""

    def get_override_parameters(self) -> list[Any]:
        retries = [_RETRY_AFTER, _RETRY_IF_BUSY] if self._may_be_busy() else [_RETRY_AFTER]
        return [*super().get_override_parameters(), _REQUEST_ID, *retries]

    def get_auth(self) -> list[dict[str, Any]]:
        auths: list[dict[str, Any]] = super().get_auth()
        return [*auths, {}] if self._is_for_anyone() and {} not in auths else auths

    def _get_response_bodies(self, direction: Literal["request", "response"] = "response") -> dict[str, Any]:
        bodies: dict[str, Any] = super()._get_response_bodies(direction)
        for status, description in self._refusals().items():
            if status not in bodies:
                bodies[status] = self._get_response_for_code(_error(description), status)  # type: ignore[no-untyped-call]
        return dict(sorted(bodies.items()))

    def _refusals(self) -> dict[str, str]:
        """Status → why, for what the view's declarations make possible."""
        parameters = {(parameter["in"], parameter["name"]) for parameter in self._get_parameters()}
        places = {place for place, _ in parameters}
        roles = [permission.role for permission in self.view.get_permissions() if isinstance(permission, HasRole)]
        possible = {
            "400": (
                "query" in places or ("header", IDEMPOTENCY_KEY.name) in parameters or self._takes_a_body(),
                "The request is invalid. Each error's `attr` names the field that it is about.",
            ),
            "401": (
                bool(self.view.get_authenticators()),
                "Nobody is logged in, or the access token is not valid (any more).",
            ),
            "403": (bool(roles) and not self._is_for_anyone(), f"For the role {' or '.join({*roles, 'admin'})} only."),
            "404": (
                "path" in places or bool({("query", "page"), ("query", "cursor")} & parameters),
                "There is no such thing, or it is not yours.",
            ),
            "412": (
                ("header", IF_MATCH.name) in parameters,
                "Code `precondition_failed`: the ETag is stale. Read it again.",
            ),
            "422": (
                ("header", IDEMPOTENCY_KEY.name) in parameters,
                "Code `idempotency_key_reused`: the key came before with another request.",
            ),
            "429": (True, "Code `throttled`: too many requests."),
            "503": (True, "Something that the shop needs is away. Nothing has changed; try again."),
        }
        return {status: description for status, (is_possible, description) in possible.items() if is_possible}

    def _may_be_busy(self) -> bool:
        responses: Any = self.get_response_serializers()
        conflict = responses.get(409) if isinstance(responses, dict) else None
        return conflict is not None and any(code in conflict.description for code in _BUSY)

    def _is_for_anyone(self) -> bool:
        permissions = self.view.get_permissions()
        reads = self.method in SAFE_METHODS
        return any(
            isinstance(each, AllowAny) or (reads and isinstance(each, ReadOnlyOrCatalogStaff)) for each in permissions
        )

    def _takes_a_body(self) -> bool:
        return self.method in {"POST", "PUT", "PATCH"} and self.get_request_serializer() is not None


def _error(description: str) -> OpenApiResponse:
    return OpenApiResponse(ErrorSerializer, description=description)
