"""Which form an answer has, where it is not simply JSON. Files and streams are sent past the renderers."""

from collections.abc import Iterable

from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request

CSV = "text/csv"


class AlwaysJSON(DefaultContentNegotiation):
    """Whatever is accepted: a view that sends a file or a stream refuses in JSON."""

    def select_renderer(
        self, request: Request, renderers: Iterable[BaseRenderer], format_suffix: str | None = None
    ) -> tuple[BaseRenderer, str]:
        first = next(iter(renderers))
        return first, str(first.media_type)


class _CsvRenderer(BaseRenderer):
    """Only named: the file is streamed past it."""

    media_type = CSV
    format = "csv"


class JSONOrCSV(DefaultContentNegotiation):
    """A file where CSV is accepted; if there is none, the refusal is JSON."""

    def select_renderer(
        self, request: Request, renderers: Iterable[BaseRenderer], format_suffix: str | None = None
    ) -> tuple[BaseRenderer, str]:
        known = list(renderers)
        renderer, media_type = super().select_renderer(request, [*known, _CsvRenderer()], format_suffix)
        return (known[0], CSV) if isinstance(renderer, _CsvRenderer) else (renderer, media_type)


def wants_csv(request: Request) -> bool:
    """Whether a view with `JSONOrCSV` is to send the file."""
    return request.accepted_media_type == CSV
