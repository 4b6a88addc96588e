"""Stops asking a service that does not answer, for a while, so that nobody waits for it in vain."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

from pybreaker import STATE_CLOSED, STATE_OPEN, CircuitBreaker, CircuitBreakerError, CircuitBreakerListener

from apps.common.errors import ServiceUnavailable
from grpc_api import metrics

_Answer = TypeVar("_Answer")

FAILURES = 3
PROBE_SECONDS = 5.0
_STATES = {"closed": 0, "half-open": 1, "open": 2}


class Breaker:
    """The circuit to one service: open after three failures in a row; one call after five seconds closes it again, or
    opens it for another five. Only `ServiceUnavailable` is a failure: any answer shows that the service is there.
    """

    def __init__(self, service: str) -> None:
        self._service = service
        self._circuit = CircuitBreaker(
            FAILURES, PROBE_SECONDS, name=service, listeners=[_Gauge(service)], throw_new_error_on_trip=False
        )
        metrics.BREAKER_STATE.labels(service).set(0)

    @property
    def is_open(self) -> bool:
        """Whether calls are refused, but for those that probe."""
        return self._circuit.current_state == STATE_OPEN

    def call(self, attempt: Callable[[], _Answer]) -> _Answer:
        """What the attempt returns or raises.

        Raises:
            ServiceUnavailable: the circuit is open.
        """
        state = self._circuit.current_state
        if state == STATE_CLOSED:
            return self._call_at_once(attempt)
        if state != STATE_OPEN:
            raise ServiceUnavailable(self._service)  # somebody else is probing
        try:
            answer: _Answer | _Refusal = self._circuit.call(_as_result, attempt)
        except CircuitBreakerError:
            raise ServiceUnavailable(self._service) from None
        if isinstance(answer, _Refusal):
            raise answer.error
        return answer

    def _call_at_once(self, attempt: Callable[[], _Answer]) -> _Answer:
        """Call without the circuit's lock, under which it would let one call at a time through, and tell it then."""
        try:
            answer = attempt()
        except ServiceUnavailable as error:
            self._tell(error)
            raise
        except Exception:
            self._tell(None)
            raise
        self._tell(None)
        return answer

    def _tell(self, failure: ServiceUnavailable | None) -> None:
        if failure is None and not self._circuit.fail_counter:
            return
        # The failure is the caller's to raise, and the circuit may have opened meanwhile.
        with suppress(ServiceUnavailable, CircuitBreakerError):
            self._circuit.call(_outcome, failure)


class _Gauge(CircuitBreakerListener):
    """Shows the circuit's state among the metrics."""

    def __init__(self, service: str) -> None:
        self._service = service

    def state_change(self, cb: CircuitBreaker, old_state: object, new_state: Any) -> None:  # noqa: ARG002, ANN401
        metrics.BREAKER_STATE.labels(self._service).set(_STATES[new_state.name])


class _Refusal:
    """What a service answered, as an exception that says nothing against the service."""

    def __init__(self, error: Exception) -> None:
        self.error = error


def _as_result(attempt: Callable[[], _Answer]) -> _Answer | _Refusal:
    try:
        return attempt()
    except ServiceUnavailable:
        raise
    except Exception as error:  # noqa: BLE001 - raised again outside of the circuit, which would count it
        return _Refusal(error)


def _outcome(failure: ServiceUnavailable | None) -> None:
    if failure is not None:
        raise failure
