"""The circuit to a service: three failures open it, one probe after five seconds closes it, or opens it again."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from prometheus_client import REGISTRY

from apps.common.errors import NotFound, ServiceUnavailable
from grpc_api.clients.breaker import Breaker

pytestmark = pytest.mark.once

NOW = datetime(2026, 5, 1, tzinfo=UTC)


def fail() -> None:
    raise ServiceUnavailable("products")


def refuse() -> None:
    raise NotFound("There is no such thing.")


def answer() -> str:
    return "an answer"


def never() -> None:
    raise AssertionError("It was called.")


def fails(breaker: Breaker, attempt: Callable[[], object], times: int = 1) -> None:
    for _ in range(times):
        with pytest.raises(ServiceUnavailable) as error:
            breaker.call(attempt)
        assert str(error.value) == "The products service does not answer. Try again in a moment."


def state_of(service: str) -> float | None:
    return REGISTRY.get_sample_value("circuit_breaker_state", {"service": service})


def test_three_failures_in_a_row_open_it_and_it_closes_again_by_itself() -> None:
    breaker = Breaker("products")
    with time_machine.travel(NOW, tick=False) as clock:
        fails(breaker, fail, times=2)
        assert breaker.call(answer) == "an answer"
        fails(breaker, fail, times=3)
        assert (breaker.is_open, state_of("products")) == (True, 2)
        fails(breaker, never)
        clock.shift(timedelta(seconds=5.1))
        assert breaker.call(answer) == "an answer"
        assert (breaker.is_open, state_of("products")) == (False, 0)
        fails(breaker, fail, times=2)
        assert not breaker.is_open


def test_a_probe_that_fails_opens_it_for_as_long_again() -> None:
    breaker = Breaker("products")
    with time_machine.travel(NOW, tick=False) as clock:
        fails(breaker, fail, times=3)
        clock.shift(timedelta(seconds=5.1))
        fails(breaker, fail)
        fails(breaker, never)
        clock.shift(timedelta(seconds=5.1))
        assert breaker.call(answer) == "an answer"


def test_a_refusal_is_an_answer() -> None:
    breaker = Breaker("products")
    for _ in range(5):
        with pytest.raises(NotFound):
            breaker.call(refuse)
    assert not breaker.is_open
    with time_machine.travel(NOW, tick=False) as clock:
        fails(breaker, fail, times=3)
        clock.shift(timedelta(seconds=5.1))
        with pytest.raises(NotFound):
            breaker.call(refuse)
        assert not breaker.is_open


def test_only_one_probes_and_calls_do_not_wait_for_each_other() -> None:
    breaker = Breaker("products")
    inside, go = threading.Barrier(3), threading.Event()

    def slowly() -> str:
        inside.wait(timeout=10)
        go.wait(timeout=10)
        return "an answer"

    threads = [threading.Thread(target=breaker.call, args=(slowly,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    inside.wait(timeout=10)  # both are being answered at once
    go.set()
    for thread in threads:
        thread.join(timeout=10)
    with time_machine.travel(NOW, tick=False) as clock:
        fails(breaker, fail, times=3)
        clock.shift(timedelta(seconds=5.1))
        go.clear()
        inside.reset()
        answers: list[str] = []
        probing = threading.Event()

        def probe() -> str:
            probing.set()
            go.wait(timeout=10)
            return "an answer"

        prober = threading.Thread(target=lambda: answers.append(breaker.call(probe)))
        prober.start()
        probing.wait(timeout=10)
        fails(breaker, never)
        go.set()
        prober.join(timeout=10)
    assert answers == ["an answer"]
    assert not breaker.is_open
