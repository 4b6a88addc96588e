"""Writing responses."""

from collections.abc import Mapping
from typing import Any

import orjson
from rest_framework import renderers


class JSONRenderer(renderers.JSONRenderer):
    """JSON by orjson, ten times as fast as the standard library; indented only for people (the browsable API)."""

    def render(
        self,
        data: Any,  # noqa: ANN401 - whatever serializers made
        accepted_media_type: str | None = None,
        renderer_context: Mapping[str, Any] | None = None,
    ) -> bytes:
        if data is None:
            return b""
        if renderer_context and self.get_indent(accepted_media_type or "", dict(renderer_context)):
            return bytes(super().render(data, accepted_media_type, renderer_context))
        return orjson.dumps(data, default=str, option=orjson.OPT_UTC_Z | orjson.OPT_NON_STR_KEYS)
