"""Serializers for input."""

from typing import Any

from django.http import QueryDict
from rest_framework import serializers
from rest_framework.exceptions import ErrorDetail


# Refuses fields it does not know: a misspelt `quantty` must not become a default.
# (A docstring here would describe, in the OpenAPI document, every serializer that has none.)
class InputSerializer(serializers.Serializer[Any]):
    def to_internal_value(self, data: Any) -> Any:  # noqa: ANN401 - anything may come in
        if isinstance(data, dict) and not isinstance(data, QueryDict):
            unknown = [str(name) for name in data if name not in self.fields]
            if unknown:
                raise serializers.ValidationError(
                    {name: [ErrorDetail("There is no such field.", code="unknown_field")] for name in unknown[:20]}
                )
        return super().to_internal_value(data)
