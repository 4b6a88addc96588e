"""Many clients of HTTP in one thread: it shares the machine with the server that it measures, and must cost next to
nothing.
"""

import gc
import re
import selectors
import socket
import time
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from contextlib import ExitStack
from itertools import cycle
from urllib.parse import urlsplit

from bench.load import Driver, Run

# Sends one request after another, and is told the body of each answer.
Talk = Generator[bytes, bytes, None]

_CHUNK = 65_536
_ANSWER_SECONDS = 30
_LENGTH = re.compile(rb"\r\ncontent-length: (\d+)", re.IGNORECASE)


class _Client:
    """One connection that is kept open, and what is said over it."""

    __slots__ = ("answer", "began", "served", "socket", "talk")

    def __init__(self, connection: socket.socket) -> None:
        connection.settimeout(_ANSWER_SECONDS)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket = connection
        self.answer = b""
        self.served = 0

    def start(self, talk: Talk, began: float) -> None:
        self.talk, self.began = talk, began
        self.socket.sendall(next(talk))

    def hear(self) -> bool:
        """Read what has come, and go on; returns whether the talk is over.

        Raises:
            RuntimeError: an answer that is no success. A rate of failures says nothing.
        """
        data = self.socket.recv(_CHUNK)
        if not data:
            raise ConnectionError("The shop has closed a connection.")
        self.answer += data
        head, ends, body = self.answer.partition(b"\r\n\r\n")
        if not ends:
            return False
        length = _LENGTH.search(head)
        if length and len(body) < int(length[1]):
            return False
        if not head.startswith(b"HTTP/1.1 2"):
            raise RuntimeError(f"The shop answered {self.answer[:600]!r}")
        self.answer = b""
        try:
            self.socket.sendall(self.talk.send(body))
        except StopIteration:
            self.served += 1
            return True
        return False


def crowd(url: str, talks: Iterable[Talk], per_second: float | None = None) -> Driver:
    """Talks, each client's next one as soon as its last is over; or so many per second by a fixed schedule, whoever is
    free, and then the time that one had to wait for somebody counts as its own.
    """
    endless = iter(talks)
    address = urlsplit(url)

    def drive(clients: int, seconds: float) -> Run:
        with ExitStack() as stack:
            ears = stack.enter_context(selectors.EpollSelector())
            crowd = []
            for _ in range(clients):
                place = (address.hostname or "", address.port or 80)
                client = _Client(stack.enter_context(socket.create_connection(place, timeout=_ANSWER_SECONDS)))
                ears.register(client.socket, selectors.EVENT_READ, client)
                crowd.append(client)
            gc.disable()
            stack.callback(gc.enable)
            worked, began = time.process_time(), time.monotonic()
            times = _talk(ears, crowd, endless, seconds, 1 / per_second if per_second else 0)
            wall = time.monotonic() - began
            own = (time.process_time() - worked) / wall
        return Run(len(times), len(times) / wall, times, [client.served for client in crowd], own)

    return drive


def _talk(
    ears: selectors.EpollSelector, crowd: list[_Client], talks: Iterator[Talk], seconds: float, every: float
) -> list[float]:
    """How many seconds each talk took."""
    times: list[float] = []
    free = deque(crowd)
    due = now = time.monotonic()
    end = now + seconds
    while now < end or len(free) < len(crowd):
        while free and due <= now < end:
            free.popleft().start(next(talks), due if every else now)
            due += every
        idle = max(due - now, 0) if every and free and now < end else _ANSWER_SECONDS
        heard = ears.select(min(idle, max(end - now, 0)) if len(free) == len(crowd) else idle)
        now = time.monotonic()
        if not heard and len(free) < len(crowd) and idle == _ANSWER_SECONDS:
            raise TimeoutError(f"The shop has not answered for {_ANSWER_SECONDS} s.")
        for key, _ in heard:
            client: _Client = key.data
            if client.hear():
                now = time.monotonic()
                times.append(now - client.began)
                free.append(client)
    return times


def request(url: str, method: str, path: str, token: str, body: bytes = b"", **headers: str) -> bytes:
    """A request as it goes over the line."""
    lines = [
        f"{method} {path} HTTP/1.1",
        f"Host: {urlsplit(url).netloc}",
        f"Authorization: Bearer {token}",
        *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items()),
        *(["Content-Type: application/json", f"Content-Length: {len(body)}"] if body else []),
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def single(requests: Iterable[bytes]) -> Iterator[Talk]:
    """Talks of one request each, again and again."""

    def one(sent: bytes) -> Talk:
        yield sent

    return (one(sent) for sent in cycle(requests))
