"""Reading request bodies: bounded in size and depth, and nothing but JSON (RFC 8259)."""

from collections.abc import Mapping
from typing import IO, Any

import orjson
from django.conf import settings
from rest_framework.exceptions import ParseError
from rest_framework.parsers import JSONParser

from apps.common.errors import TooLarge
from apps.common.validators import MAX_DEPTH, is_too_deep


class StrictJSONParser(JSONParser):
    """JSON without the extensions `NaN` and `Infinity`, without lone surrogates, no deeper than 32 levels."""

    def parse(
        self, stream: IO[bytes], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> Any:  # noqa: ANN401 - JSON is any of them
        limit: int = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
        content = stream.read(limit + 1)
        if len(content) > limit:
            raise TooLarge(f"The request body is larger than {limit} bytes.")
        try:
            data = orjson.loads(content)
        except orjson.JSONDecodeError as error:
            raise ParseError(f"The body is not valid JSON: {error}") from error
        if is_too_deep(data):
            raise ParseError(f"The body is nested too deeply: more than {MAX_DEPTH} levels.")
        return data
