"""CSV as an answer over HTTP."""

from collections.abc import Iterator

from django.http import StreamingHttpResponse


def csv_file(parts: Iterator[str], name: str) -> StreamingHttpResponse:
    """An answer that a browser saves as a file; it is sent while it is made."""
    return StreamingHttpResponse(
        (part.encode() for part in parts),
        content_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )
