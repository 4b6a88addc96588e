"""The real Envoy on free ports, before small services, with a configuration that a test may damage."""

import http.client
import json
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import jwt
import yaml
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

from deploy.envoy.render import Address, Breaker, Gateway, Health, RateLimits, Timeouts, Tracing, render
from tests.gateway.protos import Protos
from tests.gateway.upstreams import Collector, GrpcServices, Service

ENVOY = Path(sys.executable).parent / "envoy"
ORIGIN = "https://shop.example.com"
LIMITS = RateLimits(per_address=40, per_user=10, credentials=3)
HOSTS = {"users": 1, "products": 2, "orders": 2, "admin": 1}
# What Envoy reads; JSON is YAML.
Config = dict[str, Any]


@dataclass(frozen=True)
class Reply:
    """What came back. Names of headers are in small letters."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:  # noqa: ANN401 - JSON
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The code of the error, which has the shape of all."""
        (error,) = self.json()["errors"]
        assert set(error) == {"code", "detail", "attr"}
        return str(error["code"])


class Backend:
    """All services behind the gateway."""

    def __init__(self, folder: Path) -> None:
        self.protos = Protos(folder)
        self.key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        jwk = {**RSAAlgorithm.to_jwk(self.key.public_key(), as_dict=True), "kid": "one", "alg": "RS256", "use": "sig"}
        self.hosts = {name: [Service(name, {"keys": [jwk]}) for _ in range(count)] for name, count in HOSTS.items()}
        self.grpc = GrpcServices(self.protos)
        self.collector = Collector()

    def __getitem__(self, name: str) -> list[Service]:
        return self.hosts[name]

    def all(self) -> Iterator[Service]:
        for hosts in self.hosts.values():
            yield from hosts

    def reset(self) -> None:
        for service in self.all():
            service.reset()
        self.grpc.reset()

    def stop(self) -> None:
        for service in self.all():
            service.stop()
        self.grpc.stop()
        self.collector.stop()

    def token(
        self,
        role: str = "user",
        key: rsa.RSAPrivateKey | None = None,
        kid: str = "one",
        **claims: Any,  # noqa: ANN401
    ) -> str:
        """An access token as the users service gives one; of somebody new, unless `sub` is given."""
        known = {"sub": secrets.token_hex(8), "role": role, "sid": "s", "jti": "j", "exp": int(time.time()) + 300}
        payload = {"iss": "cartwright", "aud": "cartwright", **known, **claims}
        return jwt.encode(payload, key or self.key, algorithm="RS256", headers={"kid": kid})

    def clusters(self) -> dict[str, list[Address]]:
        http_hosts = {name: [Address("127.0.0.1", each.port) for each in hosts] for name, hosts in self.hosts.items()}
        grpc_host = [Address("127.0.0.1", self.grpc.port)]
        return {**http_hosts, "users_grpc": grpc_host, "products_grpc": grpc_host, "orders_grpc": grpc_host}


@dataclass
class Running:
    """A gateway that runs, as a client sees it."""

    port: int
    admin_port: int
    backend: Backend
    log: Path
    client: str = "127.0.0.1"
    timeout: float = 10
    patience: float = 5
    connections: list[http.client.HTTPConnection] = field(default_factory=list)

    def newcomer(self) -> "Running":
        """The same gateway for a client at another address, by which some limits count."""
        return replace(self, client=f"127.{secrets.randbelow(250)}.{secrets.randbelow(250)}.{secrets.randbelow(250)}")

    def ask(
        self, method: str, path: str, headers: Mapping[str, str] | None = None, body: bytes | str | None = None
    ) -> Reply:
        """One request on a connection of its own."""
        connection = self.open(method, path, headers, body)
        try:
            response = connection.getresponse()
            found = {name.lower(): value for name, value in response.getheaders()}
            return Reply(response.status, found, response.read())
        finally:
            connection.close()

    def open(
        self, method: str, path: str, headers: Mapping[str, str] | None = None, body: bytes | str | None = None
    ) -> http.client.HTTPConnection:
        """A connection on which a request has been sent."""
        connection = http.client.HTTPConnection(
            "127.0.0.1", self.port, timeout=self.timeout, source_address=(self.client, 0)
        )
        self.connections.append(connection)
        connection.request(method, path, body, dict(headers or {}))
        return connection

    def get(self, path: str, **headers: str) -> Reply:
        return self.ask("GET", path, {name.replace("_", "-"): value for name, value in headers.items()})

    def bearer(self, role: str = "user", **claims: Any) -> dict[str, str]:  # noqa: ANN401
        return {"Authorization": f"Bearer {self.backend.token(role, **claims)}"}

    def seen(self, name: str) -> list[Any]:
        """What has reached the hosts of a service."""
        return [seen for host in self.backend[name] for seen in host.seen]

    def settle(self, name: str, path: str, headers: Mapping[str, str] | None = None) -> None:
        """Wait until each host of a service is asked in turn, as if none had ever failed."""

        def takes_turns() -> bool:
            self.backend.reset()
            for _ in self.backend[name]:
                assert self.newcomer().ask("GET", path, headers).status == http.HTTPStatus.OK
            return all(len(host.seen) == 1 for host in self.backend[name])

        self.eventually(takes_turns)
        self.backend.reset()

    def log_lines(self) -> list[dict[str, Any]]:
        """The access log."""
        return [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]

    def eventually(self, holds: Callable[[], bool]) -> None:
        """Wait until `holds()` is true."""
        deadline = time.monotonic() + self.patience
        while not holds():
            assert time.monotonic() < deadline, "It never came true."
            time.sleep(0.02)


def settings(backend: Backend, ports: Sequence[int], **changes: Any) -> Gateway:  # noqa: ANN401 - any of its fields
    """What the tests' gateway is rendered for."""
    public, admin = ports
    given: dict[str, Any] = {
        "clusters": backend.clusters(),
        "listen": Address("127.0.0.1", public),
        "admin": Address("127.0.0.1", admin),
        "descriptors": str(backend.protos.descriptors),
        "cors_origins": [ORIGIN],
        "tracing": Tracing(Address("127.0.0.1", backend.collector.port)),
        "limits": LIMITS,
        "health": Health(check_seconds=0.3, consecutive_failures=5, ejection_seconds=1),
        "breaker": Breaker(connections=4, pending=1, requests=1000),
        "timeouts": Timeouts(read=1.2, write=1.2, pay=30, long=30),
        **changes,
    }
    return Gateway(**given)


@contextmanager
def running(
    backend: Backend,
    folder: Path,
    damage: Callable[[Config], object] = lambda _: None,
    **changes: Any,  # noqa: ANN401
) -> Iterator[Running]:
    """Envoy with the rendered configuration, after `damage` has been done to it."""
    ports = free_ports(2)
    config = yaml.safe_load(render(settings(backend, ports, **changes)))
    damage(config)
    name = secrets.token_hex(4)
    path, log = folder / f"{name}.json", folder / f"{name}.log"
    path.write_text(json.dumps(config))
    options = ["--disable-hot-restart", "--concurrency", "1", "--file-flush-interval-msec", "50", "-l", "error"]
    with log.open("wb") as out:
        process = subprocess.Popen([ENVOY, *options, "-c", path], stdout=out, stderr=out)
    try:
        gateway = Running(ports[0], ports[1], backend, log, patience=20)
        _wait_until_ready(gateway, process)
        yield replace(gateway, patience=5)
        for connection in gateway.connections:
            connection.close()
    finally:
        process.kill()
        process.wait(timeout=10)


def free_ports(count: int) -> list[int]:
    probes = [socket.socket() for _ in range(count)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def _wait_until_ready(gateway: Running, process: "subprocess.Popen[bytes]") -> None:
    def is_ready() -> bool:
        assert process.poll() is None, gateway.log.read_text()[-3000:]
        with closing(http.client.HTTPConnection("127.0.0.1", gateway.admin_port, timeout=5)) as connection:
            try:
                connection.request("GET", "/ready")
                return connection.getresponse().status == http.HTTPStatus.OK
            except OSError:
                return False

    gateway.eventually(is_ready)
