"""Servers of our own, so that they can be killed: PostgreSQL and Redis, from the binaries of this machine."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

import psutil
import psycopg
import redis

_START_SECONDS = 60
_Server = TypeVar("_Server", bound="Server")


class Server(ABC):
    """A server process with a folder of its own, which survives it."""

    name: str

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    @abstractmethod
    def url(self) -> str:
        """Where the shop finds it."""

    @abstractmethod
    def command(self) -> Sequence[str]:
        """What runs it."""

    @abstractmethod
    def is_up(self) -> bool:
        """Whether it answers."""

    def start(self) -> None:
        user, group = _servant()
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                self.command(), stdout=log, stderr=log, cwd=self.folder, start_new_session=True, user=user, group=group
            )
        deadline = time.monotonic() + _START_SECONDS
        while not self.is_up():
            assert time.monotonic() < deadline, f"{self.name} did not start; see {self.folder}"
            time.sleep(0.1)

    def kill(self) -> None:
        """SIGKILL to the process and all its children at once."""
        if self._process is None:
            return
        with suppress(psutil.NoSuchProcess):
            top = psutil.Process(self._process.pid)
            for process in [top, *top.children(recursive=True)]:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
        self._process.wait(timeout=20)
        self._process = None


class Postgres(Server):
    """Its commits do not wait for the disk: a process that is killed loses nothing that the kernel has."""

    name = "PostgreSQL"

    def __init__(self, folder: Path, binaries: Path) -> None:
        super().__init__(folder)
        self._binaries = binaries
        command = [str(binaries / "initdb"), "-D", str(folder / "data"), "-U", "postgres", "-A", "trust", "-E", "UTF8"]
        command += ["--no-sync", "--locale=C"]
        user, group = _servant()
        done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=folder, user=user, group=group)
        assert done.returncode == 0, done.stderr

    @property
    def url(self) -> str:
        return f"postgres://postgres@127.0.0.1:{self.port}/postgres"

    def command(self) -> Sequence[str]:
        options = {
            "port": self.port,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": self.folder,
            "fsync": "off",
            "max_connections": 80,
        }
        command = [str(self._binaries / "postgres"), "-D", str(self.folder / "data")]
        return [*command, *(f"--{name}={value}" for name, value in options.items())]

    def is_up(self) -> bool:
        try:
            psycopg.connect(self.url, connect_timeout=2).close()
        except psycopg.Error:
            return False
        return True


class Redis(Server):
    """Writes down each command before it answers it."""

    name = "Redis"

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def command(self) -> Sequence[str]:
        return ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "yes"]

    def is_up(self) -> bool:
        try:
            with redis.Redis.from_url(self.url, socket_timeout=2) as client:
                return bool(client.ping())
        except redis.RedisError:
            return False


@contextmanager
def running_postgres() -> Iterator[Postgres | None]:
    """A server of our own; None where this machine has no PostgreSQL."""
    binaries = _postgres_binaries()
    if binaries is None:
        yield None
        return
    with _folder("postgres") as folder:
        yield from _run(Postgres(folder, binaries))


@contextmanager
def running_redis() -> Iterator[Redis | None]:
    """A server of our own; None where this machine has no Redis."""
    if shutil.which("redis-server") is None:
        yield None
        return
    with _folder("redis") as folder:
        yield from _run(Redis(folder))


def _run(server: _Server) -> Iterator[_Server]:
    try:
        server.start()
        yield server
    finally:
        server.kill()


def _postgres_binaries() -> Path | None:
    """The newest, as `initdb` is not in the path everywhere."""
    found = shutil.which("initdb")
    if found:
        return Path(found).resolve().parent
    return max(
        (folder for folder in Path("/usr/lib/postgresql").glob("*/bin") if (folder / "initdb").exists()),
        key=lambda folder: int(folder.parent.name),
        default=None,
    )


@contextmanager
def _folder(name: str) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix=f"cartwright-{name}-", ignore_cleanup_errors=True) as folder:
        user, group = _servant()
        if user is not None and group is not None:
            os.chown(folder, user, group)
        yield Path(folder)


def _servant() -> tuple[int | None, int | None]:
    """User and group that run the servers, if not ours: PostgreSQL refuses to be run by root."""
    if os.geteuid() == 0:
        for name in ("postgres", "nobody"):
            with suppress(KeyError):
                entry = pwd.getpwnam(name)
                return entry.pw_uid, entry.pw_gid
    return None, None
