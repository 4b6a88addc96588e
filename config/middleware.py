"""What the project does around every view."""

import logging
from collections.abc import Callable

from django.core.exceptions import PermissionDenied, SuspiciousOperation
from django.core.signals import got_request_exception
from django.http import Http404, HttpRequest, HttpResponse
from django.utils.log import log_response

from config import views

logger = logging.getLogger("django.request")


class ErrorsOfPrograms:
    """Answers what a view raises below /api/ in the API's shape, in development as in production.

    Django would show its own pages there while DEBUG is on: with a traceback, to a program that expects JSON.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        if not request.path.startswith("/api/"):
            return None
        if isinstance(exception, Http404):
            return views.not_found(request, exception)
        if isinstance(exception, PermissionDenied):
            return views.forbidden(request, exception)
        if isinstance(exception, SuspiciousOperation):
            return views.bad_request(request, exception)
        got_request_exception.send(sender=type(self), request=request)
        response = views.server_error(request)
        log_response("Internal Server Error: %s", request.path, response=response, request=request, exception=exception)
        return response
