"""The real shop in processes of its own, for tests that drive it from outside."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

import psutil
import requests

from tests.services import new_postgres_database

ROOT = Path(__file__).resolve().parents[1]
PASSWORD = "correct horse 9"


class Shop:
    """`manage.py serve` on a free port, with a data folder and databases of its own."""

    def __init__(self, data_dir: Path, environment: Mapping[str, str]) -> None:
        port, grpc_port = free_port(), free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.log = data_dir / "serve.log"
        inherited = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        self.environment = {
            **inherited,
            "DATA_DIR": str(data_dir),
            "PORT": str(port),
            "GRPC_PORT": str(grpc_port),
            "BIND": "127.0.0.1",
            # Customers of a test are faster than people, and all of one address; tests/test_rate_limits.py has limits.
            "RATE_LIMITS": "off",
            "EMAIL_URL": f"filemail:///{data_dir / 'mail'}",
            **environment,
        }
        self._process: subprocess.Popen[bytes] | None = None

    def manage(self, *arguments: str) -> str:
        """The output of a management command; raises when it fails."""
        command = [sys.executable, "manage.py", *arguments]
        done = subprocess.run(
            command, cwd=ROOT, env=self.environment, check=False, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, f"{' '.join(arguments)}: {done.stdout}{done.stderr}"
        return done.stdout

    def start(self, command: Sequence[str] = ("manage.py", "serve"), *, seconds: float = 180) -> None:
        """Start, and wait until the shop says that it is ready."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, *command], cwd=ROOT, env=self.environment, stdout=log, stderr=log
            )
        self.wait_until_ready(seconds)

    def wait_until_ready(self, seconds: float) -> None:
        """Wait until the shop says that it is ready."""
        assert self._process is not None
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and self._process.poll() is None:
            with suppress(requests.RequestException):
                if requests.get(f"{self.url}/ready", timeout=5).ok:
                    return
            time.sleep(0.1)
        raise AssertionError(f"The shop did not become ready:\n{self.log.read_text()[-3000:]}")

    def stop(self) -> int:
        """SIGTERM; the exit code, once everything is gone."""
        assert self._process is not None
        tree = self.processes()
        self._process.send_signal(signal.SIGTERM)
        code = self._process.wait(timeout=60)
        _, alive = psutil.wait_procs(tree, timeout=5)
        assert alive == []
        return code

    def kill(self) -> None:
        """SIGKILL to the whole tree at once."""
        for process in self.processes():
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(self.processes(), timeout=10)
        assert self._process is not None
        self._process.wait(timeout=10)

    def processes(self) -> list[psutil.Process]:
        """The supervisor and everything below it."""
        if self._process is None or not psutil.pid_exists(self._process.pid):
            return []
        top = psutil.Process(self._process.pid)
        return [top, *top.children(recursive=True)]

    def customer(self) -> "Client":
        """Somebody who has just registered and logged in."""
        name = f"user{uuid4().hex[:12]}"
        account = {"username": name, "email": f"{name}@example.com", "password": PASSWORD}
        guest = Client(self.url)
        assert guest.post("/users/register", account).status_code == 201
        return guest.log_in(account["email"], PASSWORD)

    def admin(self) -> "Client":
        """Somebody who may do everything."""
        name = f"admin{uuid4().hex[:12]}"
        account = {"DJANGO_SUPERUSER_USERNAME": name, "DJANGO_SUPERUSER_PASSWORD": PASSWORD}
        self.environment.update(account)
        self.manage("createsuperuser", "--noinput", f"--email={name}@example.com")
        return Client(self.url).log_in(name + "@example.com", PASSWORD)

    def eventually(self, holds: Callable[[], bool], seconds: float = 20) -> None:
        """Wait until `holds()` is true."""
        deadline = time.monotonic() + seconds
        while not holds():
            assert time.monotonic() < deadline, f"It never came true. The log:\n{self.log.read_text()[-5000:]}"
            time.sleep(0.1)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


class Client:
    """A client of the REST API."""

    def __init__(self, url: str) -> None:
        self._url = f"{url}/api/v1"
        self._session = requests.Session()
        self.access_token = ""

    def log_in(self, email: str, password: str) -> "Client":
        response = self.post("/users/login", {"email": email, "password": password})
        assert response.status_code == 200, response.text
        self.access_token = response.json()["access"]
        self._session.headers["Authorization"] = f"Bearer {self.access_token}"
        return self

    def get(self, path: str) -> requests.Response:
        return self._session.get(f"{self._url}{path}", timeout=30)

    def upload(self, path: str, table: str) -> requests.Response:
        """Send a file of CSV."""
        return self._session.post(
            f"{self._url}{path}", data=table.encode(), headers={"Content-Type": "text/csv"}, timeout=30
        )

    def post(self, path: str, body: object = None, key: str | None = None) -> requests.Response:
        headers = {"Idempotency-Key": key} if key else {}
        return self._session.post(f"{self._url}{path}", json=body, headers=headers, timeout=30)

    def product(self, stock: int, price: str = "10.00") -> str:
        """The id of a new product (for staff)."""
        body = {"name": "Lamp", "price": price, "stock": stock}
        response = self.post("/products", body)
        assert response.status_code == 201, response.text
        product_id: str = response.json()["id"]
        return product_id

    def order(self, product_id: str, quantity: int = 1, key: str | None = None) -> requests.Response:
        return self.post("/orders", {"items": [{"product_id": product_id, "quantity": quantity}]}, key)

    def pay(self, order_id: str, key: str | None = None) -> requests.Response:
        return self.post(f"/orders/{order_id}/pay", {"method": "card", "token": "tok_visa"}, key)

    def stock(self, product_id: str) -> tuple[int, int]:
        """On hand and reserved (for staff)."""
        level = self.get(f"/products/{product_id}/stock").json()
        return level["on_hand"], level["reserved"]


@contextmanager
def open_shop(folder: Path, **environment: str) -> Iterator[Shop]:
    """A running shop on the database vendor that the suite runs on, unless one is named; nothing of it is left in the
    end.
    """
    is_named = "DATABASE_URL" in environment
    if not is_named and os.environ.get("DATABASE_URL", "").startswith("postgres"):
        with new_postgres_database() as url:
            yield from _running(folder, {**environment, "DATABASE_URL": url})
    else:
        yield from _running(folder, environment)


def _running(folder: Path, environment: Mapping[str, str]) -> Iterator[Shop]:
    shop = Shop(folder, environment)
    shop.manage("migrate_all")
    try:
        shop.start()
        yield shop
    finally:
        shop.kill()
