"""The shop as separate processes behind Envoy (`make split`), for tests that drive it from outside."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from config.profiles import SERVICES
from deploy.split import PROFILES, Ports
from tests.blackbox.target import Target
from tests.shop import ROOT, Shop

# So many ports in a row: for HTTP, Envoy's and those of four profiles; for gRPC, one that stays free, and three.
_HTTP_PORTS, _GRPC_PORTS = 6, 4


class SplitShop(Shop):
    """Services, staff pages and Envoy, each with processes and databases of its own."""

    def __init__(self, data_dir: Path, environment: Mapping[str, str]) -> None:
        super().__init__(data_dir, environment)
        first = free_ports(_HTTP_PORTS + _GRPC_PORTS)
        self.ports = Ports(http=first, grpc=first + _HTTP_PORTS)
        self.url = f"http://127.0.0.1:{first}"
        self.environment.update({"PORT": str(first), "GRPC_PORT": str(self.ports.grpc)})

    def start(self, command: Sequence[str] = ("-m", "deploy.split", "--no-demo"), *, seconds: float = 300) -> None:
        super().start(command, seconds=seconds)

    def manage(self, *arguments: str, profile: str = "admin") -> str:
        """A command in one of the profiles; by default in the one that has all databases."""
        environment = {
            **self.environment,
            "DJANGO_SETTINGS_MODULE": f"config.settings.{profile}",
            **{f"{service.upper()}_GRPC": f"127.0.0.1:{self.ports.grpc_of(service)}" for service in SERVICES},
        }
        command = [sys.executable, "manage.py", *arguments]
        done = subprocess.run(
            command, cwd=ROOT, env=environment, check=False, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, f"{' '.join(arguments)}: {done.stdout}{done.stderr}"
        return done.stdout

    def url_of(self, profile: str) -> str:
        """Where a profile listens, past Envoy."""
        return f"http://127.0.0.1:{self.ports.http_of(profile)}"

    def target(self, origin: str) -> Target:
        """The services one by one, past Envoy."""
        users, products, orders = (self.url_of(service) for service in SERVICES)
        return Target(users=users, products=products, orders=orders, origin=origin)

    def tree_of(self, profile: str) -> list[psutil.Process]:
        """The processes of a profile: its supervisor first."""
        top = self.processes()[0]
        for child in top.children():
            with suppress(psutil.NoSuchProcess):
                if child.environ().get("DJANGO_SETTINGS_MODULE") == f"config.settings.{profile}":
                    return [child, *child.children(recursive=True)]
        return []

    def kill_service(self, profile: str) -> None:
        """SIGKILL to all processes of a profile at once."""
        assert profile in PROFILES
        for process in self.tree_of(profile):
            with suppress(psutil.NoSuchProcess):
                process.kill()

    @contextmanager
    def without(self, profile: str) -> Iterator[None]:
        """The profile's processes stand still: they take connections, and answer nothing."""
        tree = self.tree_of(profile)
        assert tree
        for process in tree:
            process.suspend()
        try:
            yield
        finally:
            for process in tree:
                process.resume()


@contextmanager
def open_split(folder: Path, **environment: str) -> Iterator[SplitShop]:
    """A running shop of separate services; nothing of it is left in the end."""
    shop = SplitShop(folder, environment)
    try:
        shop.start()
        yield shop
    finally:
        shop.kill()


def free_ports(number: int) -> int:
    """The first of so many ports in a row that nobody listens on."""
    for first in range(20000 + os.getpid() % 8000, 60000, number):
        if all(_is_free(port) for port in range(first, first + number)):
            return first
    raise AssertionError("There are no free ports.")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
