"""The kinds of domain error. Each service's interface.py derives its own errors, with a `code`, from these.

A kind says what became of the request; `apps/common/api/errors.py` maps kinds to HTTP in one table.
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong: a sentence for a person, and the part of the input that it is about."""

    detail: str
    attr: str | None = None


class DomainError(Exception):
    """A rule of the shop was not met. Nothing has changed."""

    code = "error"

    def __init__(self, *problems: Problem | str) -> None:
        self.problems: Sequence[Problem] = [
            problem if isinstance(problem, Problem) else Problem(problem) for problem in problems
        ]
        super().__init__("; ".join(problem.detail for problem in self.problems))


class InvalidInput(DomainError):
    """The request can never succeed as it is."""

    code = "invalid"


class Unauthenticated(DomainError):
    """Nobody, or nobody we can believe, is asking."""

    code = "authentication_failed"


class Forbidden(DomainError):
    """The caller is known, and may not do this."""

    code = "permission_denied"


class NotFound(DomainError):
    """There is no such thing, or it is not the caller's to see."""

    code = "not_found"


class Conflict(DomainError):
    """The present state does not allow it."""

    code = "conflict"


class AlreadyExists(Conflict):
    """Something else has this name already."""


class Exhausted(Conflict):
    """There is not enough left of it."""


class Busy(Conflict):
    """Somebody else has it in hand just now. Asking again in a moment may succeed: nothing was decided."""

    code = "busy"


class PaymentRefused(DomainError):
    """The payment provider said no."""

    code = "payment_declined"


class StaleVersion(DomainError):
    """The caller's copy is out of date."""

    code = "precondition_failed"


class KeyReused(DomainError):
    """An idempotency key came again with another request."""

    code = "idempotency_key_reused"


class TooLarge(DomainError):
    """The request is larger than we read."""

    code = "request_too_large"


class Unavailable(DomainError):
    """It may succeed later. `retry_after` is in seconds."""

    code = "unavailable"
    retry_after = 5


class ServiceUnavailable(Unavailable):
    """Another service of the shop does not answer. Names it."""

    code = "service_unavailable"

    def __init__(self, service: str) -> None:
        super().__init__(f"The {service} service does not answer. Try again in a moment.")
        self.service = service
