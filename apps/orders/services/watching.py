"""Watching orders: one thread for each process asks the database for all of them at once, and wakes those who wait.

Orders also move in other processes (the relay, beat, other web workers), so the database is asked, and not this
process.
"""

import logging
import os
import threading
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from operator import or_
from queue import Empty, SimpleQueue
from time import monotonic
from uuid import UUID

from django.conf import settings
from django.db import Error as DatabaseTrouble
from django.db import connections
from django.db.models import Q

from apps.common import stopping
from apps.common.databases import let_go
from apps.common.outages import Outage
from apps.orders.interface import Actor, OrderWatch, TimelineEntry, TooManyWatchers
from apps.orders.models import Order as OrderRow
from apps.orders.models import OrderTransition
from apps.orders.services.rows import PLACED, find, placing_of, to_entry
from apps.orders.states import ENDED

logger = logging.getLogger(__name__)

LOOK_SECONDS = 0.5
TROUBLE_SECONDS = 2.0
TICK_SECONDS = 1.0
LONGEST_SECONDS = 300.0
# A client with more to catch up with comes again: none that reads nothing can make this process write for ever.
MOST_ENTRIES = 500
_BATCH = 1000


class Watching:
    """The part of the orders service that follows orders."""

    _hub: "Hub"

    def watch_order(self, *, order_id: UUID, actor: Actor, after: int | None = None) -> OrderWatch | None:
        row = find(order_id, actor)
        seen = row.sequence - 1 if after is None else min(after, row.sequence)
        if row.status in ENDED and seen == row.sequence:
            return None
        watch = Watch(self._hub, order_id, max(seen, PLACED))
        if seen < PLACED:
            watch.tell([placing_of(row)])
        self._hub.add(watch)
        return watch


class Watch(OrderWatch):
    """One who watches an order. `sequence` is the last change that the hub has told them of."""

    def __init__(self, hub: "Hub", order_id: UUID, sequence: int) -> None:
        self.order_id = order_id
        self.sequence = sequence
        self.ends_at = monotonic() + LONGEST_SECONDS
        self._hub = hub
        self._told = 0
        self._news: SimpleQueue[TimelineEntry | None] = SimpleQueue()
        self._is_over = False

    @property
    def wants_more(self) -> bool:
        return self._told < MOST_ENTRIES

    def tell(self, entries: Iterable[TimelineEntry]) -> None:
        for entry in entries:
            self._news.put(entry)
            self.sequence = entry.sequence
            self._told += 1
            if not self.wants_more:
                self.end()
                break

    def end(self) -> None:
        """Nothing more will be told."""
        self._news.put(None)

    def __next__(self) -> TimelineEntry | None:
        let_go()
        if self._is_over or monotonic() > self.ends_at:
            raise StopIteration
        try:
            entry = self._news.get(timeout=TICK_SECONDS)
        except Empty:
            return None
        self._is_over = entry is None or entry.status in ENDED
        if entry is None:
            raise StopIteration
        return entry

    def close(self) -> None:
        self._hub.remove(self)


class Hub:
    """Asks for what is watched. Its thread runs only while somebody watches, on a connection of its own."""

    def __init__(self) -> None:
        self._outage = Outage("The database of the orders that are watched")
        self._thread: threading.Thread | None = None
        self._forget()
        os.register_at_fork(after_in_child=self._forget)

    def add(self, watch: Watch) -> None:
        """
        Raises:
            TooManyWatchers: there is no room for another.
        """
        with self._lock:
            if len(self._watches) >= settings.EVENT_STREAMS:
                raise TooManyWatchers("Too many orders are being watched. Try again soon, or ask for the status.")
            self._watches.add(watch)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="watched-orders", daemon=True)
                self._thread.start()
        self._wake.set()

    def remove(self, watch: Watch) -> None:
        with self._lock:
            self._watches.discard(watch)
        self._wake.set()

    def look(self) -> None:
        """Tell everybody what has happened since they were told last: one statement, and another if anything has."""
        with self._lock:
            watches = [watch for watch in self._watches if watch.wants_more]
        rows = OrderRow.objects.filter(pk__in={watch.order_id for watch in watches})
        sequences = dict(rows.values_list("id", "sequence"))
        behind = [watch for watch in watches if sequences.get(watch.order_id, 0) > watch.sequence]
        news = _read_news(behind)
        for watch in behind:
            watch.tell([entry for entry in news[watch.order_id] if entry.sequence > watch.sequence])

    def _forget(self) -> None:
        """Nobody watches: neither in the beginning, nor in a process that has just been forked off."""
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._watches: set[Watch] = set()
        self._thread = None

    def _run(self) -> None:
        try:
            while self._goes_on():
                self._wake.clear()
                self._wake.wait(self._look_and_rest())
        except Exception:
            logger.exception("Watching orders failed")
        finally:
            connections.close_all()
            self._end_all()

    def _goes_on(self) -> bool:
        with self._lock:
            # A watch that was never closed gives its place back all the same.
            late = monotonic() - 2 * TICK_SECONDS
            self._watches = {watch for watch in self._watches if watch.ends_at > late}
            if not self._watches:
                self._thread = None
        return self._is_ours() and not stopping.is_on()

    def _is_ours(self) -> bool:
        """Whether the thread that asks is the one that looks."""
        return self._thread is threading.current_thread()

    def _look_and_rest(self) -> float:
        """Look once; returns how many seconds to rest. While the database is away, everybody waits for it."""
        try:
            self.look()
        except DatabaseTrouble as error:
            self._outage.began(error)
            connections.close_all()
            return TROUBLE_SECONDS
        self._outage.ended()
        return LOOK_SECONDS

    def _end_all(self) -> None:
        """Send everybody away, unless there was nobody left: the next to come has a thread of its own by now."""
        with self._lock:
            if self._is_ours():
                self._thread = None
                for watch in self._watches:
                    watch.end()


def _read_news(behind: Sequence[Watch]) -> Mapping[UUID, Sequence[TimelineEntry]]:
    """The changes of these orders that somebody has not been told of, oldest first; of many the first only."""
    news: dict[UUID, list[TimelineEntry]] = defaultdict(list)
    seen: dict[UUID, int] = {}
    for watch in behind:
        seen[watch.order_id] = min(watch.sequence, seen.get(watch.order_id, watch.sequence))
    if seen:
        unseen = reduce(or_, (Q(order=order_id, sequence__gt=sequence) for order_id, sequence in seen.items()))
        for row in OrderTransition.objects.filter(unseen).order_by("order", "sequence")[:_BATCH]:
            news[row.order_id].append(to_entry(row))
    return news
