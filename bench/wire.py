"""A client of HTTP that costs next to nothing: it shares the machine with the server that it measures."""

import re
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from urllib.parse import urlsplit

from bench.load import Call

_CHUNK = 65_536
_HEAD_ENDS = b"\r\n\r\n"
_LENGTH = re.compile(rb"\r\ncontent-length: (\d+)", re.IGNORECASE)


@contextmanager
def requests(
    url: str,
    path: Callable[[], str],
    *,
    method: str = "GET",
    wanted: int = 200,
    headers: Mapping[str, str] | None = None,
    body: Callable[[], str] = str,
) -> Iterator[Call]:
    """Requests over one connection that is kept open; another answer than the wanted one raises."""
    address = urlsplit(url)
    head = "".join(f"{name}: {value}\r\n" for name, value in {"Host": address.netloc, **(headers or {})}.items())
    with socket.create_connection((address.hostname or "", address.port or 80), timeout=30) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        def send() -> None:
            where, content = path(), body()
            length = f"Content-Length: {len(content)}\r\n" if content else ""
            connection.sendall(f"{method} {where} HTTP/1.1\r\n{head}{length}\r\n{content}".encode())
            status, answer = _receive(connection)
            if status != wanted:
                raise RuntimeError(f"{method} {where}: {status} {answer[:300]!r}")

        yield send


def _receive(connection: socket.socket) -> tuple[int, bytes]:
    """The status and the body of an answer."""
    data = _more(connection)
    while _HEAD_ENDS not in data:
        data += _more(connection)
    head, _, body = data.partition(_HEAD_ENDS)
    length = _LENGTH.search(head)
    while length and len(body) < int(length[1]):
        body += _more(connection)
    return int(head.split(maxsplit=2)[1]), body


def _more(connection: socket.socket) -> bytes:
    data = connection.recv(_CHUNK)
    if not data:
        raise ConnectionError("The shop has closed a connection.")
    return data
