"""Calling a service elsewhere: it is away, slow, gone and back; behind certificates; from a process that has forked."""

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from uuid import UUID, uuid4

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from django.core.cache import cache

from apps.common.errors import ServiceUnavailable
from apps.users.interface import Client, InvalidToken, User, UserNotFound
from apps.users.services import LocalUserService
from apps.users.tests.factories import PASSWORD, UserFactory
from grpc_api import deadlines
from grpc_api.clients.breaker import FAILURES
from grpc_api.clients.remote import Certificates
from grpc_api.clients.users import RemoteUserService
from grpc_api.servers.users import hosted
from grpc_api.tests.running import peer, serving, token_for

pytestmark = pytest.mark.django_db(transaction=True)


class Slow(LocalUserService):
    """The users service, which answers when it is told to."""

    def __init__(self) -> None:
        self.go_on = threading.Event()
        self.asked = 0

    def get_user(self, *, user_id: UUID) -> User:
        self.asked += 1
        self.go_on.wait(timeout=20)
        return super().get_user(user_id=user_id)


@pytest.fixture
def nowhere() -> Iterator[str]:
    """An address where nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{taken.getsockname()[1]}"


def test_a_service_that_is_not_there_is_named_until_it_is(transactional_db: None, nowhere: str) -> None:
    user = UserFactory()
    users = RemoteUserService(peer("users", nowhere))
    for _ in range(FAILURES + 1):
        with pytest.raises(ServiceUnavailable) as error:
            users.get_user(user_id=user.pk)
    assert (error.value.code, error.value.retry_after) == ("service_unavailable", 5)
    assert str(error.value) == "The users service does not answer. Try again in a moment."


def test_one_that_does_not_answer_is_waited_for_no_longer_than_the_deadline(transactional_db: None) -> None:
    slow, user = Slow(), UserFactory()
    with serving(hosted(slow)) as address:
        users = RemoteUserService(peer("users", address, deadline=0.5))
        for _ in range(FAILURES):
            with pytest.raises(ServiceUnavailable):
                users.get_user(user_id=user.pk)
        assert slow.asked == FAILURES
        with pytest.raises(ServiceUnavailable):
            users.get_user(user_id=user.pk)
        assert slow.asked == FAILURES  # it was not asked a fourth time
        slow.go_on.set()


def test_a_call_takes_no_longer_than_the_one_that_is_being_answered(transactional_db: None) -> None:
    slow, user = Slow(), UserFactory()
    with serving(hosted(slow)) as address:
        users = RemoteUserService(peer("users", address, deadline=30))
        began_at = time.monotonic()
        with deadlines.within(0.3), pytest.raises(ServiceUnavailable):
            users.get_user(user_id=user.pk)
        assert time.monotonic() - began_at < 20
        slow.go_on.set()


def test_one_that_comes_back_is_found(transactional_db: None, nowhere: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("grpc_api.clients.breaker.PROBE_SECONDS", 0.2)
    user = UserFactory()
    with serving(hosted(LocalUserService())) as address:
        users = RemoteUserService(peer("users", address))
        assert users.get_user(user_id=user.pk).id == user.pk
    for _ in range(FAILURES):
        with pytest.raises(ServiceUnavailable):
            users.get_user(user_id=user.pk)
    with serving(hosted(LocalUserService()), address=address):
        deadline = time.monotonic() + 20
        while True:
            try:
                assert users.get_user(user_id=user.pk).id == user.pk
                break
            except ServiceUnavailable:
                assert time.monotonic() < deadline
                time.sleep(0.05)


@pytest.mark.usefixtures("shared_cache")
class TestTokensWhileUsersAreAway:
    def test_one_that_was_good_is_believed_and_one_that_was_revoked_is_not(self, transactional_db: None) -> None:
        user, local = UserFactory(), LocalUserService()
        here = Client(address="", agent="")
        known, revoked, unknown = (local.log_in(login=user.email, password=PASSWORD, client=here) for _ in range(3))
        with serving(hosted(local)) as address:
            users = RemoteUserService(peer("users", address))
            for pair in (known, revoked):
                assert users.authenticate(access_token=pair.access).id == user.pk
            session_id = local.authenticate(access_token=revoked.access).session_id
            local.log_out(user_id=user.pk, session_id=session_id)
        assert users.authenticate(access_token=known.access).id == user.pk
        cache.delete(f"users:session:{local.authenticate(access_token=known.access).session_id}")
        assert users.authenticate(access_token=known.access).id == user.pk
        with pytest.raises(InvalidToken):
            users.authenticate(access_token=revoked.access)
        with pytest.raises(ServiceUnavailable):
            users.authenticate(access_token=unknown.access)

    def test_a_service_token_that_was_revoked_is_refused_at_once(self, transactional_db: None) -> None:
        from apps.users import service_tokens  # noqa: PLC0415

        token = token_for()
        with serving(hosted(LocalUserService())) as address:
            users = RemoteUserService(peer("users", address))
            identity = users.identify_caller(token=token)
            assert users.identify_caller(token=token) == identity
            service_tokens.revoke(service_tokens.live()[-1].pk)
            with pytest.raises(InvalidToken):
                users.identify_caller(token=token)


def test_a_process_that_has_forked_is_answered_as_before(transactional_db: None) -> None:
    """As a worker of Celery's has. (With gRPC's own support of forks switched off, the child gets no answer.)"""
    user = UserFactory()
    with serving(hosted(LocalUserService())) as address:
        command = [sys.executable, "-m", "grpc_api.tests.forking", address, token_for(), str(user.pk)]
        asked = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)  # noqa: S603
    assert asked.stdout.split() == [str(user.pk)] * 3, asked.stderr
    assert asked.returncode == 0


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An authority, a server and a client that it vouches for, and a stranger."""
    folder = tmp_path_factory.mktemp("certificates")
    authority_key = _write(folder, "authority", None, None)
    authority = x509.load_pem_x509_certificate((folder / "authority.pem").read_bytes())
    for name in ("server", "client"):
        _write(folder, name, authority, authority_key)
    _write(folder, "stranger", None, None)
    return folder


class TestCertificates:
    @pytest.mark.parametrize(("name", "is_let_in"), [("client", True), ("stranger", False), (None, False)])
    def test_mutual_tls_lets_in_whom_the_authority_vouches_for(
        self, transactional_db: None, folder: Path, name: str | None, is_let_in: bool
    ) -> None:
        read = lambda file: (folder / file).read_bytes()  # noqa: E731
        credentials = grpc.ssl_server_credentials(
            [(read("server-key.pem"), read("server.pem"))], read("authority.pem"), require_client_auth=True
        )
        own = (folder / f"{name}.pem", folder / f"{name}-key.pem") if name else (None, None)
        with serving(hosted(LocalUserService()), credentials=credentials) as address:
            certificates = Certificates(folder / "authority.pem", *own)
            users = RemoteUserService(replace(peer("users", address, deadline=5), certificates=certificates))
            with pytest.raises(UserNotFound if is_let_in else ServiceUnavailable):
                users.get_user(user_id=uuid4())


def _write(
    folder: Path, name: str, issuer: x509.Certificate | None, issuer_key: ec.EllipticCurvePrivateKey | None
) -> ec.EllipticCurvePrivateKey:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(issuer_key or key, hashes.SHA256())
    )
    (folder / f"{name}.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / f"{name}-key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return key
