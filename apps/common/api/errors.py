"""Domain error → HTTP, in one table, in the shape of drf-standardized-errors."""

import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, cast

from django.core.exceptions import RequestDataTooBig, SuspiciousOperation
from django.db import InterfaceError, OperationalError
from django.http import HttpResponse
from drf_standardized_errors.formatter import ExceptionFormatter
from drf_standardized_errors.handler import ExceptionHandler as StandardizedHandler
from drf_standardized_errors.types import VALIDATION_ERROR, Error, ErrorType, ExceptionHandlerContext
from rest_framework import exceptions
from rest_framework.response import Response

from apps.common import errors
from apps.common.api.renderers import to_json

logger = logging.getLogger(__name__)

# What Django raises when a database does not answer.
DATABASE_AWAY = (OperationalError, InterfaceError)

HTTP_STATUS: dict[type[errors.DomainError], int] = {
    errors.InvalidInput: 400,
    errors.Unauthenticated: 401,
    errors.PaymentRefused: 402,
    errors.Forbidden: 403,
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.StaleVersion: 412,
    errors.TooLarge: 413,
    errors.KeyReused: 422,
    errors.Unavailable: 503,
}


def status_of(error: errors.DomainError) -> int:
    """The HTTP status of a domain error: that of its kind."""
    return next(status for kind, status in HTTP_STATUS.items() if isinstance(error, kind))


class DomainErrorResponse(exceptions.APIException):
    """A domain error on its way to an HTTP client."""

    def __init__(self, error: errors.DomainError) -> None:
        super().__init__(detail=str(error), code=error.code)
        self.error = error
        self.status_code = status_of(error)
        if isinstance(error, errors.Unavailable):
            self.wait = error.retry_after
        if isinstance(error, errors.Busy):
            self.wait = 1
        if isinstance(error, errors.Unauthenticated):
            self.auth_header = 'Bearer realm="api"'


def to_response(error: errors.DomainError, headers: Mapping[str, str]) -> HttpResponse:
    """The answer to a domain error, for views outside of REST framework: what that would have said."""
    exception = DomainErrorResponse(error)
    _report(exception)
    wait = {"Retry-After": str(exception.wait)} if hasattr(exception, "wait") else {}
    return HttpResponse(
        to_json(Formatter(exception, cast(ExceptionHandlerContext, {}), exception).run()),
        content_type="application/json",
        status=exception.status_code,
        headers={**headers, **wait},
    )


def _report(exception: DomainErrorResponse) -> None:
    """A domain error of 503 is an answer, not a fault: one line in the log and no traceback."""
    if exception.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR:
        logger.warning("%s: %s", exception.error.code, exception.error)


class DatabaseUnavailable(errors.Unavailable):
    """A database did not answer."""

    code = "database_unavailable"
    sentence = "The shop's database did not answer. Try again in a moment."


class ExceptionHandler(StandardizedHandler):
    """Adds domain errors, databases that are away and what Django finds suspicious to what is known already."""

    def convert_known_exceptions(self, exc: Exception) -> Exception:
        if isinstance(exc, DATABASE_AWAY):
            exc = DatabaseUnavailable(DatabaseUnavailable.sentence)
        if isinstance(exc, RequestDataTooBig):
            exc = errors.TooLarge("The request body is too large.")
        if isinstance(exc, errors.DomainError):
            return DomainErrorResponse(exc)
        if isinstance(exc, SuspiciousOperation):
            return exceptions.ParseError("The request cannot be understood.", code="bad_request")
        return super().convert_known_exceptions(exc)

    def report_exception(self, exc: exceptions.APIException, response: Response) -> None:
        if isinstance(exc, DomainErrorResponse):
            _report(exc)
            return
        super().report_exception(exc, response)


class Formatter(ExceptionFormatter):
    """Writes each problem of a domain error as an error of its own."""

    def get_error_type(self) -> ErrorType:
        if isinstance(self.exc, DomainErrorResponse) and isinstance(self.exc.error, errors.InvalidInput):
            return VALIDATION_ERROR
        return super().get_error_type()

    def get_errors(self) -> list[Error]:
        if isinstance(self.exc, DomainErrorResponse):
            error = self.exc.error
            return [Error(code=error.code, detail=p.detail, attr=p.attr) for p in error.problems]
        return super().get_errors()


def body(kind: str, code: str, detail: str) -> dict[str, Any]:
    """The error body for answers that are made outside of REST framework."""
    return {"type": kind, "errors": [{"code": code, "detail": detail, "attr": None}]}
