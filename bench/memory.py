"""Which process of a shop is what, and how much memory and processor time each kind has taken."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import psutil

from bench.results import note

_MEGABYTE = 1 << 20
# What a command line has in it, the more telling first → what the process is.
_ROLES = {
    "envoy": "Envoy",
    "slow@": "slow worker",
    " worker ": "worker",
    " beat ": "periodic tasks",
    "manage.py grpc": "gRPC server",
    "manage.py relay": "relay",
    "granian": "web server",
    "manage.py serve": "supervisor",
    "deploy.split": "supervisor",
}


@dataclass(frozen=True)
class Kind:
    """The processes of one kind: what they have mapped (RSS), and their share of it (PSS), in megabytes."""

    count: int
    rss: float
    pss: float


def role_of(command: str) -> str | None:
    """What a process with that command line is, if it says so."""
    return next((role for sign, role in _ROLES.items() if sign in f"{command} "), None)


def roles(processes: Iterable[psutil.Process]) -> Mapping[str, Sequence[psutil.Process]]:
    """The processes by what they are. One that does not say is what its parent is: a pool's child renames itself."""
    found: dict[int, str] = {}
    kinds: dict[str, list[psutil.Process]] = defaultdict(list)
    # Parents first.
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            role = role_of(" ".join(process.cmdline())) or found.get(process.ppid(), "other")
            found[process.pid] = role
            kinds[role].append(process)
    return kinds


def memory(processes: Iterable[psutil.Process]) -> Mapping[str, Kind]:
    """What each kind of process takes."""
    return {role: _kind(of_role) for role, of_role in roles(processes).items()}


def note_memory(group: str, processes: Sequence[psutil.Process]) -> float:
    """Keep what each kind takes, largest first, and say what all of them take together, in megabytes."""
    kinds = sorted(memory(processes).items(), key=lambda item: -item[1].pss)
    for role, kind in kinds:
        note(group, f"{kind.count} {role}", kind.pss, "MB")
        print(f"    {f'{kind.count} {role}':<24}{kind.pss:>8,.0f} MB PSS {kind.rss:>8,.0f} MB RSS", flush=True)
    return sum(kind.pss for _, kind in kinds)


def processor_seconds(processes: Iterable[psutil.Process]) -> Mapping[str, float]:
    """How many seconds of a processor each kind has had since it began."""
    return {role: sum(map(_seconds, of_role)) for role, of_role in roles(processes).items()}


def _kind(processes: Sequence[psutil.Process]) -> Kind:
    found = [process.memory_full_info() for process in processes]
    return Kind(len(found), sum(each.rss for each in found) / _MEGABYTE, sum(each.pss for each in found) / _MEGABYTE)


def _seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)
