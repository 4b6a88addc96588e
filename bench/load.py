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
    """Something that is repeated. Of each round, `rates` has its calls per second, and `times` the median of how many
    seconds a call took, without what is done `beforehand`; `calls` counts all of them.
    """

    name: str
    client: Client
    against: "Sequence[Case]" = ()
    statements: int = 0
    beforehand: Callable[[], object] = lambda: None
    afterwards: Callable[[], object] = lambda: None
    at_least: float | None = None
    rates: list[float] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    calls: int = 0

    def __str__(self) -> str:
        ratios = [Ratio(self.rates, other.rates, other.name, at_least=self.at_least) for other in self.against]
        return f"  {self.name:<34}{median(self.rates):>8,.0f}/s {self.statements:>4}   {'   '.join(map(str, ratios))}"


@dataclass(frozen=True)
class Ratio:
    """How two cases compare, each round within itself, and whether that is what was aimed at."""

    mine: Sequence[float]
    its: Sequence[float]
    of: str
    at_least: float | None = None
    at_most: float | None = None

    def __str__(self) -> str:
        """The median over the rounds, and between which it lay."""
        ratios = [mine / its for mine, its in zip(self.mine, self.its, strict=True)]
        middle = median(ratios)
        return f"{middle:.2f} of {self.of} ({min(ratios):.2f} to {max(ratios):.2f}){self._verdict(middle)}"

    def _verdict(self, ratio: float) -> str:
        if self.at_least is not None:
            return f", at least {self.at_least}: {'reached' if ratio >= self.at_least else 'MISSED'}"
        if self.at_most is not None:
            return f", at most {self.at_most}: {'reached' if ratio <= self.at_most else 'MISSED'}"
        return ""


def compare(cases: Sequence[Case], limits: Limits) -> None:
    """Drive the cases in turn, round after round: what disturbs the machine for a while disturbs all of them."""
    for case in cases:
        _drive(case, limits.clients, min(limits.seconds, _WARM_UP_SECONDS))
        case.afterwards()
    for _ in range(limits.rounds):
        for case in cases:
            rate, seconds = _drive(case, limits.clients, limits.seconds)
            case.rates.append(rate)
            case.times.append(seconds)
            case.afterwards()


def _drive(case: Case, clients: int, seconds: float) -> tuple[float, float]:
    """Calls per second, and the median of their times. A call that raises ends the benchmark: a rate of failures says
    nothing.
    """
    numbers = count()
    line = Barrier(clients)

    def work() -> tuple[float, float, list[float]]:
        times = []
        with case.client() as call:
            line.wait(timeout=_CONNECT_SECONDS)
            began = ended = time.monotonic()
            while ended < began + seconds and next(numbers) < MOST_CALLS:
                case.beforehand()
                called = time.monotonic()
                call()
                ended = time.monotonic()
                times.append(ended - called)
            return began, ended, times

    with ThreadPoolExecutor(clients) as pool:
        results = [future.result() for future in [pool.submit(work) for _ in range(clients)]]
    times = [each for _, _, found in results for each in found]
    case.calls += len(times)
    return len(times) / (max(ended for _, ended, _ in results) - min(began for began, _, _ in results)), median(times)
