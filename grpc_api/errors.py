"""Domain error → status code, in one table; on the wire as `google.rpc.Status`, and back to the same exception.

An `ErrorInfo` has the error's code, `BadRequest` its problems, `RetryInfo` when to try again
(https://google.aip.dev/193). The code is in the trailing metadata too, under `error-code`, for clients without these.
"""

import inspect
from collections.abc import Mapping
from types import ModuleType
from typing import cast

import grpc
from google.protobuf.any_pb2 import Any as Packed
from google.protobuf.duration_pb2 import Duration
from google.rpc.code_pb2 import Code
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status
from grpc_status import rpc_status

from apps.common import errors

DOMAIN = "cartwright"
CODE_KEY = "error-code"

# The first that fits: kinds before those from which they derive.
STATUS_CODE: dict[type[errors.DomainError], grpc.StatusCode] = {
    errors.InvalidInput: grpc.StatusCode.INVALID_ARGUMENT,
    errors.Unauthenticated: grpc.StatusCode.UNAUTHENTICATED,
    errors.PaymentRefused: grpc.StatusCode.FAILED_PRECONDITION,
    errors.Forbidden: grpc.StatusCode.PERMISSION_DENIED,
    errors.NotFound: grpc.StatusCode.NOT_FOUND,
    errors.AlreadyExists: grpc.StatusCode.ALREADY_EXISTS,
    errors.Exhausted: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.Busy: grpc.StatusCode.ABORTED,
    errors.StaleVersion: grpc.StatusCode.ABORTED,
    errors.Conflict: grpc.StatusCode.FAILED_PRECONDITION,
    errors.KeyReused: grpc.StatusCode.INVALID_ARGUMENT,
    errors.TooLarge: grpc.StatusCode.INVALID_ARGUMENT,
    errors.Unavailable: grpc.StatusCode.UNAVAILABLE,
}

Registry = Mapping[str, type[errors.DomainError]]


def status_of(error: errors.DomainError) -> grpc.StatusCode:
    """The status code of a domain error: that of its kind."""
    return next(
        (code for kind, code in STATUS_CODE.items() if isinstance(error, kind)), grpc.StatusCode.FAILED_PRECONDITION
    )


def to_status(error: errors.DomainError, *trailers: tuple[str, str]) -> grpc.Status:
    """What a call is ended with; `trailers` go with it."""
    violations = [BadRequest.FieldViolation(field=each.attr or "", description=each.detail) for each in error.problems]
    details = [ErrorInfo(reason=error.code, domain=DOMAIN), BadRequest(field_violations=violations)]
    if isinstance(error, errors.Unavailable):
        details.append(RetryInfo(retry_delay=Duration(seconds=error.retry_after)))
    packed = [Packed() for _ in details]
    for one, detail in zip(packed, details, strict=True):
        one.Pack(detail)
    number, _ = status_of(error).value
    status = rpc_status.to_status(Status(code=number, message=str(error), details=packed))
    with_code: grpc.Status = status._replace(  # type: ignore[attr-defined]  # a named tuple
        trailing_metadata=(*status.trailing_metadata, (CODE_KEY, error.code), *trailers)
    )
    return with_code


def registry(*interfaces: ModuleType) -> Registry:
    """The domain errors that these interfaces have, by code. Those of an earlier interface win, and in one interface
    its own before the kinds that it imports.
    """
    known: dict[str, type[errors.DomainError]] = {}
    for interface in reversed((*interfaces, errors)):
        found = [each for _, each in inspect.getmembers(interface, inspect.isclass)]
        kinds = [each for each in found if issubclass(each, errors.DomainError)]
        own = [each for each in kinds if each.__module__ == interface.__name__]
        known.update({each.code: each for each in own})
    return known


def from_call(call: grpc.RpcError, known: Registry) -> errors.DomainError | None:
    """The domain error with which a call has ended; None if it was none."""
    status = rpc_status.from_call(cast(grpc.Call, call))
    if status is None:
        return None
    info, violations = ErrorInfo(), BadRequest()
    for packed in status.details:
        for wanted in (info, violations):
            packed.Unpack(wanted)
    if info.domain != DOMAIN:
        return None
    problems = [errors.Problem(each.description, each.field or None) for each in violations.field_violations]
    kind = known.get(info.reason) or _kind_of(status.code)
    error = kind.__new__(kind)
    errors.DomainError.__init__(error, *problems)
    if kind.code != info.reason:
        error.code = info.reason
    return error


def _kind_of(number: int) -> type[errors.DomainError]:
    """What an error is whose code is newer than we are."""
    name = Code.Name(number)
    return next((kind for kind, code in STATUS_CODE.items() if code.name == name), errors.Conflict)
