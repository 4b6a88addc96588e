"""What the project does around every view."""

import logging
import re
from collections.abc import Callable

from django.conf import settings
from django.core.exceptions import BadRequest, PermissionDenied, SuspiciousOperation
from django.core.signals import got_request_exception
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.middleware.locale import LocaleMiddleware
from django.utils import translation
from django.utils.log import log_response
from django.utils.safestring import SafeString, mark_safe
from django.views.debug import ExceptionReporter

from apps.common.api.errors import DATABASE_AWAY
from apps.common.errors import NotFound
from config import views

logger = logging.getLogger("django.request")

_PAGES = re.compile(r"/(admin|shop|language)(/|$)|/$")


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
        if isinstance(exception, (Http404, NotFound)):
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


class PageLanguage(LocaleMiddleware):
    """Speaks the visitor's language on pages for people. The API speaks one language, so that answers can be cached and
    compared.
    """

    def process_request(self, request: HttpRequest) -> None:
        if _PAGES.match(request.path):
            super().process_request(request)
        else:
            # The storefront's pages call the API within their own request.
            translation.activate(settings.LANGUAGE_CODE)

    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        if not _PAGES.match(request.path):
            return response
        answer = super().process_response(request, response)
        # What this thread does next is not the visitor's.
        translation.activate(settings.LANGUAGE_CODE)
        return answer


class NoTraceback(ExceptionReporter):
    """What Django shows, while DEBUG is on, of errors that other middleware raises."""

    request: HttpRequest

    def get_traceback_html(self) -> SafeString:
        return mark_safe(views.server_error(self.request).content.decode())  # noqa: S308 - our own page

    get_traceback_text = get_traceback_html
