"""Requests that are refused before anything else looks at them."""

import re
from collections.abc import Callable
from shutil import copyfileobj
from tempfile import SpooledTemporaryFile
from typing import IO

from corsheaders.middleware import CorsMiddleware
from django.conf import settings
from django.core.exceptions import BadRequest, DisallowedHost, SuspiciousOperation
from django.http import HttpRequest, HttpResponse, JsonResponse, UnreadablePostError
from django.http.multipartparser import MultiPartParserError

from apps.common.api.errors import body

Handler = Callable[[HttpRequest], HttpResponse]

_FILES = frozenset({"multipart/form-data", "text/csv"})


class RequestGuard:
    """Refuses, in the API's error shape, a body that is too large or of unknown length, an unknown host, a NUL byte in
    the address, and forms and parameters that cannot be read.

    It reads the body, so that nobody who answers sooner leaves it on the connection: the server would have to close it.
    A file that is sent where files belong waits on disk: whoever is asking, each thread keeps one of them at most.
    Scripts of other origins may read a refusal like any other answer.
    """

    def __init__(self, get_response: Handler) -> None:
        self.get_response = get_response
        self._cors = CorsMiddleware(get_response)

    def __call__(self, request: HttpRequest) -> HttpResponse:
        with SpooledTemporaryFile(max_size=settings.DATA_UPLOAD_MAX_MEMORY_SIZE) as aside:
            refusal = _refusal_of_body(request, aside) or _refusal_of_content(request)
            if refusal is None:
                return self.get_response(request)
            self._cors.add_response_headers(request, refusal)
            return refusal


def _refusal_of_body(request: HttpRequest, aside: IO[bytes]) -> HttpResponse | None:
    if "HTTP_TRANSFER_ENCODING" in request.META:
        return _refuse_unread(request, 411, "length_required", "Send a Content-Length; chunked bodies are not read.")
    length = request.META.get("CONTENT_LENGTH") or "0"
    is_upload = request.content_type in _FILES and bool(re.fullmatch(settings.UPLOAD_PATHS, request.path))
    limit: int = settings.MAX_UPLOAD_BYTES if is_upload else settings.DATA_UPLOAD_MAX_MEMORY_SIZE
    if not length.isdigit() or int(length[:20]) > limit:
        return _refuse_unread(request, 413, "request_too_large", f"The request body is larger than {limit} bytes.")
    try:
        read = _put_aside(request, aside) if is_upload else len(request.body)
    except UnreadablePostError:
        read = -1
    # Nobody will read this: it keeps half a request from having an effect, and a traceback out of the log.
    return None if read >= int(length) else _refuse(400, "incomplete_body", "The request ended before its body did.")


def _put_aside(request: HttpRequest, aside: IO[bytes]) -> int:
    """Move the body from the connection to a file, which the view reads instead; returns its length."""
    copyfileobj(request, aside)
    length = aside.tell()
    aside.seek(0)
    request._stream, request._read_started = aside, False  # type: ignore[assignment,attr-defined] # noqa: SLF001
    return length


def _refusal_of_content(request: HttpRequest) -> HttpResponse | None:
    try:
        request.get_host()
    except DisallowedHost:
        return _refuse(400, "invalid_host", "This shop does not answer to that host name; see ALLOWED_HOSTS.")
    if "\0" in request.path or "%00" in request.META.get("QUERY_STRING", ""):
        return _refuse(400, "null_character", "The address holds a NUL character.")
    try:
        _ = request.GET, request.POST
    except (SuspiciousOperation, BadRequest, MultiPartParserError):
        return _refuse(400, "bad_request", "The request cannot be understood.")
    return None


def _refuse(status: int, code: str, detail: str) -> HttpResponse:
    return JsonResponse(body("client_error", code, detail), status=status)


def _refuse_unread(request: HttpRequest, status: int, code: str, detail: str) -> HttpResponse:
    """A refusal that leaves the body on the connection. Granian closes it then, and says so only if we do; other
    servers allow no such header.
    """
    response = _refuse(status, code, detail)
    if request.META.get("SERVER_SOFTWARE") == "Granian":
        response["Connection"] = "close"
    return response
