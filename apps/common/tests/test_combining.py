"""Group commit: who is served together with whom, and whose error is whose."""

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from django.db import OperationalError

from apps.common.combining import MOST, Combiner


class Kitchen:
    """Serves a batch as soon as somebody opens the hatch, and remembers the batches."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.hatch = threading.Semaphore(0)
        self.busy = threading.Semaphore(0)

    def serve(self, wishes: Sequence[int]) -> Sequence[str | Exception]:
        self.busy.release()
        assert self.hatch.acquire(timeout=10)
        self.batches.append(list(wishes))
        if -1 in wishes:
            raise ValueError("nobody can cook that")
        if -2 in wishes:
            raise OperationalError("no gas")
        return [LookupError(wish) if wish == 0 else f"dish {wish}" for wish in wishes]


@contextmanager
def _guests(kitchen: Kitchen, first: int, *others: int) -> Iterator[list["Future[str]"]]:
    """The first guest is being served while the others come; then the hatch is opened for good."""
    combiner = Combiner(kitchen.serve)
    with ThreadPoolExecutor(1 + len(others)) as pool:
        futures = [pool.submit(combiner.ask, first)]
        assert kitchen.busy.acquire(timeout=10)
        for number, wish in enumerate(others, 1):
            futures.append(pool.submit(combiner.ask, wish))
            while len(combiner._line) < number:
                pass
        kitchen.hatch.release(1000)
        yield futures


def test_who_comes_alone_is_served_alone_at_once() -> None:
    kitchen = Kitchen()
    kitchen.hatch.release(2)
    combiner = Combiner(kitchen.serve)
    assert [combiner.ask(1), combiner.ask(2)] == ["dish 1", "dish 2"]
    assert kitchen.batches == [[1], [2]]


def test_who_comes_meanwhile_is_served_together() -> None:
    kitchen = Kitchen()
    with _guests(kitchen, 1, 2, 3, 4) as futures:
        assert [future.result(10) for future in futures] == ["dish 1", "dish 2", "dish 3", "dish 4"]
    assert kitchen.batches == [[1], [2, 3, 4]]


def test_a_batch_is_bounded_and_nobody_is_forgotten() -> None:
    kitchen = Kitchen()
    crowd = range(2, 2 + MOST + 5)
    with _guests(kitchen, 1, *crowd) as futures:
        assert [future.result(10) for future in futures] == ["dish 1", *(f"dish {wish}" for wish in crowd)]
    assert [len(batch) for batch in kitchen.batches] == [1, MOST, 5]


def test_each_gets_its_own_refusal() -> None:
    kitchen = Kitchen()
    with _guests(kitchen, 1, 0, 2) as (_, refused, served):
        assert served.result(10) == "dish 2"
        with pytest.raises(LookupError):
            refused.result(10)


def test_one_that_cannot_be_served_spoils_nobody_elses_meal() -> None:
    kitchen = Kitchen()
    with _guests(kitchen, 1, 2, -1, 3) as (_, before, bad, after):
        assert (before.result(10), after.result(10)) == ("dish 2", "dish 3")
        with pytest.raises(ValueError, match="nobody can cook that"):
            bad.result(10)
    assert kitchen.batches == [[1], [2, -1, 3], [2], [-1], [3]]


def test_a_database_that_is_away_is_asked_once_for_all() -> None:
    kitchen = Kitchen()
    with _guests(kitchen, 1, 2, -2, 3) as (_, *others):
        for future in others:
            with pytest.raises(OperationalError):
                future.result(10)
    assert kitchen.batches == [[1], [2, -2, 3]]


def test_after_a_failure_the_next_is_served() -> None:
    kitchen = Kitchen()
    kitchen.hatch.release(2)
    combiner = Combiner(kitchen.serve)
    with pytest.raises(ValueError, match="nobody can cook that"):
        combiner.ask(-1)
    assert combiner.ask(1) == "dish 1"
