"""What belongs to no app: health, uploaded files, and answers when something went wrong."""

import sys
from collections.abc import Callable
from functools import wraps
from http import HTTPStatus
from typing import Any

from django.conf import settings
from django.core.exceptions import SuspiciousOperation
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.utils.translation import gettext as translate
from django.utils.translation import gettext_noop as _
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.static import serve
from rest_framework.exceptions import Throttled

from apps.common import draining
from apps.common.api.errors import DATABASE_AWAY, DatabaseUnavailable, body
from config import readiness, staff_site

_PROSE = {
    HTTPStatus.BAD_REQUEST: ("bad_request", _("The request cannot be understood.")),
    HTTPStatus.FORBIDDEN: ("permission_denied", _("You may not do this.")),
    HTTPStatus.NOT_FOUND: ("not_found", _("There is nothing at this address.")),
    HTTPStatus.METHOD_NOT_ALLOWED: ("method_not_allowed", "This address is only read: GET or HEAD."),
    HTTPStatus.INTERNAL_SERVER_ERROR: ("error", _("Something went wrong on our side. It has been noted.")),
    HTTPStatus.SERVICE_UNAVAILABLE: (DatabaseUnavailable.code, DatabaseUnavailable.sentence),
}


def only_read(view: Callable[..., HttpResponseBase]) -> Callable[..., HttpResponseBase]:
    """Refuses every method but GET and HEAD."""

    @csrf_exempt
    @wraps(view)
    def read(request: HttpRequest, **arguments: str) -> HttpResponseBase:
        if request.method in {"GET", "HEAD"}:
            return view(request, **arguments)
        response = _answer(request, HTTPStatus.METHOD_NOT_ALLOWED)
        response["Allow"] = "GET, HEAD"
        return response

    return read


@never_cache
@only_read
def health(request: HttpRequest) -> HttpResponse:
    """The process is alive."""
    return JsonResponse({"status": "ok"})


@never_cache
@only_read
def accepting(request: HttpRequest) -> HttpResponse:
    """Whether this process is to get requests: 200, and 503 as soon as it has been told to stop. Nobody else is asked,
    so that a gateway which looks here does not give up every host while a database is away.
    """
    return _draining() if draining.is_on() else JsonResponse({"status": "ok"})


@never_cache
@only_read
def ready(request: HttpRequest) -> HttpResponse:
    """Whether everything that this process depends on answers: 200, or 503 naming what does not, or that the
    process has been told to stop.
    """
    if draining.is_on():
        return _draining()
    checks = readiness.check()
    is_ready = all(state == readiness.OK for state in checks.values())
    answer = {"status": "ok" if is_ready else "unavailable", "checks": checks}
    return JsonResponse(answer, status=HTTPStatus.OK if is_ready else HTTPStatus.SERVICE_UNAVAILABLE)


def _draining() -> HttpResponse:
    return JsonResponse({"status": "draining"}, status=HTTPStatus.SERVICE_UNAVAILABLE)


@only_read
def media(request: HttpRequest, path: str) -> HttpResponseBase:
    """An uploaded file. A browser that opens one runs nothing of it."""
    try:
        response = serve(request, path, document_root=str(settings.MEDIA_ROOT))
    except (OSError, ValueError, SuspiciousOperation) as error:
        raise Http404 from error  # a name that the file system cannot hold, or outside of the folder
    response["Content-Security-Policy"] = "default-src 'none'; sandbox"
    # A name is never used again for another content.
    response["Cache-Control"] = "public, max-age=31536000, immutable"
    return response


@csrf_exempt
def no_such_address(request: HttpRequest) -> HttpResponse:
    """The last of the addresses: whatever nothing else has answered."""
    return _answer(request, HTTPStatus.NOT_FOUND)


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    return _answer(request, HTTPStatus.BAD_REQUEST)


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
    return _answer(request, HTTPStatus.FORBIDDEN)


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    return _answer(request, HTTPStatus.NOT_FOUND)


def server_error(request: HttpRequest) -> HttpResponse:
    if isinstance(sys.exception(), DATABASE_AWAY):
        return unavailable(request)  # a middleware has raised it, past ours
    return _answer(request, HTTPStatus.INTERNAL_SERVER_ERROR)


def unavailable(request: HttpRequest) -> HttpResponse:
    """A database is away."""
    response = _answer(request, HTTPStatus.SERVICE_UNAVAILABLE)
    response["Retry-After"] = str(DatabaseUnavailable.retry_after)
    return response


def throttled(request: HttpRequest, wait: int) -> HttpResponse:
    """Somebody has asked too often, and may again in `wait` seconds."""
    refusal = Throttled(wait)
    response = _answer(request, HTTPStatus.TOO_MANY_REQUESTS, (refusal.default_code, str(refusal.detail)))
    response["Retry-After"] = str(wait)
    return response


def is_for_programs(request: HttpRequest) -> bool:
    """Whether the answer is to be JSON: always below /api/, elsewhere unless a page is asked for, as browsers do."""
    if request.path.startswith("/api/"):
        return True
    return request.get_preferred_type(["application/json", "text/html"]) != "text/html"


def _answer(request: HttpRequest, status: HTTPStatus, prose: tuple[str, str] | None = None) -> HttpResponse:
    code, detail = prose or _PROSE[status]
    if is_for_programs(request):
        kind = "server_error" if status >= HTTPStatus.INTERNAL_SERVER_ERROR else "client_error"
        return JsonResponse(body(kind, code, detail), status=status)
    # No context processors: after an error nothing may be asked of a database.
    context: dict[str, Any] = {"status": status, "detail": translate(detail)}
    if request.path.startswith("/admin/"):
        return render(None, "admin/error.html", {**context, **staff_site.look()}, status=status)
    return render(None, "error.html", context, status=status)
