"""What every shop is asked to do, and how it is measured: by the same clients, in turn, in one run."""

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from http.client import HTTPConnection
from http.cookies import SimpleCookie
from itertools import count
from random import sample
from statistics import median
from threading import Barrier
from typing import Any
from urllib.parse import urlsplit

from bench.load import Call, Case, Limits, compare, threads

Json = Any
_SECONDS = 60
_LINES = 2
# Each has an account.
MOST_BUYERS = 64


class Session:
    """A connection that is kept open, with its cookies, and headers that every request has."""

    def __init__(self, url: str) -> None:
        place = urlsplit(url)
        self._connection = HTTPConnection(place.hostname or "", place.port or 80, timeout=_SECONDS)
        self.headers: dict[str, str] = {}
        self.cookies: dict[str, str] = {}

    def call(self, method: str, path: str, body: Json = None) -> tuple[int, Json]:
        """The status, and the answer's JSON; None if it is none."""
        headers = {**self.headers, "Accept": "application/json"}
        if self.cookies:
            headers["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        content = None
        if body is not None:
            content = json.dumps(body)
            headers["Content-Type"] = "application/json"
        self._connection.request(method, path, content, headers)
        response = self._connection.getresponse()
        data = response.read()
        for line in response.headers.get_all("Set-Cookie") or ():
            self.cookies |= {name: morsel.value for name, morsel in SimpleCookie(line).items()}
        try:
            return response.status, json.loads(data)
        except ValueError:
            return response.status, None

    def close(self) -> None:
        self._connection.close()


class Peer(ABC):
    """A shop that runs, with products of plenty of stock. Its ids are its own business."""

    name: str
    url: str
    products: Sequence[str]

    @abstractmethod
    def log_in(self, number: int) -> Session:
        """The buyer of that number, logged in; each has an account, and a basket, of their own."""

    @abstractmethod
    def look(self, session: Session, product: str) -> None:
        """Ask for a product, as its page would.

        Raises:
            RuntimeError: it was not told.
        """

    @abstractmethod
    def order(self, session: Session, products: Sequence[str]) -> bool:
        """Order one of each, from nothing to an unpaid order that holds its stock; returns whether it was placed.

        Raises:
            RuntimeError: an answer that is neither an order nor a refusal for want of stock.
        """

    @abstractmethod
    def scarce(self) -> str:
        """A new product of which there is one."""


def measure(peers: Sequence[Peer], limits: Limits) -> dict[str, dict[str, float]]:
    """Let the shops take turns; returns calls a second by shop and by what was done, and prints ratios to the first."""
    rates: dict[str, dict[str, float]] = {peer.name: {} for peer in peers}
    for what in ("look at a product", "place an order of two lines"):
        cases: list[Case] = []
        for peer in peers:
            numbers = count()
            act = partial(_client, peer, what, numbers)
            cases.append(Case(peer.name, threads(act), cases[:1]))
        compare(cases, limits)
        print(f"\n{what}, {limits.clients} at once", *cases, sep="\n", flush=True)
        for case in cases:
            rates[case.name][what] = median(case.rates)
    return rates


def sell_last_units(peer: Peer, buyers: int, times: int) -> list[int]:
    """How often each of several last units was sold to buyers who want it at the same moment: once, if all is well."""
    sessions = [peer.log_in(number) for number in range(buyers)]
    sold = []
    with ThreadPoolExecutor(buyers) as pool:
        for _ in range(times):
            product, line = peer.scarce(), Barrier(buyers)
            orders = [pool.submit(_at_once, peer, session, product, line) for session in sessions]
            sold.append(sum(order.result() for order in orders))
    for session in sessions:
        session.close()
    return sold


def _at_once(peer: Peer, session: Session, product: str, line: Barrier) -> bool:
    line.wait(timeout=_SECONDS)
    return peer.order(session, [product])


@contextmanager
def _client(peer: Peer, what: str, numbers: Iterator[int]) -> Iterator[Call]:
    session = peer.log_in(next(numbers) % MOST_BUYERS)
    try:
        if what.startswith("look"):
            yield lambda: peer.look(session, sample(peer.products, 1)[0])
        else:
            yield lambda: _placed(peer, session)
    finally:
        session.close()


def _placed(peer: Peer, session: Session) -> None:
    if not peer.order(session, sample(peer.products, _LINES)):
        raise RuntimeError(f"{peer.name} refused an order though there is plenty of stock.")


def wanted(answer: tuple[int, Json], *statuses: int) -> Json:
    """The body of an answer with one of these statuses.

    Raises:
        RuntimeError: it has another.
    """
    status, body = answer
    if status not in statuses:
        raise RuntimeError(f"The shop answered {status}: {str(body)[:500]}")
    return body


def table(rates: Mapping[str, Mapping[str, float]], sold: Mapping[str, Sequence[int]]) -> str:
    """The result as a table of Markdown: each shop, and its ratio to the first."""
    first = next(iter(rates))
    whats = list(rates[first])
    lines = [
        f"| shop | {' | '.join(whats)} | last unit sold more than once |",
        f"| --- |{' ---: |' * (len(whats) + 1)}",
    ]
    for name, of_shop in rates.items():
        cells = [f"{of_shop[what]:,.0f}/s ({of_shop[what] / rates[first][what]:.2f})" for what in whats]
        twice = sum(times > 1 for times in sold[name])
        lines.append(f"| {name} | {' | '.join(cells)} | {twice} of {len(sold[name])} |")
    return "\n".join(lines)
