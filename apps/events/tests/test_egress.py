"""Posting to strangers: where it may go, and how it ends."""

import datetime as dt
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from pytest_django.fixtures import Settings

from apps.events.tests.receiver import Receiver, receiver
from apps.events.webhooks import egress
from apps.events.webhooks.egress import Answer, RefusedAddress, check_url

pytestmark = pytest.mark.once


def post(url: str) -> Answer:
    return egress.post(url, headers={"X-One": "1"}, body=b'{"a": 1}')


@pytest.fixture
def inside(settings: Settings) -> None:
    settings.WEBHOOK_ALLOW_HTTP = True
    settings.WEBHOOK_ALLOWED_NETWORKS = [ip_network("127.0.0.0/8")]


@pytest.fixture
def server(inside: None) -> Iterator[Receiver]:
    with receiver() as opened:
        yield opened


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/",
        "ftp://example.com/",
        "//example.com/",
        "https://",
        "https:///hooks",
        "https://user@example.com/",
        "https://user:secret@example.com/",
        "https://:@example.com/",
        "https://example.com\\@127.0.0.1/",
        "https://example.com/#top",
        "https://example.com:0/",
        "https://example.com:25/",
        "https://example.com:65536/",
        "https://example.com:port/",
        "https://[::1/",
        "https://exam ple.com/",
        "https://example.com/\r\nX-Evil: 1",
        "https://m\u00fcnchen.example/",
        "https://127.0.0.1/",
        "https://10.0.0.1/",
        "https://169.254.169.254/latest/meta-data",
        "https://[::1]/",
        "https://[::ffff:127.0.0.1]/",
    ],
)
def test_what_is_no_address_for_a_webhook(url: str) -> None:
    with pytest.raises(RefusedAddress):
        check_url(url)


@pytest.mark.parametrize(
    "url", ["https://example.com", "https://example.com:8443/a?b=c", "https://1.1.1.1/", "https://[2606:4700::1111]/"]
)
def test_what_is_one(url: str) -> None:
    assert check_url(url).scheme == "https"


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0"),  # noqa: S104 - to be refused
        *("224.0.0.1", "239.1.1.1", "255.255.255.255", "240.0.0.1", "198.18.0.1", "192.0.2.1"),
        *("::", "::1", "::7f00:1", "::ffff:127.0.0.1", "::ffff:8.8.8.8", "fe80::1", "fc00::1", "fec0::1", "ff02::1"),
        *("64:ff9b::7f00:1", "64:ff9b:1::1", "2002:7f00:1::", "2002:808:808::1", "2001::1", "2001:db8::1", "100::1"),
    ],
)
def test_a_name_that_leads_inside_is_refused(address: str) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    public = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("93.184.215.14", 443))
    inside = (family, socket.SOCK_STREAM, 6, "", (address, 443))
    with (
        patch("socket.getaddrinfo", return_value=[public, inside]),
        patch("socket.create_connection") as connect,
    ):
        answer = post("https://hooks.example.com/")
    assert (answer.status, answer.error) == (None, f"{ip_address(address)} is not a public address.")
    connect.assert_not_called()


@pytest.mark.parametrize("host", ["localhost", "127.1", "0x7f000001", "2130706433", "0177.0.0.1"])
def test_other_spellings_of_this_machine_are_refused(settings: Settings, host: str) -> None:
    with patch("socket.create_connection") as connect:
        answer = post(f"https://{host}/")
    assert answer.error.endswith("is not a public address.")
    connect.assert_not_called()


def test_the_connection_goes_to_the_address_that_was_checked(server: Receiver) -> None:
    port = int(server.url.rpartition(":")[2].partition("/")[0])
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]
    # A second look-up would get the address of somebody else.
    other = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.2", 9))]
    resolve = socket.getaddrinfo
    answers = iter([found, other])

    def look_up(host: str, *rest: Any, **named: Any) -> Any:  # noqa: ANN401 - the socket module's own
        return next(answers) if host == "hooks.example.com" else resolve(host, *rest, **named)

    with patch("socket.getaddrinfo", look_up):
        answer = post(f"http://hooks.example.com:{port}/in?x=1")
    assert answer.status == 204
    (message,) = server.messages
    assert message.headers["host"] == f"hooks.example.com:{port}"
    assert (message.path, message.headers["x-one"], message.body) == ("/in?x=1", "1", b'{"a": 1}')


def test_tls_is_verified_by_name_though_the_address_is_pinned(
    inside: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = _certificate(tmp_path, "hooks.example.com")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(authority)
    names: list[str | None] = []
    tls.sni_callback = lambda _, name, __: names.append(name)
    monkeypatch.setattr(egress, "_tls", lambda: ssl.create_default_context(cafile=str(authority)))
    with receiver(tls) as server:
        port = int(server.url.rpartition(":")[2].partition("/")[0])
        found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]
        with patch("socket.getaddrinfo", return_value=found):
            good, other = (post(f"https://{name}.example.com:{port}/") for name in ("hooks", "other"))
        monkeypatch.undo()
    assert (good.status, other.status) == (204, None)
    assert names == ["hooks.example.com", "other.example.com"]
    assert "Hostname mismatch" in other.error
    assert len(server.messages) == 1


@pytest.mark.parametrize("status", [200, 201, 204, 299])
def test_any_2xx_is_success(server: Receiver, status: int) -> None:
    server.answer = lambda _: (status, "")
    assert post(server.url).is_success


def test_a_redirect_is_not_followed(server: Receiver) -> None:
    server.headers["Location"] = server.url
    server.answer = lambda _: (307, "")
    answer = post(server.url)
    assert (answer.status, answer.is_success, len(server.messages)) == (307, False, 1)


def test_of_a_long_answer_the_beginning_is_kept(server: Receiver) -> None:
    server.answer = lambda _: (500, "a\0\u00e9" * 1_000_000)
    answer = post(server.url)
    assert answer.status == 500
    assert answer.text == "a\u00e9" * 500


def test_proxies_of_the_environment_are_not_used(server: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert post(server.url).status == 204


def test_nobody_there_is_an_answer_too(inside: None) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        answer = post(f"http://127.0.0.1:{probe.getsockname()[1]}/")
    assert (answer.status, answer.is_success) == (None, False)
    assert answer.error.startswith("ConnectionRefusedError")


def test_what_is_no_answer_is_told_without_nul(inside: None) -> None:
    def mumble(listener: socket.socket) -> None:
        visitor, _ = listener.accept()
        with visitor:
            visitor.recv(10_000)
            visitor.sendall(b"\0oops\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=mumble, args=(listener,))
        thread.start()
        answer = post(f"http://127.0.0.1:{listener.getsockname()[1]}/")
        thread.join()
    # PostgreSQL would not take it, and the attempt would never be noted.
    assert (answer.status, answer.error.strip()) == (None, "BadStatusLine: oops")


@pytest.mark.parametrize("drips", [b"", b"HTTP/1.1 200 OK\r\nX: "])
def test_however_slowly_it_drips_it_ends_in_time(inside: None, monkeypatch: pytest.MonkeyPatch, drips: bytes) -> None:
    monkeypatch.setattr(egress, "TOTAL_SECONDS", 0.5)
    over = threading.Event()

    def drip(listener: socket.socket) -> None:
        visitor, _ = listener.accept()
        with visitor:
            try:
                visitor.sendall(drips)
                while not over.wait(0.05):
                    visitor.sendall(b"a" if drips else b"")
            except OSError:
                pass

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=drip, args=(listener,))
        thread.start()
        begin = time.monotonic()
        answer = post(f"http://127.0.0.1:{listener.getsockname()[1]}/")
        over.set()
        thread.join()
    assert (answer.status, answer.error) == (None, "No answer in time (0.5 s).")
    assert time.monotonic() - begin < 10


def _certificate(folder: Path, name: str) -> Path:
    """A certificate for the name, signed by itself, and its key in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = folder / "certificate.pem"
    path.write_bytes(
        certificate.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return path
