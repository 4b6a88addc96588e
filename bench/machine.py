"""What a run was measured on: enough to judge its figures, nothing that says whose machine it is."""

import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import psutil
import psycopg
from redis import Redis, RedisError

from tests import services
from tests.shop import ROOT

_GIGABYTE = 1 << 30


class Machine(msgspec.Struct, frozen=True):
    """One run's surroundings. `load` is that of the minute before it, `seconds` how long it took."""

    date: str
    commit: str
    processor: str
    cores: int
    memory: str
    kernel: str
    python: str
    postgresql: str
    redis: str
    load: float
    seconds: int = 0


def describe() -> Machine:
    """This machine, now."""
    return Machine(
        date=datetime.now(UTC).date().isoformat(),
        commit=_commit(),
        processor=_processor(),
        cores=len(os.sched_getaffinity(0)),
        memory=f"{psutil.virtual_memory().total / _GIGABYTE:.0f} GB",
        kernel=f"{platform.system()} {platform.release().partition('-')[0]}",
        python=platform.python_version(),
        postgresql=_postgresql(),
        redis=_redis(),
        load=round(os.getloadavg()[0], 1),
    )


def _commit() -> str:
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    return done.stdout.strip() or "unknown"


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.machine()


def _postgresql() -> str:
    try:
        with psycopg.connect(services.POSTGRES_URL, connect_timeout=3) as server:
            row = server.execute(
                "SELECT split_part(current_setting('server_version'), ' ', 1), current_setting('fsync'),"
                " current_setting('synchronous_commit')"
            ).fetchone()
    except psycopg.Error:
        return "none"
    version, fsync, commits = row or ("unknown",) * 3
    return f"{version}, fsync {fsync}, synchronous_commit {commits}"


def _redis() -> str:
    try:
        with Redis.from_url(services.REDIS_URL, socket_connect_timeout=2, socket_timeout=2) as server:
            return str(server.info("server")["redis_version"])
    except RedisError:
        return "none"
