"""Loops of calls from several threads, bounded in time and in number; cases that are compared take turns."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from itertools import count
from statistics import median
from threading import Barrier

Call = Callable[[], object]
# What one thread enters: it connects, and leaves a call to be repeated.
Client = Callable[[], AbstractContextManager[Call]]

MOST_CALLS = 5000
_WARM_UP_SECONDS = 0.3
_CONNECT_SECONDS = 30


@dataclass(frozen=True)
class Limits:
    """How hard, how long and how often a case is driven."""

    clients: int
    rounds: int
    seconds: float


@dataclass
class Case:
    """Something that is repeated; `rates` has its calls per second in each round, `calls` counts all of them."""

    name: str
    client: Client
    against: "Sequence[Case]" = ()
    statements: int = 0
    afterwards: Callable[[], object] = lambda: None
    rates: list[float] = field(default_factory=list)
    calls: int = 0

    def __str__(self) -> str:
        ratios = [_ratio(self, other) for other in self.against]
        return f"  {self.name:<34}{median(self.rates):>8,.0f}/s {self.statements:>4}   {'   '.join(ratios)}"


def compare(cases: Sequence[Case], limits: Limits) -> None:
    """Drive the cases in turn, round after round: what disturbs the machine for a while disturbs all of them."""
    for case in cases:
        _drive(case, limits.clients, _WARM_UP_SECONDS)
        case.afterwards()
    for _ in range(limits.rounds):
        for case in cases:
            case.rates.append(_drive(case, limits.clients, limits.seconds))
            case.afterwards()


def _drive(case: Case, clients: int, seconds: float) -> float:
    """Calls per second. A call that raises ends the benchmark: a rate of failures says nothing."""
    numbers = count()
    line = Barrier(clients)

    def work() -> tuple[float, float, int]:
        with case.client() as call:
            line.wait(timeout=_CONNECT_SECONDS)
            began, done = time.monotonic(), 0
            while time.monotonic() < began + seconds and next(numbers) < MOST_CALLS:
                call()
                done += 1
            return began, time.monotonic(), done

    with ThreadPoolExecutor(clients) as pool:
        results = [future.result() for future in [pool.submit(work) for _ in range(clients)]]
    calls = sum(done for _, _, done in results)
    case.calls += calls
    return calls / (max(ended for _, ended, _ in results) - min(began for began, _, _ in results))


def _ratio(case: Case, other: Case) -> str:
    """The median over the rounds, each compared within itself, and between which it lay."""
    ratios = [mine / its for mine, its in zip(case.rates, other.rates, strict=True)]
    return f"{median(ratios):.2f} of {other.name} ({min(ratios):.2f} to {max(ratios):.2f})"
