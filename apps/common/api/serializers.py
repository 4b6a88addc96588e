"""Serializers for input."""

from typing import Any

from django.http import QueryDict
from rest_framework import serializers
from rest_framework.exceptions import ErrorDetail
from rest_framework.request import Request


# Refuses fields it does not know: a misspelt `quantty` must not become a default.
# (A docstring here would describe, in the OpenAPI document, every serializer that has none.)
class InputSerializer(serializers.Serializer[Any]):
    @classmethod
    def read(cls, request: Request, *, partial: bool = False) -> dict[str, Any]:
        """What the request's body says.

        Raises:
            ValidationError: names each field that is wrong.
        """
        return _validated(cls(data=request.data, partial=partial))

    def to_internal_value(self, data: Any) -> Any:  # noqa: ANN401 - anything may come in
        if isinstance(data, dict) and not isinstance(data, QueryDict):
            unknown = [str(name) for name in data if name not in self.fields]
            if unknown:
                raise serializers.ValidationError(
                    {name: [ErrorDetail("There is no such field.", code="unknown_field")] for name in unknown[:20]}
                )
        return super().to_internal_value(data)


# Unknown query parameters are ignored, as links grow them on their way; empty ones are absent.
class QueryInput(InputSerializer):
    @classmethod
    def read(cls, request: Request, *, partial: bool = False) -> dict[str, Any]:
        """What the request's query parameters say.

        Raises:
            ValidationError: names each parameter that is wrong.
        """
        known = cls().fields
        given = {key: text for key, text in request.query_params.items() if text and key in known}
        return _validated(cls(data=given, partial=partial))


def _validated(serializer: serializers.Serializer[Any]) -> dict[str, Any]:
    serializer.is_valid(raise_exception=True)
    return dict(serializer.validated_data)
