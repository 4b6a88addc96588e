"""The simulation against what is known exactly: formulas of queueing, and its own results of one seed."""

import random
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from bench import simulate
from bench.model import Costs, Model, Setup
from bench.queueing import Clock, Gate, Station, Task, erlang_c, mean_wait
from bench.results import Figure

pytestmark = pytest.mark.once

COSTS = Costs(
    place_web=0.001,
    place_web_batch=0.0004,
    place_database=0.0002,
    place_database_batch=0.0008,
    place_others=0.0001,
    pay_web=0.004,
    pay_database=0.001,
    relay=0.0005,
    worker=0.003,
    worker_database=0.001,
    flush=0.0005,
)


def test_erlangs_formula() -> None:
    # As tables have it.
    assert erlang_c(1, 0.5) == pytest.approx(0.5)
    assert erlang_c(2, 1) == pytest.approx(1 / 3)
    assert erlang_c(5, 4) == pytest.approx(0.5541, abs=1e-4)
    assert mean_wait(1, 0.5, 1) == pytest.approx(1)


@pytest.mark.parametrize(("servers", "arrivals"), [(1, 0.7), (2, 1.5), (8, 6.4)])
def test_a_station_makes_one_wait_as_long_as_the_formula_says(servers: int, arrivals: float) -> None:
    clock, waits = Clock(), list[float]()
    rng = random.Random(7)  # noqa: S311 - arrivals
    station = Station(clock, servers)

    def customer() -> Task:
        came = clock.now
        yield station
        waits.append(clock.now - came)
        yield rng.expovariate(1)
        station.leave()

    def arriving() -> Task:
        while True:
            yield rng.expovariate(arrivals)
            clock.start(customer())

    clock.start(arriving())
    clock.run(60_000 / arrivals)
    assert sum(waits) / len(waits) == pytest.approx(mean_wait(servers, arrivals, 1), rel=0.05)
    assert station.utilisation() == pytest.approx(arrivals / servers, rel=0.02)


def test_whoever_came_first_is_served_first_and_a_gate_lets_all_through() -> None:
    clock, seen = Clock(), list[tuple[str, float]]()
    station, gate = Station(clock, 1), Gate(clock)

    def customer(name: str) -> Task:
        yield station
        seen.append((name, clock.now))
        yield 2.0
        station.leave()
        yield gate
        seen.append((name, clock.now))

    def opening() -> Task:
        yield 10.0
        gate.open()

    for name in ("first", "second"):
        clock.start(customer(name))
    clock.start(opening())
    clock.run(20)
    assert seen == [("first", 0), ("second", 2), ("first", 10), ("second", 10)]
    assert station.utilisation() == pytest.approx(4 / 20)


def test_a_seed_decides_everything() -> None:
    first, again, other = (Model(COSTS, Setup(), seed).drive(rate=50, seconds=5) for seed in (1, 1, 2))
    assert first == again
    assert first != other
    assert round(first.rate, 3) == 40.75
    assert round(first.p50 * 1000, 6) == 3.335993


def test_clients_who_wait_for_each_other_share_transactions() -> None:
    def rate(clients: int) -> float:
        return Model(COSTS, Setup(pays=False)).drive(clients=clients, seconds=5).rate

    # By itself an order takes all of its own costs, and two commits; its processes are idle meanwhile.
    alone = 1 / (0.001 + 0.0004 + 0.0002 + 0.0008 + 2 * 0.0005)
    assert rate(1) == pytest.approx(alone, rel=0.02)
    # Without batches two Pythons would come to 2 / 1.4 ms.
    assert 2 / 0.0014 < rate(64) < 2 / 0.001


def test_orders_of_one_product_wait_for_its_row_and_buckets_help() -> None:
    setup = Setup(web_processes=8, web_cores=8, database_cores=8, pays=False, threads=4, hot=1)
    slow = replace(COSTS, flush=0.005)
    one, four = (Model(slow, replace(setup, buckets=buckets)).drive(clients=32, seconds=5) for buckets in (1, 4))
    assert one.bottleneck == "hot row"
    # Each transaction holds the row for 5 ms of a commit and more, and has at most four orders: those of its threads.
    assert one.rate < 4 / 0.005
    assert four.rate > 2 * one.rate


def test_a_plan_leaves_every_processor_room() -> None:
    plan = simulate.plan(10_000, COSTS)
    assert plan.cells == 8
    # 1,250 orders a second, each 5.4 ms of Python, at 0.6 of a processor.
    assert plan.setup.web_processes == 12
    assert plan.setup.database_cores == 7
    assert plan.connections == 12 * 17 + plan.setup.workers + plan.setup.relays + 1
    assert simulate.plan(1, COSTS).setup == Setup(web_cores=1, database_cores=1, worker_cores=1)


def test_unit_costs_are_told_apart_by_how_many_share_a_batch() -> None:
    units = simulate.Units.of(_figures())
    assert units.costs.place_database == pytest.approx(0.0002)
    assert units.costs.place_database_batch == pytest.approx(0.0008)
    assert units.costs.place_web == pytest.approx(0.001)
    assert units.costs.flush == pytest.approx(0.0005)
    assert units.costs.pay_database == pytest.approx(0.0008)


def test_without_unit_costs_it_says_what_measures_them() -> None:
    with pytest.raises(SystemExit, match="make bench"):
        simulate.Units.of([])


def test_the_page_has_the_plan_and_how_far_to_believe_it(tmp_path: Path) -> None:
    (tmp_path / "benchmarks").mkdir()
    lines = b"".join(msgspec.json.encode(figure) + b"\n" for figure in _figures())
    (tmp_path / "benchmarks" / "figures.jsonl").write_bytes(lines)
    (tmp_path / "scaling.md").write_text(
        "Words.\n<!-- figures: made by `python -m bench.simulate` -->\n<!-- end of the figures -->\n"
    )
    simulate.write(tmp_path)
    page = (tmp_path / "scaling.md").read_text()
    assert page.startswith("Words.\n")
    assert "| orders a second | 1 | 100 | 10,000 |" in page
    assert "| cells | 1 | 1 | 8 |" in page
    assert "| 1 | 290/s | " in page
    assert sorted(file.name for file in (tmp_path / "scaling").iterdir()) == ["hot.svg", "validation.svg"]


def _figures() -> list[Figure]:
    """As the part `units` keeps them: a batch of four shares 0.8 ms of the database and 0.4 ms of Python."""

    def spent(what: str, web: float, database: float, **others: float) -> list[Figure]:
        times = {"web server": web, "PostgreSQL": database, "Redis": 0.05, "whoever measures": 0.05, **others}
        return [Figure("units", f"processor time of one {what}", name, value, "ms") for name, value in times.items()]

    def counted(what: str, name: str, value: float) -> Figure:
        return Figure("units", f"in the database, for one {what}", name, value, "")

    return [
        *spent("order placed, one client", 1.4, 1.0),
        counted("order placed, one client", "commits", 4),
        *spent("order placed", 1.1, 0.4),
        counted("order placed", "commits", 1),
        counted("order placed", "a commit to the disk", 0.5),
        *spent("order placed and paid", 5.0, 2.0, relay=0.5, worker=3.0),
        counted("order placed and paid", "commits", 12),
        counted("order placed and paid", "write-ahead log", 9000),
        Figure("units", "bytes on disk for one order placed and paid", "all tables", 4000, "bytes"),
        Figure("clients", "by clients", "POST /orders", 290, "/s", at=1),
    ]
