"""The capacity plan's figures: what each process takes for an order, how many of each for how many orders a second, and
a simulation of what cannot be run on one machine. Writes them, with plots, into docs/scaling.md.

`python -m bench.simulate` reckons anew from the unit costs in docs/benchmarks/, which `make bench` measures.
"""

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import ceil
from pathlib import Path

from matplotlib.axes import Axes

from bench.model import Costs, Model, Outcome, Setup
from bench.report import DOCS, FIGURES, draw, insert
from bench.results import ALONE, BYTES, DATABASE, FLUSH, MEASURING, PAID, PLACED, PROCESSOR, Figure, read

RATES = (1, 100, 10_000)
# How busy a processor may be: beyond that, waiting grows fast.
BUSY = 0.6
# What one PostgreSQL server is given, and what one shop (a cell) is built for, in orders a second.
DATABASE_CORES = 16
CELL = 1250
# Requests a second that one Envoy process is given, of which an order is two. An assumption: nothing here measures it.
ENVOY = 4000
BUCKETS = (1, 2, 4, 8, 16)
SEED = 20_26
_SECONDS = 4
_BEGIN, _END = "<!-- figures: made by `python -m bench.simulate` -->", "<!-- end of the figures -->"
_DAY = 86_400
_GIGABYTE = 1e9


@dataclass(frozen=True)
class Units:
    """What was measured of one order: seconds by process, and bytes."""

    costs: Costs
    processes: Mapping[str, float]
    table_bytes: float
    wal_bytes: float
    commits: float

    @classmethod
    def of(cls, figures: Iterable[Figure]) -> "Units":
        """From the part `units` of a run.

        Raises:
            SystemExit: it was not measured.
        """
        found = {(figure.group, figure.name): figure.value for figure in figures if figure.part == "units"}
        if not found:
            sys.exit('There are no unit costs: `make bench ARGS="--on units --report docs"` measures them.')
        paid = {name: value / 1000 for (group, name), value in found.items() if group == f"{PROCESSOR} {PAID}"}
        return cls(
            _costs(found, paid),
            {name: seconds for name, seconds in paid.items() if name != MEASURING},
            found[f"{BYTES} {PAID}", "all tables"],
            found[f"{DATABASE} {PAID}", "write-ahead log"],
            found[f"{DATABASE} {PAID}", "commits"],
        )


def _costs(found: Mapping[tuple[str, str], float], paid: Mapping[str, float]) -> Costs:
    place, alone = (
        {name: value / 1000 for (group, name), value in found.items() if group == f"{PROCESSOR} {what}"}
        for what in (PLACED, ALONE)
    )
    together = max(found[f"{DATABASE} {ALONE}", "commits"] / found[f"{DATABASE} {PLACED}", "commits"], 1)
    web, web_batch = _shared(alone["web server"], place["web server"], together)
    database, database_batch = _shared(alone["PostgreSQL"], place["PostgreSQL"], together)
    rest = max(paid["PostgreSQL"] - place["PostgreSQL"], 0)
    return Costs(
        place_web=web,
        place_web_batch=web_batch,
        place_database=database,
        place_database_batch=database_batch,
        place_others=place["Redis"] + place[MEASURING],
        pay_web=max(paid["web server"] - place["web server"], 0),
        # Nobody can tell a payment's statements from those of what follows it: half each.
        pay_database=rest / 2,
        relay=paid["relay"],
        worker=paid.get("worker", 0) + paid.get("slow worker", 0),
        worker_database=rest / 2,
        flush=found[f"{DATABASE} {PLACED}", FLUSH] / 1000,
    )


def _shared(alone: float, each: float, together: float) -> tuple[float, float]:
    """What an order costs by itself, and what a batch of any size does: one that is alone pays all of its batch, one of
    several its part.
    """
    batch = (alone - each) / (1 - 1 / together) if together > 1 else 0
    batch = min(max(batch, 0), alone)
    return alone - batch, batch


def main() -> int:
    write(DOCS)
    return 0


def write(docs: Path) -> None:
    """Write the figures between their marks in `scaling.md`, and the plots beside it.

    Raises:
        SystemExit: nothing was measured, or the page has lost its marks.
    """
    try:
        figures = read(docs / "benchmarks" / FIGURES)
    except FileNotFoundError as error:
        sys.exit(f"There is no {error.filename}: `make bench` measures first.")
    units = Units.of(figures)
    folder = docs / "scaling"
    folder.mkdir(exist_ok=True)
    told = (_told_units(units), _told_plans(units), _told_validation(units, figures, folder), _told_hot(units, folder))
    insert(docs / "scaling.md", _BEGIN, _END, "\n".join(line for lines in told for line in lines))


# --- What one order costs ------------------------------------------------------------------------


def _told_units(units: Units) -> Iterator[str]:
    yield "### What one order costs\n"
    yield "Placed, paid and deducted; processor time as measured.\n"
    yield "| process | milliseconds of a processor |\n| --- | ---: |"
    for name, seconds in sorted(units.processes.items(), key=lambda item: -item[1]):
        yield f"| {name} | {seconds * 1000:.2f} |"
    yield f"| **together** | **{sum(units.processes.values()) * 1000:.2f}** |"
    yield (
        f"\nThe database keeps {units.table_bytes:,.0f} bytes of it in tables and indexes, writes "
        f"{units.wal_bytes:,.0f} bytes of log, and commits {units.commits:.1f} times (batches shared); a commit takes "
        f"{units.costs.flush * 1000:.2f} ms to reach this machine's disk.\n"
    )


# --- Plans ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Plan:
    """How many of each for a rate: cells and, in each of them, processes, cores and connections to PostgreSQL."""

    rate: int
    cells: int
    setup: Setup
    envoys: int

    @property
    def connections(self) -> int:
        # Each web thread has one and those of live status share one; so has each worker, relay, and periodic task.
        return self.setup.web_processes * (self.setup.threads + 1) + self.setup.workers + self.setup.relays + 1


def plan(rate: int, costs: Costs) -> Plan:
    """What a rate needs at most `BUSY`: cells, and in each of them so many processes."""
    cells = max(1, ceil(rate / CELL), ceil(rate * _database(costs) / (DATABASE_CORES * BUSY)))
    each = rate / cells
    web, work = each * (costs.place_web + costs.place_web_batch + costs.pay_web), each * costs.worker
    setup = Setup(
        web_processes=max(2, ceil(web / BUSY)),
        web_cores=max(1, ceil(web / BUSY)),
        database_cores=max(1, ceil(each * _database(costs) / BUSY)),
        relays=max(1, ceil(each * costs.relay / BUSY)),
        workers=max(2, ceil(each * (costs.worker + costs.worker_database) / BUSY)),
        worker_cores=max(1, ceil((work + each * costs.relay) / BUSY)),
    )
    return Plan(rate, cells, setup, max(1 if rate == 1 else 2, ceil(2 * rate / ENVOY)))


def _database(costs: Costs) -> float:
    """Its seconds for an order; batches are small when nobody waits."""
    return costs.place_database_batch + costs.place_database + costs.pay_database + costs.worker_database


def _told_plans(units: Units) -> Iterator[str]:
    plans = [plan(rate, units.costs) for rate in RATES]
    outcomes = [_simulate(units.costs, each) for each in plans]
    yield "### How many of each\n"
    yield (
        f"No processor busier than {BUSY:.0%}, no PostgreSQL server with more than {DATABASE_CORES} cores, no cell "
        f"with more than {CELL:,} orders a second. One cell of each was simulated, for {_SECONDS} seconds at least.\n"
    )
    rows: dict[str, list[str]] = {
        "cells": [f"{each.cells}" for each in plans],
        "in each cell: web processes": [f"{each.setup.web_processes}" for each in plans],
        "cores for them": [f"{each.setup.web_cores}" for each in plans],
        "cores for PostgreSQL": [f"{each.setup.database_cores}" for each in plans],
        "connections, without a pooler": [f"{each.connections}" for each in plans],
        "relays": [f"{each.setup.relays}" for each in plans],
        "worker processes": [f"{each.setup.workers}" for each in plans],
        "cores for workers and relays": [f"{each.setup.worker_cores}" for each in plans],
        "in all: Envoy processes": [f"{each.envoys}" for each in plans],
        "cores, without Envoy and Redis": [f"{each.cells * _cores(each.setup)}" for each in plans],
        "new rows and indexes in a day": [_size(each.rate * units.table_bytes * _DAY) for each in plans],
        "write-ahead log in a day": [_size(each.rate * units.wal_bytes * _DAY) for each in plans],
        "simulated: orders a second": [
            f"{each.cells * out.rate:,.0f}" for each, out in zip(plans, outcomes, strict=True)
        ],
        "simulated: placing, p50": [_milliseconds(each.p50) for each in outcomes],
        "simulated: placing, p99": [_milliseconds(each.p99) for each in outcomes],
        "simulated: paid to deducted, p99": [_milliseconds(each.settled_p99) for each in outcomes],
        "simulated: busiest": [f"{each.bottleneck}, {each.busy[each.bottleneck]:.0%}" for each in outcomes],
    }
    yield f"| orders a second | {' | '.join(f'{rate:,}' for rate in RATES)} |\n| --- |{' ---: |' * len(RATES)}"
    for name, cells in rows.items():
        yield f"| {name} | {' | '.join(cells)} |"
    yield ""


def _simulate(costs: Costs, of: Plan) -> Outcome:
    rate = of.rate / of.cells
    return Model(costs, of.setup, SEED).drive(rate=rate, seconds=max(_SECONDS, 200 / rate))


def _cores(setup: Setup) -> int:
    return setup.web_cores + setup.database_cores + setup.worker_cores


def _size(count: float) -> str:
    gigabytes = count / _GIGABYTE
    return f"{gigabytes / 1000:,.1f} TB" if gigabytes >= 1000 else f"{gigabytes:,.1f} GB"  # noqa: PLR2004 - a unit


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:,.1f} ms"


# --- Validation ----------------------------------------------------------------------------------


def _told_validation(units: Units, figures: Sequence[Figure], folder: Path) -> Iterator[str]:
    """What the model says of this machine, beside what was measured."""
    measured = {
        int(figure.at): figure.value
        for figure in figures
        if figure.part == "clients" and figure.name == "POST /orders" and figure.at is not None
    }
    yield "### How far the simulation is to be believed\n"
    if not measured:
        yield "Nothing was measured with several numbers of clients (the part `clients`), so nobody knows.\n"
        return
    found = {clients: predict(units.costs, clients) for clients in measured}
    errors = [found[clients] / measured[clients] - 1 for clients in measured]
    yield (
        "Orders a second (placed, not paid) of two web processes on two cores that they share with PostgreSQL: as "
        "measured by the part `clients`, and as the model has them from the unit costs alone.\n"
    )
    yield "| clients | measured | simulated | error |\n| ---: | ---: | ---: | ---: |"
    for clients, error in zip(measured, errors, strict=True):
        yield f"| {clients} | {measured[clients]:,.0f}/s | {found[clients]:,.0f}/s | {error:+.0%} |"
    yield f"\nOff by {sum(map(abs, errors)) / len(errors):.0%} on average, by {max(map(abs, errors)):.0%} at worst.\n"
    draw(folder / "validation.svg", [partial(_two_curves, measured, found)], (4.6, 3.2))
    yield "![Measured and simulated orders a second by clients](scaling/validation.svg)\n"


def predict(costs: Costs, clients: int) -> float:
    """Orders a second in the shop that the part `clients` measures: one machine of two cores, orders placed only."""
    return Model(costs, Setup(shared=True, pays=False), SEED).drive(clients=clients, seconds=_SECONDS).rate


def _two_curves(measured: Mapping[int, float], found: Mapping[int, float], axes: Axes) -> None:
    for name, points in (("measured", measured), ("simulated", found)):
        axes.plot(list(points), list(points.values()), marker="o", markersize=3, label=name)
    axes.set_xscale("log", base=2)
    axes.set_xticks(list(measured), [str(each) for each in measured])
    axes.set_ylim(bottom=0)
    axes.set_xlabel("clients")
    axes.set_ylabel("orders placed a second")
    axes.grid(visible=True)
    axes.legend(fontsize="x-small")


# --- Hot stock -----------------------------------------------------------------------------------


def _told_hot(units: Units, folder: Path) -> Iterator[str]:
    found = hot(units.costs)
    yield "### One product that is in every order\n"
    yield (
        "Simulated: the largest cell above with more clients than it can serve, a commit that takes at least 1 ms to "
        "reach the disk, and the hot product's stock in so many buckets.\n"
    )
    yield f"| buckets | {' | '.join(str(each) for each in found)} |\n| --- |{' ---: |' * len(found)}"
    yield f"| orders placed a second | {' | '.join(f'{each.rate:,.0f}' for each in found.values())} |"
    busy = [f"{each.busy['hot row']:.0%}" for each in found.values()]
    yield f"| hot row busy | {' | '.join(busy)} |"
    yield f"| busiest | {' | '.join(each.bottleneck for each in found.values())} |\n"
    draw(folder / "hot.svg", [partial(_hot_curve, {each: out.rate for each, out in found.items()})], (4.6, 3.2))
    yield "![Orders a second of a hot product by buckets](scaling/hot.svg)\n"


def hot(costs: Costs) -> Mapping[int, Outcome]:
    """How many orders of one product a cell takes, by the number of buckets that its stock is in."""
    of = plan(RATES[-1], costs).setup
    setup = replace(of, pays=False, hot=1, threads=8)
    slower = replace(costs, flush=max(costs.flush, 0.001))
    clients = of.web_processes * setup.threads
    return {
        buckets: Model(slower, replace(setup, buckets=buckets), SEED).drive(clients=clients, seconds=1)
        for buckets in BUCKETS
    }


def _hot_curve(rates: Mapping[int, float], axes: Axes) -> None:
    axes.plot(list(rates), list(rates.values()), marker="o", markersize=3)
    axes.set_xscale("log", base=2)
    axes.set_xticks(list(rates), [str(each) for each in rates])
    axes.set_ylim(bottom=0)
    axes.set_xlabel("buckets of the hot product's stock")
    axes.set_ylabel("orders placed a second")
    axes.grid(visible=True)


if __name__ == "__main__":
    sys.exit(main())
