"""What is done to the shop while customers buy. Each has a name, and is undone only where nobody else could."""

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial

import psutil

from tests.chaos.world import World

HOUR = 3600
_AWAY_SECONDS = 3
_KINDS = ("web", "worker", "relay", "beat")
_WORDS = {"web": "granian", "worker": "worker", "relay": "relay", "beat": "beat"}

Disturbance = Callable[[World], None]


def disturbances(world: World) -> Mapping[str, Disturbance]:
    """Name → what can be done to this shop."""
    kinds = [kind for kind in _KINDS if processes_of(world, kind)]
    found: dict[str, Disturbance] = {f"kill {kind}": partial(kill, kind=kind) for kind in kinds}
    found["kill a web worker"] = partial(kill_child, kind="web")
    if "worker" in kinds:
        found["kill a worker's child"] = partial(kill_child, kind="worker")
    found["kill everything"] = kill_everything
    found |= {f"kill {name}": partial(restart_server, name=name) for name in world.servers}
    found |= {f"shut off {name}": partial(shut_off, name=name) for name in world.doors}
    for kind in kinds:
        found[f"clock of {kind} +1 h"] = partial(turn_clock, kind=kind, seconds=HOUR)
        found[f"clock of {kind} -1 h"] = partial(turn_clock, kind=kind, seconds=-HOUR)
    return found


def processes_of(world: World, kind: str) -> list[psutil.Process]:
    """The process of that kind below the supervisor, and its children."""
    top, *_ = world.shop.processes()
    for child in top.children():
        with suppress(psutil.NoSuchProcess):
            if _WORDS[kind] in child.cmdline():
                return [child, *child.children(recursive=True)]
    return []


def kill(world: World, kind: str) -> None:
    """Kill it, and wait for the supervisor to see to its children."""
    group = processes_of(world, kind)
    for process in group[:1]:
        _kill(process)
    psutil.wait_procs(group, timeout=20)


def kill_child(world: World, kind: str) -> None:
    children = processes_of(world, kind)[1:]
    if children:
        _kill(world.dice.choice(children))


def kill_everything(world: World) -> None:
    world.shop.kill()
    world.shop.start()


def restart_server(world: World, name: str) -> None:
    world.servers[name].kill()
    time.sleep(_AWAY_SECONDS)
    world.servers[name].start()


def shut_off(world: World, name: str) -> None:
    world.doors[name].down()
    time.sleep(_AWAY_SECONDS)
    world.doors[name].up()


def turn_clock(world: World, kind: str, seconds: int) -> None:
    """The clock stays wrong until `right_clocks`."""
    world.set_clocks(**{kind: seconds})
    kill(world, kind)


def right_clocks(world: World, name: str) -> bool:
    """Undo that disturbance if it has turned a clock, which nobody else would; says whether it has."""
    if not name.startswith("clock of "):
        return False
    world.set_clocks()
    kill(world, name.split()[2])
    return True


def _kill(process: psutil.Process) -> None:
    with suppress(psutil.NoSuchProcess):
        process.kill()
