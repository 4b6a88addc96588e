"""`Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header): one effect, one answer, however often it comes."""

import hashlib
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import cast
from uuid import UUID

import orjson
from django.db import IntegrityError
from django.db.models import QuerySet
from django.db.models.functions import Now
from drf_standardized_errors.handler import exception_handler
from drf_standardized_errors.types import ExceptionHandlerContext
from rest_framework.exceptions import APIException
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.status import is_server_error
from rest_framework.views import APIView

from apps.common.api.permissions import caller_id
from apps.common.api.renderers import to_json
from apps.common.databases import alias_of, atomic, later
from apps.common.errors import Busy, DomainError, InvalidInput, KeyReused
from apps.common.ids import new_id
from apps.common.models import CLAIM_LASTS, IdempotencyKey

_LONG_AGO = datetime.fromtimestamp(0, UTC)
_KEY = re.compile(r"[\x21-\x7e]{1,255}")


class RequestInProgress(Busy):
    """The first request with this key has not been answered yet."""

    code = "idempotency_in_progress"


class InvalidKey(InvalidInput):
    code = "invalid_idempotency_key"


def answer_once(
    view: APIView,
    request: Request,
    service: str,
    handle: Callable[[UUID], Response],
    *,
    is_final: Callable[[Response], bool] = lambda _: True,
) -> Response:
    """Run `handle(resource_id)` once for the request's key, and give its answer again to whoever repeats the request.

    The answer is kept for 24 hours, refusals included. What decides nothing is not kept, so that a repetition tries
    again: an answer of 5xx, `Busy`, and what is not `is_final`. Without the header, it simply runs.

    Raises:
        RequestInProgress: the first request with this key still runs.
        KeyReused: the key came before with another request.
        InvalidKey: the key is empty, longer than 255 characters or not visible ASCII.
    """
    key = request.headers.get("Idempotency-Key")
    if key is None:
        return handle(new_id())
    if not _KEY.fullmatch(key):
        raise InvalidKey("Idempotency-Key must be 1 to 255 visible ASCII characters.")
    claim, is_ours = _claim(service, caller_id(request), key, _fingerprint(request))
    if not is_ours:
        return _replay(claim)
    try:
        response = _answer(view, handle, claim.resource_id)
    except BaseException:
        _release(service, claim)
        raise
    if is_server_error(response.status_code) or not is_final(response):
        _release(service, claim)
    else:
        _rows(service).filter(pk=claim.pk).update(status=response.status_code, body=to_json(response.data))
    return response


def _answer(view: APIView, handle: Callable[[UUID], Response], resource_id: UUID) -> Response:
    """The view's answer, with refusals turned into answers; what decides nothing is raised."""
    try:
        return handle(resource_id)
    except Busy:
        raise
    except (DomainError, APIException) as refusal:
        response = exception_handler(refusal, cast(ExceptionHandlerContext, view.get_exception_handler_context()))
        if response is None:
            raise
        return response


def _claim(service: str, owner_id: UUID, key: str, fingerprint: str) -> tuple[IdempotencyKey, bool]:
    """The row of this key, and whether this request holds it."""
    try:
        with atomic(service):
            claim = _rows(service).create(
                owner_id=owner_id, key=key, fingerprint=fingerprint, claimed_until=later(CLAIM_LASTS)
            )
    except IntegrityError:
        claim = _rows(service).get(owner_id=owner_id, key=key)
    else:
        return claim, True
    if claim.fingerprint != fingerprint:
        raise KeyReused("This Idempotency-Key came with another request before. Use a new key for a new request.")
    if claim.status is not None:
        return claim, False
    abandoned = _rows(service).filter(pk=claim.pk, status=None, claimed_until__lt=Now())
    if abandoned.update(claimed_until=later(CLAIM_LASTS)):
        return claim, True
    raise RequestInProgress("The first request with this Idempotency-Key is still running. Ask again in a moment.")


def _release(service: str, claim: IdempotencyKey) -> None:
    """Let the next repetition run at once, with the same resource."""
    _rows(service).filter(pk=claim.pk).update(claimed_until=_LONG_AGO)


def _replay(claim: IdempotencyKey) -> Response:
    data = orjson.loads(bytes(claim.body or b"null"))
    return Response(data, status=claim.status, headers={"Idempotent-Replayed": "true"})


def _fingerprint(request: Request) -> str:
    content = orjson.dumps([request.method, request.path, request.data], option=orjson.OPT_SORT_KEYS, default=str)
    return hashlib.sha256(content).hexdigest()


def _rows(service: str) -> QuerySet[IdempotencyKey]:
    return IdempotencyKey.objects.using(alias_of(service))
