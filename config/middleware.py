"""What the project does around every view."""

import logging
from collections.abc import Callable

from django.core.exceptions import BadRequest, PermissionDenied, SuspiciousOperation
from django.core.signals import got_request_exception
from django.http import Http404, HttpRequest, HttpResponse
from django.utils.log import log_response
from django.utils.safestring import SafeString, mark_safe
from django.views.debug import ExceptionReporter

from apps.common.api.errors import DATABASE_AWAY
from config import views

logger = logging.getLogger("django.request")


class ErrorAnswers:
    """Answers what a view raises with our own page, or in the API's shape, in development as in production.

    Django would show its own pages while DEBUG is on: with a traceback, which belongs in the log.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        request.exception_reporter_class = NoTraceback  # Django asks for it
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse:
        if isinstance(exception, Http404):
            return views.not_found(request, exception)
        if isinstance(exception, PermissionDenied):
            return views.forbidden(request, exception)
        if isinstance(exception, (SuspiciousOperation, BadRequest)):
            return views.bad_request(request, exception)
        if isinstance(exception, DATABASE_AWAY):
            return views.unavailable(request)
        got_request_exception.send(sender=type(self), request=request)
        response = views.server_error(request)
        log_response("Internal Server Error: %s", request.path, response=response, request=request, exception=exception)
        return response


class NoTraceback(ExceptionReporter):
    """What Django shows, while DEBUG is on, of errors that other middleware raises."""

    request: HttpRequest

    def get_traceback_html(self) -> SafeString:
        return mark_safe(views.server_error(self.request).content.decode())  # noqa: S308 - our own page

    get_traceback_text = get_traceback_html
