"""The report of a run: tables and plots in docs/benchmarks.md, from what the parts have kept.

`python -m bench.report` makes it again from docs/benchmarks/, without measuring.
"""

import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import msgspec
from cycler import cycler

mpl.use("svg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from bench.machine import Machine
from bench.results import Figure, read

DOCS = Path(__file__).resolve().parents[1] / "docs"
FIGURES, MACHINE = "figures.jsonl", "machine.json"
_BEGIN, _END = "<!-- report: made by `make bench` -->", "<!-- end of the report -->"
# Grey is read on white as on black.
_GREY = "#7d8590"
_COLOURS = ("#3b82f6", "#e8710a", "#1a9850", "#c2408f", "#8a6bd1", "#a08020", "#0e9aa7", "#b04a3a")
_STYLE: Any = {
    "axes.edgecolor": _GREY,
    "axes.labelcolor": _GREY,
    "axes.prop_cycle": cycler(color=_COLOURS),
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": _GREY,
    "axes.titlesize": "medium",
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "font.size": 9,
    "grid.color": _GREY,
    "grid.alpha": 0.25,
    "legend.frameon": False,
    "legend.labelcolor": _GREY,
    "savefig.facecolor": "none",
    # Text as text, and names that follow from what is drawn: the same figures make the same file.
    "svg.fonttype": "none",
    "svg.hashsalt": "bench",
    "text.color": _GREY,
    "xtick.color": _GREY,
    "ytick.color": _GREY,
}
_BAR_HEIGHT = 0.3
# More than so many lines of a table need no plot to be seen as a curve.
_FEWEST_POINTS = 2


def main() -> int:
    write(DOCS)
    return 0


def keep(docs: Path, machine: Machine, figures: Path) -> None:
    """Put a run's results beside the report, and write it."""
    folder = docs / "benchmarks"
    folder.mkdir(exist_ok=True)
    (folder / MACHINE).write_bytes(msgspec.json.format(msgspec.json.encode(machine)) + b"\n")
    (folder / FIGURES).write_bytes(figures.read_bytes())
    write(docs)


def write(docs: Path) -> None:
    """Write the plots, and the report between its marks in `benchmarks.md`.

    Raises:
        SystemExit: there is no run to tell of, or the page has lost its marks.
    """
    folder = docs / "benchmarks"
    try:
        machine = msgspec.json.decode((folder / MACHINE).read_bytes(), type=Machine)
        figures = read(folder / FIGURES)
    except FileNotFoundError as error:
        sys.exit(f"There is no {error.filename}: `make bench` measures first.")
    for old in folder.glob("*.svg"):
        old.unlink()
    insert(docs / "benchmarks.md", _BEGIN, _END, "\n".join(_report(machine, figures, folder)))


def insert(page: Path, begin: str, end: str, text: str) -> None:
    """Put a text between two marks of a page, in place of what was there.

    Raises:
        SystemExit: the page has lost its marks.
    """
    before, mark, rest = page.read_text().partition(begin)
    _, other, after = rest.partition(end)
    if not (mark and other):
        sys.exit(f"{page.name} must have a line {begin} and a line {end}.")
    page.write_text(f"{before}{begin}\n\n{text.strip()}\n\n{end}{after}")


def _report(machine: Machine, figures: Sequence[Figure], folder: Path) -> Iterable[str]:
    yield from _surroundings(machine)
    yield from _aims([figure for figure in figures if figure.is_reached is not None], folder)
    for part, of_part in _sorted(figures, lambda figure: figure.part).items():
        yield f"### {part}\n"
        for group, found in _sorted(of_part, lambda figure: figure.group).items():
            yield f"**{group}**\n"
            yield table(found)
            if plot := _plot(found):
                name = f"{_slug(f'{part} {group}')}.svg"
                draw(folder / name, *plot)
                yield f"![{group}](benchmarks/{name})\n"


def _sorted(figures: Iterable[Figure], key: Callable[[Figure], str]) -> Mapping[str, Sequence[Figure]]:
    """By part or group, in the order in which each was first heard of: a curve's points come one by one."""
    found: dict[str, list[Figure]] = {}
    for figure in figures:
        found.setdefault(key(figure), []).append(figure)
    return found


def _surroundings(machine: Machine) -> Iterable[str]:
    yield (
        f"Measured on {machine.date} at commit `{machine.commit}`; it took {machine.seconds / 60:.1f} minutes. "
        f"The machine's load before it began was {machine.load}.\n"
    )
    yield "| | |\n| --- | --- |"
    yield f"| processor | {machine.processor}, {machine.cores} cores for us |"
    yield f"| memory | {machine.memory} |"
    yield f"| system | {machine.kernel} |"
    yield f"| Python | {machine.python} |"
    yield f"| PostgreSQL | {machine.postgresql} |"
    yield f"| Redis | {machine.redis} |\n"


# --- Tables --------------------------------------------------------------------------------------


def _aims(figures: Sequence[Figure], folder: Path) -> Iterable[str]:
    if not figures:
        return
    reached = sum(bool(figure.is_reached) for figure in figures)
    yield "### Aims\n"
    yield f"{reached} of {len(figures)} are reached.\n"
    yield "| part | what | aim | found | |\n| --- | --- | --- | ---: | --- |"
    for figure in figures:
        of = f" of {figure.shares[0].of}" if figure.shares else ""
        found = _share(figure) if figure.shares else _value(figure)
        yield f"| {figure.part} | {figure.name} | {_aim(figure)}{of} | {found} | {_verdict(figure)} |"
    draw(folder / "aims.svg", *_goals(figures))
    yield "\n![How near each aim is](benchmarks/aims.svg)\n"


def table(figures: Sequence[Figure]) -> str:
    """A line for each figure, with the columns that any of them has."""
    columns: dict[str, tuple[str, Callable[[Figure], str]]] = {"": ("---", lambda figure: figure.name)}
    if any(figure.at is not None for figure in figures):
        columns["at"] = "---:", lambda figure: "" if figure.at is None else _number(figure.at)
    columns["figure"] = "---:", _value
    if any(figure.sql for figure in figures):
        columns["SQL"] = "---:", lambda figure: "" if figure.sql is None else str(figure.sql)
    if any(figure.shares for figure in figures):
        columns["ratio (lowest to highest round)"] = "---", _shares
    if any(figure.is_reached is not None for figure in figures):
        columns["aim"] = "---", lambda figure: f"{_aim(figure)}: {_verdict(figure)}" if _verdict(figure) else ""
    rows = [[cell(figure) for _, cell in columns.values()] for figure in figures]
    lines = [list(columns), [line for line, _ in columns.values()], *rows]
    return "".join(f"|{'|'.join(f' {cell} ' if cell else ' ' for cell in line)}|\n" for line in lines)


def _shares(figure: Figure) -> str:
    return "; ".join(
        f"**{each.median:.2f}** of {each.of} ({each.lowest:.2f} to {each.highest:.2f})" for each in figure.shares
    )


def _share(figure: Figure) -> str:
    return f"{figure.shares[0].median:.2f}"


def _aim(figure: Figure) -> str:
    if figure.at_least is not None:
        return f"at least {figure.at_least:g}"
    return f"at most {figure.at_most:g}"


def _verdict(figure: Figure) -> str:
    return {True: "reached", False: "**MISSED**", None: ""}[figure.is_reached]


def _value(figure: Figure) -> str:
    return f"{_number(figure.value)}{'' if figure.unit.startswith('/') else ' '}{figure.unit}"


def _number(value: float) -> str:
    """Three figures that count, and no more."""
    if abs(value) >= 100 or value == int(value):  # noqa: PLR2004 - three figures
        return f"{value:,.0f}"
    return f"{value:.3g}"


# --- Plots ---------------------------------------------------------------------------------------

# What is drawn on each pair of axes, and how wide and high each is.
Plot = tuple[Sequence[Callable[[Axes], None]], tuple[float, float]]


def _plot(figures: Sequence[Figure]) -> Plot | None:
    """Curves where figures lie on an axis, bars of memory, nothing otherwise."""
    placed = [figure for figure in figures if figure.at is not None]
    if len({figure.at for figure in placed}) >= _FEWEST_POINTS:
        units = dict.fromkeys(figure.unit for figure in placed)
        return [_curves([figure for figure in placed if figure.unit == unit]) for unit in units], (4.6, 3.2)
    if all(figure.unit == "MB" for figure in figures) and len(figures) >= _FEWEST_POINTS:
        return [_bars(figures)], (7, 0.6 + _BAR_HEIGHT * len(figures))
    return None


def _curves(figures: Sequence[Figure]) -> Callable[[Axes], None]:
    def on(axes: Axes) -> None:
        for name in dict.fromkeys(figure.name for figure in figures):
            points = sorted((figure.at or 0, figure.value) for figure in figures if figure.name == name)
            axes.plot([at for at, _ in points], [value for _, value in points], marker="o", markersize=3, label=name)
        places = sorted({figure.at or 0 for figure in figures})
        axes.set_xscale("symlog" if places[0] == 0 else "log")
        axes.set_xticks(places, [_number(place) for place in places], minor=False)
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_ylim(bottom=0)
        axes.set_ylabel(figures[0].unit)
        axes.grid(visible=True)
        for aim in {figure.at_most or figure.at_least for figure in figures if not figure.shares} - {None}:
            axes.axhline(aim or 0, color="#d1242f", linestyle="--", linewidth=1)
        axes.legend(fontsize="x-small")

    return on


def _bars(figures: Sequence[Figure]) -> Callable[[Axes], None]:
    def on(axes: Axes) -> None:
        axes.barh([figure.name for figure in figures], [figure.value for figure in figures], color=_COLOURS[0])
        axes.invert_yaxis()
        axes.set_xlabel(figures[0].unit)

    return on


def _goals(figures: Sequence[Figure]) -> Plot:
    """How far each is past its aim: right of the line is reached."""
    past = [_past(figure) for figure in figures]
    names = [f"{figure.part}: {figure.name}" for figure in figures]

    def on(axes: Axes) -> None:
        places = range(len(past))
        axes.barh(places, [each - 1 for each in past], left=1, color=[_COLOURS[2 if each >= 1 else 1] for each in past])
        axes.set_yticks(places, names, fontsize="x-small")
        axes.axvline(1, color="#d1242f", linestyle="--", linewidth=1)
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.invert_yaxis()
        axes.set_xlabel("times as good as the aim")

    return [on], (7, 0.8 + _BAR_HEIGHT * 0.8 * len(figures))


def _past(figure: Figure) -> float:
    """Above 1 is better than the aim."""
    least = 1e-3
    if figure.at_least is not None:
        return max(figure.judged / figure.at_least, least)
    return (figure.at_most or 0) / max(figure.judged, least)


def draw(file: Path, panels: Sequence[Callable[[Axes], None]], size: tuple[float, float]) -> None:
    """Write an SVG with the panels side by side; the same figures make the same bytes."""
    with mpl.rc_context(_STYLE):
        figure, row = plt.subplots(
            1, len(panels), figsize=(size[0] * len(panels), size[1]), squeeze=False, layout="constrained"
        )
        for panel, axes in zip(panels, row[0], strict=True):
            panel(axes)
        figure.savefig(file, format="svg", metadata={"Date": None})
        plt.close(figure)


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


if __name__ == "__main__":
    sys.exit(main())
