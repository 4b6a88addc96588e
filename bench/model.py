"""A shop as stations that orders queue for: web processes, their group commits, PostgreSQL with the rows of hot stock,
the relay and the workers. How long each step takes was measured.

What it leaves out: the network, the cost of ever more connections, vacuum and checkpoints, failures. Measured costs are
of orders in two lines; all of a process's threads share one processor, as Python's do.
"""

import random
from collections import deque
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count

from bench.load import percentile
from bench.queueing import Clock, Gate, Station, Task

# As in apps.common.combining and apps.events.relay.
MOST_TOGETHER = 64
RELAYED_TOGETHER = 100
# How long the relay rests when there was nothing to relay.
REST = 0.05
# How much times of service vary: a gamma distribution whose deviation is half of its mean.
_SHAPE = 4

Step = Generator[float | Station | Gate, None, None]


@dataclass(frozen=True)
class Costs:
    """Seconds of a processor for one order, by what it does, and the time that a commit takes to reach the disk.

    Placing costs web process and database something for each batch, however many orders it is of (`_batch`), and
    something for each order; `place_others` is what Redis and whoever measures take, where they share the machine.
    """

    place_web: float
    place_web_batch: float
    place_database: float
    place_database_batch: float
    place_others: float
    pay_web: float
    pay_database: float
    relay: float
    worker: float
    worker_database: float
    flush: float


@dataclass(frozen=True)
class Setup:
    """What runs. With `shared` cores all processes have the same ones, otherwise web, database and workers their own.

    `hot` is the part of all orders that want the one hot product, whose stock is in so many `buckets`.
    """

    web_processes: int = 2
    threads: int = 16
    web_cores: int = 2
    database_cores: int = 2
    relays: int = 1
    workers: int = 2
    worker_cores: int = 2
    shared: bool = False
    pays: bool = True
    hot: float = 0
    buckets: int = 1


@dataclass(frozen=True)
class Outcome:
    """What came of it: orders a second, how long placing took, how long deducting after that, and how busy each was."""

    rate: float
    p50: float
    p99: float
    settled_p99: float
    busy: dict[str, float]

    @property
    def bottleneck(self) -> str:
        return max(self.busy, key=lambda name: self.busy[name])


class Model:
    """One shop. Orders come from clients who order again and again, or at a rate, whatever becomes of them."""

    def __init__(self, costs: Costs, setup: Setup, seed: int = 1) -> None:
        self.clock = Clock()
        self._costs, self._setup = costs, setup
        self._random = random.Random(seed)
        self._web_cores = Station(self.clock, setup.web_cores)
        self._database = self._web_cores if setup.shared else Station(self.clock, setup.database_cores)
        self._worker_cores = self._web_cores if setup.shared else Station(self.clock, setup.worker_cores)
        self._rows = [Station(self.clock, 1) for _ in range(setup.buckets)]
        self._workers = Station(self.clock, setup.workers)
        self._relay = Station(self.clock, setup.relays)
        self._processes = [_Web(self, setup.threads) for _ in range(setup.web_processes)]
        self._outbox: deque[float] = deque()
        self._turns = count()
        self.placed: list[tuple[float, float]] = []
        self.settled: list[float] = []

    def drive(self, *, clients: int = 0, rate: float = 0, seconds: float = 10) -> Outcome:
        """Let so many clients order, or so many orders come in a second; the first fifth of the time does not count."""
        for _ in range(clients):
            self.clock.start(self._client())
        if rate:
            self.clock.start(self._arrivals(rate))
        for _ in range(self._setup.relays if self._setup.pays else 0):
            self.clock.start(self._relaying())
        self.clock.run(seconds)
        from_then = seconds / 5
        times = [took for at, took in self.placed if at >= from_then] or [0.0]
        settled = self.settled[len(self.settled) // 5 :] or [0.0]
        return Outcome(
            len(times) / (seconds - from_then),
            percentile(times, 50),
            percentile(times, 99),
            percentile(settled, 99),
            self._busy(),
        )

    def take(self, mean: float) -> float:
        """About as long."""
        return self._random.gammavariate(_SHAPE, mean / _SHAPE) if mean else 0

    def reserve(self, gil: Station, orders: int) -> Step:
        """The stock of a batch: its rows stay locked through the commit."""
        hot = sum(self._random.random() < self._setup.hot for _ in range(orders))
        rows = self._locked(hot)
        # In one order everywhere, against deadlocks.
        for row in rows:
            yield self._rows[row]
        yield from self._statement(orders)
        for row in rows:
            self._rows[row].leave()
        yield from self.burst(gil, self._costs.place_web_batch / 2)

    def insert(self, gil: Station, orders: int) -> Step:
        """The orders of a batch, with their lines and events."""
        yield from self._statement(orders)
        yield from self.burst(gil, self._costs.place_web_batch / 2)

    def _locked(self, hot: int) -> Sequence[int]:
        """Those buckets of the hot product that a batch takes from: it fills one, as far as that goes."""
        return [self._random.randrange(len(self._rows))] if hot else []

    def _statement(self, orders: int) -> Step:
        costs = self._costs
        yield from self._use(self._database, (costs.place_database_batch + orders * costs.place_database) / 2)
        yield costs.flush

    def _use(self, station: Station, mean: float) -> Step:
        yield station
        yield self.take(mean)
        station.leave()

    def burst(self, gil: Station, mean: float) -> Step:
        """Python at work in one of the web processes."""
        yield gil
        yield from self._use(self._web_cores, mean)
        gil.leave()

    def _client(self) -> Task:
        while True:
            yield from self._order()

    def _arrivals(self, rate: float) -> Task:
        while True:
            yield self._random.expovariate(rate)
            self.clock.start(self._order())

    def _order(self) -> Step:
        began = self.clock.now
        web = self._processes[next(self._turns) % len(self._processes)]
        if self._setup.shared:
            yield from self._use(self._web_cores, self._costs.place_others)
        yield from web.place(self._costs)
        self.placed.append((self.clock.now, self.clock.now - began))
        if not self._setup.pays:
            return
        yield from web.pay(self._costs, self._database)
        self._outbox.append(self.clock.now)

    def _relaying(self) -> Task:
        while True:
            batch = [self._outbox.popleft() for _ in range(min(RELAYED_TOGETHER, len(self._outbox)))]
            if not batch:
                yield REST
                continue
            yield self._relay
            yield from self._use(self._worker_cores, len(batch) * self._costs.relay)
            yield self._costs.flush
            self._relay.leave()
            self.clock.start(self._settle(batch))

    def _settle(self, batch: Sequence[float]) -> Task:
        yield self._workers
        yield from self._use(self._worker_cores, len(batch) * self._costs.worker)
        yield from self._use(self._database, len(batch) * self._costs.worker_database)
        yield self._costs.flush
        self._workers.leave()
        self.settled += [self.clock.now - paid_at for paid_at in batch]

    def _busy(self) -> dict[str, float]:
        if self._setup.shared:
            found = {"all cores": self._web_cores.utilisation()}
        else:
            found = {
                "web cores": self._web_cores.utilisation(),
                "database cores": self._database.utilisation(),
                "worker cores": self._worker_cores.utilisation(),
            }
        found["web processes"] = max(web.gil.utilisation() for web in self._processes)
        if self._setup.hot:
            found["hot row"] = max(row.utilisation() for row in self._rows)
        if self._setup.pays:
            found |= {"relay": self._relay.utilisation(), "workers": self._workers.utilisation()}
        return found


class _Web:
    """A web process: its threads, the one of them that Python lets run, and its lines for group commits."""

    def __init__(self, model: Model, threads: int) -> None:
        self._model = model
        self.gil = Station(model.clock, 1)
        self._threads = Station(model.clock, threads)
        self._reserving = _Line(model.clock, partial(model.reserve, self.gil))
        self._inserting = _Line(model.clock, partial(model.insert, self.gil))

    def place(self, costs: Costs) -> Step:
        yield self._threads
        yield from self._model.burst(self.gil, costs.place_web / 2)
        yield from self._reserving.ask()
        yield from self._inserting.ask()
        yield from self._model.burst(self.gil, costs.place_web / 2)
        self._threads.leave()

    def pay(self, costs: Costs, database: Station) -> Step:
        """Several short transactions: the database's work, and two commits that are waited for."""
        yield self._threads
        for _ in range(2):
            yield from self._model.burst(self.gil, costs.pay_web / 2)
            yield database
            yield self._model.take(costs.pay_database / 2)
            database.leave()
            yield costs.flush
        self._threads.leave()


class _Ticket(Gate):
    """A place in the line; it opens when the work is done, or when it is one's turn to do it."""

    is_answered = False


class _Line:
    """As apps.common.combining: who comes first does it for all that have come by then."""

    def __init__(self, clock: Clock, work: Callable[[int], Step]) -> None:
        self._clock, self._work = clock, work
        self._line: deque[_Ticket] = deque()
        self._is_led = False

    def ask(self) -> Step:
        ticket = _Ticket(self._clock)
        self._line.append(ticket)
        if self._is_led:
            yield ticket
        if ticket.is_answered:
            return
        self._is_led = True
        batch = [self._line.popleft() for _ in range(min(MOST_TOGETHER, len(self._line)))]
        yield from self._work(len(batch))
        for each in batch:
            each.is_answered = True
            each.open()
        if self._line:
            self._line[0].open()
        else:
            self._is_led = False
