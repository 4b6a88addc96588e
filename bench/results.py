"""What a run has measured, as data: a line of JSON for each figure, from which `bench.report` makes the report.

Every part runs in a process of its own; BENCH_RESULTS names the file that all of them write to, and BENCH_PART the
part. Without them nothing is kept.
"""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import median

import msgspec

from bench.load import Case, Ratio

# What the part `units` measures of each operation, and the operations: `bench.simulate` looks for them.
PROCESSOR, DATABASE, BYTES = "processor time of one", "in the database, for one", "bytes on disk for one"
PLACED, ALONE, PAID = "order placed", "order placed, one client", "order placed and paid"
LOOKED = "product looked at"
FLUSH = "a commit to the disk"
MEASURING = "whoever measures"


class Share(msgspec.Struct, frozen=True):
    """A ratio to something that was measured in the same rounds: the median of them, and between which it lay."""

    of: str
    median: float
    lowest: float
    highest: float


class Figure(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one thing was measured at. The aim is that of the first ratio or, if there is none, of the value; `at` is
    where on the axis of its curve it belongs.
    """

    part: str
    group: str
    name: str
    value: float
    unit: str
    shares: tuple[Share, ...] = ()
    at_least: float | None = None
    at_most: float | None = None
    at: float | None = None
    sql: int | None = None

    @property
    def judged(self) -> float:
        """What the aim is about."""
        return self.shares[0].median if self.shares else self.value

    @property
    def is_reached(self) -> bool | None:
        """None where nothing was aimed at."""
        if self.at_least is not None:
            return self.judged >= self.at_least
        return None if self.at_most is None else self.judged <= self.at_most


def note(
    group: str,
    name: str,
    value: float,
    unit: str,
    ratios: Sequence[Ratio] = (),
    *,
    at_least: float | None = None,
    at_most: float | None = None,
    at: float | None = None,
    sql: int | None = None,
) -> None:
    """Keep a figure. The aim is that of the first ratio, if it has one."""
    path = os.environ.get("BENCH_RESULTS")
    if not path:
        return
    if ratios:
        at_least, at_most = ratios[0].at_least, ratios[0].at_most
    shares = tuple(Share(each.of, each.median, each.lowest, each.highest) for each in ratios)
    part = os.environ["BENCH_PART"]
    figure = Figure(part, group, name, value, unit, shares, at_least, at_most, at, sql)
    with Path(path).open("ab") as file:
        file.write(msgspec.json.encode(figure) + b"\n")


def note_rates(group: str, cases: Iterable[Case], at: float | None = None) -> None:
    """Keep how many calls of each case were answered in a second."""
    for case in cases:
        note(group, case.name, median(case.rates), "/s", case.ratios, at=at, sql=case.statements)


def read(path: Path) -> list[Figure]:
    """Every figure of a file, in the order in which they were kept."""
    return [msgspec.json.decode(line, type=Figure) for line in path.read_bytes().splitlines()]
