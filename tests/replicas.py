"""Services with two replicas each behind Envoy, which can be restarted one by one, for tests of a rolling restart."""

import json
import secrets
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import requests
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from config.profiles import SERVICES
from deploy.envoy.render import Address, Gateway, Health, render
from deploy.split import SCOPES
from tests.gateway.gateway import ENVOY
from tests.services import new_postgres_database
from tests.shop import PASSWORD, Client, Shop
from tests.split import free_ports

REPLICAS = ("a", "b")
DRAIN_SECONDS = 3
ADMIN = "admin@example.com"
# Tokens for the services, and somebody who may do everything, made by one process.
_PREPARE = f"""
import json
from io import StringIO
from django.core.management import call_command
def token(service, scopes):
    out = StringIO()
    call_command("issue_service_token", service, "--scope", *scopes, stdout=out)
    return out.getvalue().strip()
call_command("createsuperuser", "--noinput", "--email={ADMIN}", verbosity=0)
print(json.dumps({{service: token(service, scopes) for service, scopes in {SCOPES!r}.items()}}))
"""


class Replica(Shop):
    """One of the process trees of a service. The first does its work, too; both answer."""

    def __init__(
        self, data_dir: Path, environment: Mapping[str, str], *, port: int, grpc_port: int, does_work: bool
    ) -> None:
        data_dir.mkdir()
        super().__init__(data_dir, {**environment, "PORT": str(port), "GRPC_PORT": str(grpc_port)})
        self.url = f"http://127.0.0.1:{port}"
        self._command = ("manage.py", "serve", *([] if does_work else ["--no-work"]))

    def start(self, command: Sequence[str] = (), *, seconds: float = 180) -> None:
        super().start(self._command, seconds=seconds)


class Replicated:
    """The shop: `url` is Envoy's."""

    def __init__(self, folder: Path, databases: Mapping[str, str], redis_url: str) -> None:
        first = free_ports(2 + 2 * len(SERVICES) * len(REPLICAS))
        self._folder = folder
        self._port, self._admin_port = first, first + 1
        self.url = f"http://127.0.0.1:{self._port}"
        places = iter(range(first + 2, first + 2 + 2 * len(SERVICES) * len(REPLICAS)))
        self._http = {(service, name): next(places) for service in SERVICES for name in REPLICAS}
        self._grpc = {(service, name): next(places) for service in SERVICES for name in REPLICAS}
        self._shared = {
            **{f"{service.upper()}_DATABASE_URL": url for service, url in databases.items()},
            **{f"{service.upper()}_GRPC": self._peers(service) for service in SERVICES},
            "REDIS_URL": redis_url,
            "BROKER_URL": redis_url,
            "QUEUE_PREFIX": f"rolling-{secrets.token_hex(4)}-",
            "JWT_PRIVATE_KEY": _private_key(),
            "TRUSTED_PROXIES": "1",
            "WEB_WORKERS": "1",
            "LOG_LEVEL": "warning",
            "DRAIN_SECONDS": str(DRAIN_SECONDS),
            "DJANGO_SUPERUSER_USERNAME": "admin",
            "DJANGO_SUPERUSER_PASSWORD": PASSWORD,
        }
        self.queue_prefix = self._shared["QUEUE_PREFIX"]
        self.replicas: dict[tuple[str, str], Replica] = {}

    def prepare(self) -> None:
        """Make the databases, and what services and staff show."""
        with ThreadPoolExecutor(len(SERVICES)) as pool:
            list(pool.map(lambda service: self.manage(service, "migrate_all"), SERVICES))
        tokens = json.loads(self.manage("users", "shell", "-v0", "-c", _PREPARE))
        for (service, name), port in self._http.items():
            environment = {**self._environment(service), "SERVICE_TOKEN": tokens[service]}
            self.replicas[service, name] = Replica(
                self._folder / f"{service}-{name}",
                environment,
                port=port,
                grpc_port=self._grpc[service, name],
                does_work=name == REPLICAS[0],
            )

    def manage(self, profile: str, *arguments: str) -> str:
        """A command in one of the profiles."""
        shop = Shop(self._folder, self._environment(profile))
        return shop.manage(*arguments)

    def start(self) -> None:
        """Every replica at once; waits until all are ready."""
        with ThreadPoolExecutor(len(self.replicas)) as pool:
            list(pool.map(Replica.start, self.replicas.values()))

    def restart(self, service: str) -> None:
        """Each replica of a service, one after the other: the next when Envoy has found the last."""
        for name in REPLICAS:
            replica = self.replicas[service, name]
            assert replica.stop() == 0
            replica.start()
            replica.eventually(lambda: self._unhealthy_of(service) == [], 60)

    def kill(self) -> None:
        """SIGKILL to everything."""
        running = [replica for replica in self.replicas.values() if replica.processes()]
        with ThreadPoolExecutor(len(self.replicas)) as pool:
            list(pool.map(Replica.kill, running))

    def eventually(self, holds: Callable[[], bool], seconds: float = 60) -> None:
        """Wait until `holds()` is true."""
        next(iter(self.replicas.values())).eventually(holds, seconds)

    def is_whole(self) -> bool:
        """Whether Envoy sends requests to every replica."""
        return not any(self._unhealthy_of(service) for service in SERVICES)

    def admin(self) -> Client:
        return Client(self.url).log_in(ADMIN, PASSWORD)

    def _environment(self, profile: str) -> dict[str, str]:
        return {**self._shared, "DJANGO_SETTINGS_MODULE": f"config.settings.{profile}"}

    def _peers(self, service: str) -> str:
        return ",".join(f"127.0.0.1:{self._grpc[service, name]}" for name in REPLICAS)

    def _unhealthy_of(self, service: str) -> list[str]:
        clusters = requests.get(f"http://127.0.0.1:{self._admin_port}/clusters?format=json", timeout=10).json()
        return [
            str(host["address"])
            for cluster in clusters["cluster_statuses"]
            if cluster["name"] in {service, f"{service}_grpc"}
            for host in cluster["host_statuses"]
            if host["health_status"] != {"eds_health_status": "HEALTHY"}
        ]

    @contextmanager
    def envoy(self) -> Iterator[None]:
        """The gateway before all replicas."""
        http = {service: [_here(self._http[service, name]) for name in REPLICAS] for service in SERVICES}
        grpc = {f"{service}_grpc": [_here(self._grpc[service, name]) for name in REPLICAS] for service in SERVICES}
        gateway = Gateway(
            clusters={**http, **grpc, "admin": http["users"]},
            listen=_here(self._port),
            admin=_here(self._admin_port),
            limits=None,
            health=Health(check_seconds=1),
        )
        path = self._folder / "envoy.yaml"
        path.write_text(render(gateway))
        command = [str(ENVOY), "--disable-hot-restart", "--concurrency", "1", "-l", "warning", "-c", str(path)]
        with (self._folder / "envoy.log").open("wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            yield
        finally:
            process.kill()
            process.wait(timeout=10)


@contextmanager
def open_replicated(folder: Path, redis_url: str) -> Iterator[Replicated]:
    """A running shop, each service with two replicas and a PostgreSQL database; nothing of it is left in the end."""
    with ExitStack() as stack:
        databases = {service: stack.enter_context(new_postgres_database()) for service in SERVICES}
        shop = Replicated(folder, databases, redis_url)
        shop.prepare()
        stack.callback(shop.kill)
        stack.enter_context(shop.envoy())
        shop.start()
        shop.eventually(shop.is_whole)
        yield shop


def _here(port: int) -> Address:
    return Address("127.0.0.1", port)


def _private_key() -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return pem.decode()
