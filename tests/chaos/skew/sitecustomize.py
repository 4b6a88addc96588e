"""Python runs this at the start of every process that has this folder in its path, before anything else.

It turns the clock of the process that the file at `CHAOS_CLOCKS` names, a JSON object of kind → seconds ahead. Of the
web's processes only one at a time is turned.
"""

import fcntl
import json
import os
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO

import time_machine

_CLOCKS = os.environ.get("CHAOS_CLOCKS", "")
# Kind → a word of the command line that only it has.
_WORDS = {"web": "granian", "worker": "worker", "relay": "relay", "beat": "beat"}
# Kept open: the lock lasts as long as the process.
_locks: list[IO[str]] = []


def _turn(seconds: float) -> None:
    time_machine.travel(datetime.now(UTC) + timedelta(seconds=seconds), tick=True).start()


def _turn_if_first(seconds: float) -> None:
    lock = Path(f"{_CLOCKS}.web").open("w")  # noqa: SIM115 - see above
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return
    _locks.append(lock)
    _turn(seconds)


def _clocks() -> dict[str, float]:
    try:
        clocks: dict[str, float] = json.loads(Path(_CLOCKS).read_text())
    except FileNotFoundError:
        return {}
    return clocks


if _CLOCKS:
    for kind, ahead in _clocks().items():
        if _WORDS[kind] not in sys.orig_argv:
            continue
        if kind == "web":
            # Its workers are forks of a process that answers nobody.
            os.register_at_fork(after_in_child=lambda seconds=ahead: _turn_if_first(seconds))
        else:
            _turn(ahead)
