"""What is compared: cases that take turns, each driven for a bounded time, and the ratios between them."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from itertools import count
from statistics import median, quantiles
from threading import Barrier

Call = Callable[[], object]
# What one thread enters: it connects, and leaves a call to be repeated.
Client = Callable[[], AbstractContextManager[Call]]

MOST_CALLS = 5000
_WARM_UP_SECONDS = 0.3
_CONNECT_SECONDS = 30


@dataclass(frozen=True)
class Run:
    """What came of driving a case once: calls per second, how many seconds each took, how many each client had
    answered, and what part of one processor was taken by whoever measured, where that is known.
    """

    calls: int
    rate: float
    times: Sequence[float] = ()
    shares: Sequence[int] = ()
    own: float = 0


# By so many clients for so many seconds.
Driver = Callable[[int, float], Run]


@dataclass(frozen=True)
class Limits:
    """How hard, how long and how often a case is driven."""

    clients: int
    rounds: int
    seconds: float


@dataclass
class Case:
    """Something that is repeated. `at_least` is what its ratio to the first of `against` should be; `calls` counts
    those of the warm-up, too.
    """

    name: str
    drive: Driver
    against: "Sequence[Case]" = ()
    statements: int = 0
    afterwards: Callable[[], object] = lambda: None
    at_least: float | None = None
    runs: list[Run] = field(default_factory=list)
    calls: int = 0

    @property
    def rates(self) -> list[float]:
        return [run.rate for run in self.runs]

    @property
    def times(self) -> list[float]:
        """The median of each round."""
        return [median(run.times) for run in self.runs]

    @property
    def ratios(self) -> "list[Ratio]":
        """Its rate against each other's."""
        aims = [self.at_least, *[None] * len(self.against)]
        return [
            Ratio(self.rates, other.rates, other.name, at_least=aim)
            for other, aim in zip(self.against, aims, strict=False)
        ]

    def __str__(self) -> str:
        ratios = "   ".join(map(str, self.ratios))
        return f"  {self.name:<34}{median(self.rates):>8,.0f}/s {self.statements:>4}   {ratios}".rstrip()

    def percentile(self, part: int) -> float:
        """Seconds within which so many of a hundred calls of all rounds were answered."""
        return percentile([each for run in self.runs for each in run.times], part)


@dataclass(frozen=True)
class Ratio:
    """How two cases compare, each round within itself, and whether that is what was aimed at."""

    mine: Sequence[float]
    its: Sequence[float]
    of: str
    at_least: float | None = None
    at_most: float | None = None

    @property
    def median(self) -> float:
        return median(self._each)

    @property
    def lowest(self) -> float:
        return min(self._each)

    @property
    def highest(self) -> float:
        return max(self._each)

    def __str__(self) -> str:
        """The median over the rounds, and between which it lay."""
        aim = verdict(self.median, at_least=self.at_least, at_most=self.at_most)
        return f"{self.median:.2f} of {self.of} ({self.lowest:.2f} to {self.highest:.2f}){aim}"

    @property
    def _each(self) -> list[float]:
        return [mine / its for mine, its in zip(self.mine, self.its, strict=True)]


def verdict(value: float, *, at_least: float | None = None, at_most: float | None = None) -> str:
    """What was aimed at, and whether it was reached; nothing without an aim."""
    if at_least is not None:
        return f", at least {at_least:g}: {'reached' if value >= at_least else 'MISSED'}"
    if at_most is not None:
        return f", at most {at_most:g}: {'reached' if value <= at_most else 'MISSED'}"
    return ""


def percentile(values: Sequence[float], part: int) -> float:
    """Below which so many of a hundred values are."""
    return quantiles(values, n=100, method="inclusive")[part - 1] if len(values) > 1 else values[0]


def compare(cases: Sequence[Case], limits: Limits) -> None:
    """Drive the cases in turn, round after round: what disturbs the machine for a while disturbs all of them."""
    for case in cases:
        _drive(case, limits.clients, min(limits.seconds, _WARM_UP_SECONDS))
    for _ in range(limits.rounds):
        for case in cases:
            case.runs.append(_drive(case, limits.clients, limits.seconds))


def _drive(case: Case, clients: int, seconds: float) -> Run:
    run = case.drive(clients, seconds)
    case.calls += run.calls
    case.afterwards()
    return run


def threads(client: Client, beforehand: Callable[[], object] = lambda: None) -> Driver:
    """Calls from a thread for each client. What is done `beforehand`, each time, does not count.

    A call that raises ends the benchmark: a rate of failures says nothing.
    """

    def drive(clients: int, seconds: float) -> Run:
        numbers = count()
        line = Barrier(clients)

        def work() -> tuple[float, float, list[float]]:
            times = []
            with client() as call:
                line.wait(timeout=_CONNECT_SECONDS)
                began = ended = time.monotonic()
                while ended < began + seconds and next(numbers) < MOST_CALLS:
                    beforehand()
                    called = time.monotonic()
                    call()
                    ended = time.monotonic()
                    times.append(ended - called)
                return began, ended, times

        with ThreadPoolExecutor(clients) as pool:
            results = [future.result() for future in [pool.submit(work) for _ in range(clients)]]
        times = [each for _, _, found in results for each in found]
        wall = max(ended for _, ended, _ in results) - min(began for began, _, _ in results)
        return Run(len(times), len(times) / wall, times, [len(found) for _, _, found in results])

    return drive
