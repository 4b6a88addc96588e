"""A clock, and what one queues for: enough to simulate a shop event by event.

A task is a generator. It yields seconds to let them pass, a `Station` to be served there (and calls its `leave()`
afterwards), or a `Gate` to wait until somebody opens it. The same tasks with the same random numbers give the same
results, to the last digit.
"""

import heapq
from collections import deque
from collections.abc import Generator
from itertools import count
from math import factorial
from typing import Union

Task = Generator[Union[float, "Station", "Gate"], None, None]


class Clock:
    """The time, and what happens next."""

    def __init__(self) -> None:
        self.now = 0.0
        self._numbers = count()
        self._due: list[tuple[float, int, Task]] = []

    def start(self, task: Task, after: float = 0) -> None:
        """Have a task begin or go on. Of two at the same moment, the first to be told of goes first."""
        heapq.heappush(self._due, (self.now + after, next(self._numbers), task))

    def run(self, until: float) -> None:
        """Let time pass until then, or until nothing is left to happen."""
        while self._due and self._due[0][0] <= until:
            self.now, _, task = heapq.heappop(self._due)
            wanted = next(task, None)
            if isinstance(wanted, Station | Gate):
                wanted.enter(task)
            elif wanted is not None:
                self.start(task, wanted)
        self.now = until


class Station:
    """So many servers with one line: whoever came first is served first."""

    def __init__(self, clock: Clock, servers: int) -> None:
        self._clock = clock
        self.servers = servers
        self._busy = 0
        self._line: deque[Task] = deque()
        self._since = 0.0
        self._area = 0.0

    def enter(self, task: Task) -> None:
        """Serve the task now, or when its turn comes."""
        if self._busy == self.servers:
            self._line.append(task)
            return
        self._count()
        self._busy += 1
        self._clock.start(task)

    def leave(self) -> None:
        """Let the next in."""
        if self._line:
            self._clock.start(self._line.popleft())
            return
        self._count()
        self._busy -= 1

    def utilisation(self) -> float:
        """The part of its servers that was busy, on average, from the beginning until now."""
        self._count()
        return self._area / (self._clock.now * self.servers) if self._clock.now else 0

    def _count(self) -> None:
        self._area += self._busy * (self._clock.now - self._since)
        self._since = self._clock.now


class Gate:
    """Who waits here goes on when it is opened; once open it stays open."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._is_open = False
        self._waiting: list[Task] = []

    def enter(self, task: Task) -> None:
        """Wait, unless it is open."""
        if self._is_open:
            self._clock.start(task)
        else:
            self._waiting.append(task)

    def open(self) -> None:
        """Let everybody go on."""
        self._is_open = True
        for task in self._waiting:
            self._clock.start(task)
        self._waiting.clear()


def erlang_c(servers: int, load: float) -> float:
    """How likely one has to wait with Poisson arrivals, exponential service and so many servers; `load` is the rate of
    arrivals times the mean time of service, below the number of servers (Erlang's formula C).
    """
    last = load**servers / factorial(servers) * servers / (servers - load)
    return last / (sum(load**each / factorial(each) for each in range(servers)) + last)


def mean_wait(servers: int, arrivals: float, service: float) -> float:
    """How many seconds one waits on average before being served, with such arrivals (M/M/c)."""
    return erlang_c(servers, arrivals * service) * service / (servers - arrivals * service)
