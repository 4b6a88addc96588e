"""Runs the processes of one container: starts them, restarts what dies, and stops them in order."""

import ctypes
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import IO

logger = logging.getLogger(__name__)

_STOP_SECONDS = 25
_RESTART_SECONDS = (0.5, 1, 2, 5, 10)
_STEADY_SECONDS = 60
_PR_SET_PDEATHSIG = 1


@dataclass
class Process:
    """A command that should always be running. `environment` is added to our own; `is_prefixed` has each line that it
    prints begin with its name.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    is_prefixed: bool = False
    running: "subprocess.Popen[bytes] | None" = None
    started_at: float = 0
    failures: int = 0
    start_again_at: float = field(default=0)


class Supervisor:
    """Keeps processes running until SIGTERM or SIGINT, then stops them in the order in which they were given."""

    def __init__(self, processes: Sequence[Process]) -> None:
        self._processes = processes
        self._stop = threading.Event()

    def run(self) -> None:
        """Blocks until told to stop."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._stop.set())
        try:
            while not self._stop.is_set():
                for process in self._processes:
                    self._keep(process)
                self._stop.wait(0.2)
        finally:
            for process in self._processes:
                _end(process)

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


def _end(process: Process) -> None:
    """Let the process finish what it began; kill it, and what it left behind, only if it does not come to an end."""
    if process.running is None:
        return
    process.running.terminate()
    try:
        process.running.wait(timeout=_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        logger.error("%s did not stop within %s s and was killed", process.name, _STOP_SECONDS)  # noqa: TRY400
    _kill_group(process.running)
    process.running.wait()


def _kill_group(process: "subprocess.Popen[bytes]") -> None:
    """Kill what is left of a process and its children: an orphaned web worker would go on answering, from a cache of
    its own.
    """
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
