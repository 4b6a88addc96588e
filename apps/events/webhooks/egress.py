"""Posting to addresses that others have typed in: never to our own network, and never for long.

The host is looked up at each attempt, and the connection goes to the address that was checked, so that a name that
changes its mind in between leads nowhere. Plain `http.client` follows no redirect, knows no proxy and unpacks nothing.
"""

import socket
import ssl
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from time import monotonic
from urllib.parse import SplitResult, urlsplit

from django.conf import settings

CONNECT_SECONDS = 3
TOTAL_SECONDS = 10
_RESPONSE_BYTES = 4096
_RESPONSE_CHARACTERS = 1000
_LONGEST_REASON = 300
_MOST_ADDRESSES = 3
_DEFAULT_PORTS = {"https": 443, "http": 80}
_LOWEST_FREE_PORT = 1024
_LAST_PORT = 65535
# What IPv6 gives out to the public, and the part of it that leads to an IPv4 address inside (6to4).
_PUBLIC = IPv6Network("2000::/3")
_SIX_TO_FOUR = IPv6Network("2002::/16")


class RefusedAddress(Exception):
    """Nothing is sent there; the sentence says why."""


@dataclass(frozen=True)
class Answer:
    """What became of an attempt: a response, or the reason why there is none."""

    status: int | None
    text: str
    error: str
    duration_ms: int

    @property
    def is_success(self) -> bool:
        return self.status is not None and HTTPStatus.OK <= self.status < HTTPStatus.MULTIPLE_CHOICES

    @property
    def is_gone(self) -> bool:
        return self.status == HTTPStatus.GONE


def check_url(url: str) -> SplitResult:
    """The parts of a URL of the form that we post to.

    Raises:
        RefusedAddress: it is of another form, or names an address that is not public.
    """
    try:
        parts = urlsplit(url)
        port = _port(parts)
    except ValueError as error:
        raise RefusedAddress("This is not a URL.") from error
    if parts.scheme not in _DEFAULT_PORTS or (parts.scheme == "http" and not settings.WEBHOOK_ALLOW_HTTP):
        raise RefusedAddress("The URL must start with https://.")
    if not parts.hostname or not url.isascii() or not url.isprintable() or " " in url:
        raise RefusedAddress("The URL must have a host, and be written in ASCII.")
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise RefusedAddress("The URL must have neither credentials nor a fragment.")
    if port not in _DEFAULT_PORTS.values() and not _LOWEST_FREE_PORT <= port <= _LAST_PORT:
        raise RefusedAddress("The port must be 443, 80 or above 1023.")
    with suppress(ValueError):
        _check(ip_address(parts.hostname))
    return parts


def _port(parts: SplitResult) -> int:
    return _DEFAULT_PORTS.get(parts.scheme, 0) if parts.port is None else parts.port


def post(url: str, *, headers: Mapping[str, str], body: bytes) -> Answer:
    """Post once. Never raises: what goes wrong is the answer."""
    begin = monotonic()
    deadline = begin + TOTAL_SECONDS
    status, text, error = None, "", ""
    try:
        status, text = _exchange(check_url(url), headers, body, deadline)
    except RefusedAddress as reason:
        error = str(reason)
    except (OSError, HTTPException, UnicodeError, ValueError) as reason:
        is_late = monotonic() >= deadline or isinstance(reason, TimeoutError)
        error = f"No answer in time ({TOTAL_SECONDS} s)." if is_late else f"{type(reason).__name__}: {reason}"
    return Answer(
        status,
        _storable(text, _RESPONSE_CHARACTERS),
        _storable(error, _LONGEST_REASON),
        int((monotonic() - begin) * 1000),
    )


def _exchange(parts: SplitResult, headers: Mapping[str, str], body: bytes, deadline: float) -> tuple[int, str]:
    host = parts.hostname or ""
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    with _connected(_addresses(host, _port(parts)), _port(parts), deadline) as raw:
        connection = HTTPConnection(host, _port(parts))
        connection.sock = _tls().wrap_socket(raw, server_hostname=host) if parts.scheme == "https" else raw
        try:
            connection.request("POST", target, body, {"Host": parts.netloc, **headers})
            with connection.getresponse() as response:
                begin = response.read(_RESPONSE_BYTES)
        finally:
            connection.close()
    if monotonic() >= deadline:
        # What was cut off reads like an answer that has ended.
        raise TimeoutError
    return response.status, begin.decode("utf-8", "replace")


def _storable(text: str, longest: int) -> str:
    """The text as it can be kept, whatever the other side has made of it: PostgreSQL takes no NUL."""
    return text.replace("\0", "")[:longest]


@contextmanager
def _connected(addresses: Sequence[str], port: int, deadline: float) -> Iterator[socket.socket]:
    """A connection that ends by itself when the time is over, however slowly its other side drips."""
    raw = _connect(addresses, port)
    raw.settimeout(TOTAL_SECONDS)
    # TLS takes the socket over; its twin can still end what both are.
    leash = raw.dup()
    timer = threading.Timer(deadline - monotonic(), _end, [leash])
    timer.daemon = True
    timer.start()
    try:
        yield raw
    finally:
        timer.cancel()
        timer.join()
        leash.close()
        raw.close()


def _connect(addresses: Sequence[str], port: int) -> socket.socket:
    deadline = monotonic() + CONNECT_SECONDS
    for address in addresses[:-1]:
        with suppress(OSError):
            return socket.create_connection((address, port), timeout=max(0.1, deadline - monotonic()))
    return socket.create_connection((addresses[-1], port), timeout=max(0.1, deadline - monotonic()))


def _end(leash: socket.socket) -> None:
    with suppress(OSError):
        leash.shutdown(socket.SHUT_RDWR)


def _addresses(host: str, port: int) -> Sequence[str]:
    """Where the host is: one address inside is enough to refuse it, since whoever owns the name chose them all."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    for address in addresses:
        _check(ip_address(address))
    return addresses[:_MOST_ADDRESSES]


def _check(address: IPv4Address | IPv6Address) -> None:
    if any(address in network for network in settings.WEBHOOK_ALLOWED_NETWORKS):
        return
    is_public = address.is_global and not address.is_multicast
    if isinstance(address, IPv6Address):
        is_public = is_public and address in _PUBLIC and address not in _SIX_TO_FOUR
    if not is_public:
        raise RefusedAddress(f"{address} is not a public address.")


@cache
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()
