"""The service in several processes of several threads, as the shop's web server has it: one Python process uses one
processor.
"""

import multiprocessing
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any

from bench.load import Driver, Run

# An order; it is told what is known only once processes run.
Act = Callable[[Any], object]

# Everybody has connected by then.
_SOON = 0.5
_LONGEST = 120


class Processes:
    """Processes that wait for work. They are made by forking: before anything has been connected to."""

    def __init__(self, pipes: Sequence[Connection]) -> None:
        self._pipes = pipes

    def driver(self, told: object) -> Driver:
        """The act, each time told this."""

        def drive(clients: int, seconds: float) -> Run:
            each = clients // len(self._pipes)
            begin = time.monotonic() + _SOON
            for pipe in self._pipes:
                pipe.send((told, each, begin, seconds))
            results: list[tuple[float, list[list[float]]]] = []
            for pipe in self._pipes:
                if not pipe.poll(seconds + _LONGEST):
                    raise TimeoutError("A process of the service does not answer.")
                results.append(pipe.recv())
            found = [times for _, of_threads in results for times in of_threads]
            times = [each for of_thread in found for each in of_thread]
            wall = max(ended for ended, _ in results) - begin
            return Run(len(times), len(times) / wall, times, [len(of_thread) for of_thread in found])

        return drive


@contextmanager
def processes(count: int, act: Act) -> Iterator[Processes]:
    """So many processes, ended in the end."""
    context = multiprocessing.get_context("fork")
    pairs = [context.Pipe() for _ in range(count)]
    started = [context.Process(target=_work, args=(theirs, act), daemon=True) for _, theirs in pairs]
    for process in started:
        process.start()
    try:
        yield Processes([ours for ours, _ in pairs])
    finally:
        for process in started:
            process.terminate()
            process.join()


def _work(pipe: Connection, act: Act) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever started us ends us
    pool: ThreadPoolExecutor | None = None
    while True:
        told, count, begin, seconds = pipe.recv()
        # Its threads, and their connections, stay.
        pool = pool or ThreadPoolExecutor(count)
        futures = [pool.submit(_repeat, act, told, begin, seconds) for _ in range(count)]
        found = [future.result() for future in futures]
        pipe.send((time.monotonic(), found))


def _repeat(act: Act, told: object, begin: float, seconds: float) -> list[float]:
    time.sleep(max(begin - time.monotonic(), 0))
    times, now = [], time.monotonic()
    while now < begin + seconds:
        began = now
        act(told)
        now = time.monotonic()
        times.append(now - began)
    return times
