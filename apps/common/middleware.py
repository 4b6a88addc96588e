"""Requests that are refused before anything reads them."""

from collections.abc import Callable

from django.conf import settings
from django.core.exceptions import DisallowedHost
from django.http import HttpRequest, HttpResponse, JsonResponse

from apps.common.api.errors import body

Handler = Callable[[HttpRequest], HttpResponse]


class RequestGuard:
    """Refuses an unknown host, a NUL byte in the address and a body that is too large, in the API's error shape."""

    def __init__(self, get_response: Handler) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self._refusal(request) or self.get_response(request)

    def _refusal(self, request: HttpRequest) -> HttpResponse | None:
        try:
            request.get_host()
        except DisallowedHost:
            return _refuse(400, "invalid_host", "This shop does not answer to that host name; see ALLOWED_HOSTS.")
        if "\0" in request.path or "%00" in request.META.get("QUERY_STRING", ""):
            return _refuse(400, "null_character", "The address holds a NUL character.")
        length = request.META.get("CONTENT_LENGTH") or "0"
        limit: int = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
        if not length.isdigit() or int(length[:20]) > limit:
            return _refuse(413, "request_too_large", f"The request body is larger than {limit} bytes.")
        return None


def _refuse(status: int, code: str, detail: str) -> HttpResponse:
    return JsonResponse(body("client_error", code, detail), status=status)
