"""Measures how long it takes until the shop answers, and what a process takes before it does anything.

`django.setup()` comes first.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

from bench.load import Ratio
from bench.results import note
from tests.shop import ROOT, Shop

MOST_SECONDS = 300
# Starting a shop takes seconds, and hardly varies.
MOST_ROUNDS = 2
_TELL = "; print(sum(int(line.split()[1]) for line in open('/proc/self/smaps_rollup') if line.startswith('Pss:')))"
# What is added to a Python that does nothing, and the floor that it is compared with.
_PROGRAMS = {
    "Python": "pass",
    "Django without an app": "import django; from django.conf import settings; settings.configure(); django.setup()",
    "django.setup() of the shop": "import django; django.setup()",
    "the web server's application": "import config.wsgi",
}
_READY = "serve, to the first /ready"


def main(rounds: str) -> None:
    signal.signal(signal.SIGALRM, lambda *_: sys.exit(f"FAILED: not done in {MOST_SECONDS} s."))
    signal.alarm(MOST_SECONDS)
    shop = Shop(Path(os.environ["DATA_DIR"]), os.environ)
    shop.manage("migrate_all")
    print("\nStart-up", flush=True)
    times: dict[str, list[float]] = {name: [] for name in (*_PROGRAMS, _READY)}
    sizes: dict[str, float] = {}
    for _ in range(min(int(rounds), MOST_ROUNDS)):
        for name, program in _PROGRAMS.items():
            seconds, sizes[name] = _run(program)
            times[name].append(seconds)
        times[_READY].append(_ready(shop))
    _report(times)
    for name, size in sizes.items():
        note("memory of a process that has done nothing", name, size, "MB")
        print(f"  {name:<34}{size:>8.0f} MB", flush=True)


def _run(program: str) -> tuple[float, float]:
    """How many seconds a Python with that program takes in all, and how many megabytes it has had in the end."""
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-c", program + _TELL], cwd=ROOT, check=True, capture_output=True, text=True)
    return time.monotonic() - began, int(done.stdout) / 1024


def _ready(shop: Shop) -> float:
    began = time.monotonic()
    try:
        shop.start()
        return time.monotonic() - began
    finally:
        shop.kill()


def _report(times: dict[str, list[float]]) -> None:
    floor = ""
    for name, found in times.items():
        ratios = [Ratio(found, times[floor], floor)] if floor else []
        note("from nothing", name, median(found), "s", ratios)
        print(f"  {name:<34}{median(found):>8.2f} s   {'   '.join(map(str, ratios))}", flush=True)
        floor = "django.setup() of the shop" if name == "the web server's application" else floor or "Python"
        floor = "Django without an app" if name == "Django without an app" else floor
