"""Requests that are refused before anything else looks at them."""

from collections.abc import Callable

from django.conf import settings
from django.core.exceptions import BadRequest, DisallowedHost, SuspiciousOperation
from django.http import HttpRequest, HttpResponse, JsonResponse, UnreadablePostError
from django.http.multipartparser import MultiPartParserError

from apps.common.api.errors import body

Handler = Callable[[HttpRequest], HttpResponse]


class RequestGuard:
    """Refuses, in the API's error shape, a body that is too large or of unknown length, an unknown host, a NUL byte in
    the address, and forms and parameters that cannot be read.

    It reads the body, so that nobody who answers sooner leaves it on the connection: the server would have to close it.
    """

    def __init__(self, get_response: Handler) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return _refusal_of_body(request) or _refusal_of_content(request) or self.get_response(request)


def _refusal_of_body(request: HttpRequest) -> HttpResponse | None:
    if "HTTP_TRANSFER_ENCODING" in request.META:
        return _refuse_unread(request, 411, "length_required", "Send a Content-Length; chunked bodies are not read.")
    length = request.META.get("CONTENT_LENGTH") or "0"
    limit: int = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
    if not length.isdigit() or int(length[:20]) > limit:
        return _refuse_unread(request, 413, "request_too_large", f"The request body is larger than {limit} bytes.")
    try:
        is_complete = len(request.body) >= int(length)
    except UnreadablePostError:
        is_complete = False
    # Nobody will read this: it keeps half a request from having an effect, and a traceback out of the log.
    return None if is_complete else _refuse(400, "incomplete_body", "The request ended before its body did.")


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
