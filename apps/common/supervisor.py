"""Runs the processes of one container: starts them, restarts what dies, and stops them in order."""

import ctypes
import logging
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import groupby
from typing import IO

from apps.common import draining

logger = logging.getLogger(__name__)

_STOP_SECONDS = 25
_RESTART_SECONDS = (0.5, 1, 2, 5, 10)
_STEADY_SECONDS = 60
_PR_SET_PDEATHSIG = 1


@dataclass
class Process:
    """A command that should always be running. `environment` is added to our own; `is_prefixed` has each line that it
    prints begin with its name. Neighbours of one `stage` stop at the same time; `farewell` is a command that is run
    before the process is told to stop.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    is_prefixed: bool = False
    stage: str = ""
    farewell: Sequence[str] = ()
    running: "subprocess.Popen[bytes] | None" = None
    started_at: float = 0
    failures: int = 0
    start_again_at: float = field(default=0)


class Supervisor:
    """Keeps processes running until SIGTERM or SIGINT, and for `drain_seconds` more; then stops them in the order in
    which they were given. A second signal ends the wait.
    """

    def __init__(self, processes: Sequence[Process], *, drain_seconds: float = 0) -> None:
        self._processes = processes
        self._drain_seconds = drain_seconds
        self._told = threading.Event()
        self._hurried = threading.Event()

    def run(self) -> None:
        """Blocks until told to stop, and everything has stopped."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._hear)
        try:
            self._run_until(self._told)
            if self._drain_seconds:
                self._drain()
        finally:
            for _, together in groupby(self._processes, key=lambda process: process.stage or process.name):
                _end(list(together))

    def _hear(self, *_: object) -> None:
        (self._hurried if self._told.is_set() else self._told).set()

    def _drain(self) -> None:
        """Serve on while whoever sends requests learns that they are to go elsewhere."""
        logger.info("Draining for %s s", self._drain_seconds)
        draining.begin()
        try:
            self._run_until(self._hurried, seconds=self._drain_seconds)
        finally:
            draining.end()

    def _run_until(self, event: threading.Event, *, seconds: float = math.inf) -> None:
        deadline = time.monotonic() + seconds
        while not event.is_set() and time.monotonic() < deadline:
            for process in self._processes:
                self._keep(process)
            event.wait(0.2)

    def _keep(self, process: Process) -> None:
        """Start the process if it does not run: at once the first time, with growing pauses if it keeps dying."""
        now = time.monotonic()
        if process.running is not None:
            code = process.running.poll()
            if code is None:
                return
            _kill_group(process.running)
            if now - process.started_at > _STEADY_SECONDS:
                process.failures = 0
            pause = _RESTART_SECONDS[min(process.failures, len(_RESTART_SECONDS) - 1)]
            logger.error("%s ended with code %s; starting it again in %s s", process.name, code, pause)
            process.running = None
            process.failures += 1
            process.start_again_at = now + pause
        if now >= process.start_again_at:
            process.started_at = now
            process.running = _start(process)


def _start(process: Process) -> "subprocess.Popen[bytes]":
    # A session of its own: Ctrl-C in a terminal reaches the supervisor only, which then stops the rest in order.
    running = subprocess.Popen(  # noqa: S603
        process.command,
        env={**os.environ, **process.environment},
        stdout=subprocess.PIPE if process.is_prefixed else None,
        stderr=subprocess.STDOUT if process.is_prefixed else None,
        start_new_session=True,
        preexec_fn=_die_with_parent,  # noqa: PLW1509
    )
    if running.stdout is not None:
        threading.Thread(target=_print, args=(process.name, running.stdout), daemon=True).start()
    return running


def _print(name: str, lines: IO[bytes]) -> None:
    for line in lines:
        sys.stderr.buffer.write(f"{name:<9}| ".encode() + line)
        sys.stderr.buffer.flush()


def _die_with_parent() -> None:
    """Ask Linux to end this process when the supervisor dies, however it dies; nothing to ask for elsewhere."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _end(processes: Sequence[Process]) -> None:
    """Let the processes finish what they began; kill one, and what it left behind, only if it does not end."""
    for process in processes:
        if process.running is not None:
            _bid_farewell(process)
            process.running.terminate()
    deadline = time.monotonic() + _STOP_SECONDS
    for process in processes:
        if process.running is not None:
            _wait(process.name, process.running, deadline)


def _bid_farewell(process: Process) -> None:
    if not process.farewell:
        return
    try:
        subprocess.run(process.farewell, check=False, timeout=_STOP_SECONDS)  # noqa: S603 - a command of ours
    except (OSError, subprocess.TimeoutExpired) as error:
        # Nothing that comes after it, and nobody who stops after it, may be left running.
        logger.error("%s stops without its farewell: %s", process.name, error)  # noqa: TRY400


def _wait(name: str, running: "subprocess.Popen[bytes]", deadline: float) -> None:
    try:
        running.wait(timeout=max(0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        logger.error("%s did not stop within %s s and was killed", name, _STOP_SECONDS)  # noqa: TRY400
    _kill_group(running)
    running.wait()


def _kill_group(process: "subprocess.Popen[bytes]") -> None:
    """Kill what is left of a process and its children: an orphaned web worker would go on answering, from a cache of
    its own.
    """
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
