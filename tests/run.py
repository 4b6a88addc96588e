"""`make test` and `make test-rest`: the suite in four layouts of databases, each against its own empty stores.

SQLite and PostgreSQL, with one database for all services and with one per service, the last with the catalogue's
documents in MongoDB. `make test` takes minutes: what can be seen inside of one process, on PostgreSQL where that
matters (on SQLite if there is none), and a whole shop that is used as customers do. `--rest` takes half an hour: the
other layouts, and every other test of whole shops. Together they are everything, and nothing twice. Other arguments go
to pytest. Nothing of the developer's own shop is touched: variables of the shop are dropped and `DATA_DIR` is a
temporary folder.
"""

import os
import secrets
import shlex
import subprocess
import sys
import tempfile
import time
from argparse import ArgumentParser
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

from tests import services

SERVICES = ("users", "products", "orders")
# What a shell may have set for a shop of its own.
SHOP_VARIABLES = """
ALLOWED_HOSTS BIND BROKER_URL CORS_ALLOWED_ORIGINS CURRENCY DATABASE_URL DATA_DIR DEBUG DEFAULT_FROM_EMAIL
DJANGO_METRICS DJANGO_SETTINGS_MODULE DRAIN_SECONDS EMAIL_URL EMAIL_VERIFY_PAGE EMAIL_VERIFY_WITHIN
EVENTS_AMQP_EXCHANGE EVENTS_AMQP_URL EVENTS_REDIS_LENGTH EVENTS_REDIS_STREAM EVENTS_REDIS_URL EVENT_STREAMS
GRPC_DEADLINE GRPC_PORT GRPC_THREADS GRPC_TLS_AUTHORITY GRPC_TLS_CERTIFICATE GRPC_TLS_KEY GRPC_TLS_MUTUAL JWT_AUDIENCE
JWT_EXPIRES_IN JWT_ISSUER JWT_PRIVATE_KEY JWT_PUBLIC_KEYS JWT_REFRESH_IN LOCK_ACCOUNT_AFTER LOCK_ADDRESS_AFTER LOCK_FOR
LOG_FORMAT LOG_LEVEL LOW_STOCK_THRESHOLD MAX_UPLOAD_MB MEDIA_STORAGE_URL MONGODB_URL ORDERS_DATABASE_URL ORDERS_GRPC
OTEL_EXPORTER_OTLP_ENDPOINT OTEL_EXPORTER_OTLP_PROTOCOL OTEL_SERVICE_NAME OTEL_TRACES_SAMPLER_ARG PASSWORD_POLICY
PASSWORD_RESET_PAGE PASSWORD_RESET_WITHIN PAYMENT_PROVIDER PAYMENT_WEBHOOK_SECRET PORT PRODUCTS_DATABASE_URL
PRODUCTS_GRPC QUEUE_PREFIX RATE_LIMITS RATE_LIMIT_ADDRESS RATE_LIMIT_CREDENTIALS RATE_LIMIT_MAILS RATE_LIMIT_PAYMENTS
RATE_LIMIT_SEARCH RATE_LIMIT_USER REDIS_URL RESERVATION_TTL SECRET_KEY SECRET_KEY_FALLBACKS SERVICE_TOKEN
SERVICE_TOKEN_FILE SHOP_ADDRESS SHOP_NAME STAFF_EMAIL STOREFRONT_API STRIPE_API_BASE STRIPE_SECRET_KEY
STRIPE_WEBHOOK_SECRET SUPPORT_EMAIL TEMPLATES_DIR TRUSTED_PROXIES USERS_DATABASE_URL USERS_GRPC
WEBHOOK_ALLOWED_NETWORKS WEBHOOK_ALLOW_HTTP WEB_THREADS WEB_WORKERS WORKER_PROCESSES
"""
MOST_PROCESSES = 8
NO_TESTS_COLLECTED = 5


@dataclass(frozen=True)
class Layout:
    """Where the services keep their data, and which tests run so. Of all these, `make test` runs those of `soon`, and
    `make test-rest` the others; both are expressions of pytest's marks.
    """

    name: str
    databases: Mapping[str, str]
    all: str
    soon: str

    @property
    def rest(self) -> str:
        return f"({self.all}) and not ({self.soon})" if self.soon else self.all

    @property
    def is_postgres(self) -> bool:
        return any(url.startswith("postgres") for url in self.databases.values())


@dataclass(frozen=True)
class Outcome:
    """What became of a layout."""

    layout: str
    verdict: str
    is_failure: bool


def main() -> int:
    parser = ArgumentParser(prog="python -m tests.run", description=__doc__, add_help=False)
    parser.add_argument("-m", dest="marks", default="")
    parser.add_argument("--rest", action="store_true")
    options, arguments = parser.parse_known_args()
    run_id = f"cartwright_{secrets.token_hex(4)}"
    postgres_error = services.postgres_error()
    outcomes = []
    cores = os.cpu_count() or 1
    # A test that starts a whole shop keeps a dozen processes busy.
    processes = min(cores + 1 if options.rest else 2 * cores, MOST_PROCESSES)
    try:
        with ExitStack() as stack:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="cartwright-test-"))
            mongodb_url = stack.enter_context(services.mongodb(Path(folder)))
            for layout in _layouts(Path(folder), run_id, mongodb_url, has_postgres=postgres_error is None):
                chosen = layout.rest if options.rest else layout.soon
                if not chosen:
                    continue
                print(f"\n=== {layout.name} ".ljust(100, "="), flush=True)
                if layout.is_postgres and postgres_error:
                    outcomes.append(_skip(layout))
                else:
                    marks = " and ".join(f"({part})" for part in (options.marks, chosen) if part)
                    outcomes.append(_run(layout, Path(folder), processes, marks, arguments))
    except KeyboardInterrupt:
        print("\nInterrupted.", file=sys.stderr)
        return 130
    finally:
        if not postgres_error:
            services.drop_postgres_databases(f"test_{run_id}")
    print("\n=== Summary ".ljust(101, "="))
    for outcome in outcomes:
        print(f"{outcome.layout:<36} {outcome.verdict}")
    return 1 if any(outcome.is_failure for outcome in outcomes) else 0


def _layouts(folder: Path, run_id: str, mongodb_url: str, *, has_postgres: bool) -> Iterator[Layout]:
    """The four. pytest makes the databases itself, as `test_` and the name."""
    files = {service: f"sqlite:///{folder / service}.sqlite3" for service in SERVICES}
    servers = {service: _hasty(f"{run_id}_{service}") for service in SERVICES}
    stored, short = "not e2e and not once", "not long"
    here = "once and not e2e" if has_postgres else "not e2e"
    server = {"DATABASE_URL": _hasty(run_id)}
    yield Layout("SQLite, one database", {}, all="once or not once", soon=f"({here} or smoke) and {short}")
    yield Layout("SQLite, one database per service", _each(files), all=stored, soon="")
    yield Layout("PostgreSQL, one database", server, all="not once", soon=f"{stored} and {short}")
    mongodb = {"MONGODB_URL": f"{mongodb_url}/{run_id}"}
    if has_postgres:
        name, databases = "PostgreSQL for each service, and MongoDB", _each(servers)
    else:
        name, databases = "SQLite for each service, and MongoDB", _each(files)
    yield Layout(name, {**databases, **mongodb}, all=stored, soon="")


def _each(urls: Mapping[str, str]) -> dict[str, str]:
    return {f"{service.upper()}_DATABASE_URL": url for service, url in urls.items()}


def _hasty(database: str) -> str:
    """A database that does not wait for the disk at each commit: a third faster, and no test stops the server."""
    url = services.postgres_url(database)
    return f"{url}{'&' if '?' in url else '?'}options=-c%20synchronous_commit%3Doff"


def _run(layout: Layout, folder: Path, processes: int, marks: str, arguments: Sequence[str]) -> Outcome:
    data_dir = Path(tempfile.mkdtemp(dir=folder))
    report = data_dir / "report.xml"
    command = [sys.executable, "-m", "pytest", "-q", "-n", str(processes), "--dist", "loadfile"]
    command += [f"--junitxml={report}", "-m", marks, *arguments]
    print(shlex.join(["pytest", *command[3:]]), flush=True)
    environment = {name: value for name, value in os.environ.items() if name not in SHOP_VARIABLES.split()}
    start = time.monotonic()
    status = subprocess.call(command, env={**environment, **layout.databases, "DATA_DIR": str(data_dir)})
    seconds = time.monotonic() - start
    if status == NO_TESTS_COLLECTED:
        return Outcome(layout.name, "no such tests", is_failure=False)
    verdict = "ok" if status == 0 else f"FAILED (pytest exit {status})"
    return Outcome(layout.name, f"{verdict}: {_counts(report)} in {seconds:.0f} s", is_failure=status != 0)


def _counts(report: Path) -> str:
    """What pytest's report says, in words."""
    if not report.exists():
        return "no report"
    suite = ET.parse(report).getroot().find("testsuite")  # noqa: S314 - written by pytest a moment ago
    if suite is None:
        return "no report"
    count = {name: int(suite.get(name, 0)) for name in ("tests", "failures", "errors", "skipped")}
    passed = count["tests"] - count["failures"] - count["errors"] - count["skipped"]
    others = [f"{number} {name}" for name, number in count.items() if name != "tests" and number]
    return ", ".join([f"{passed} passed", *others])


def _skip(layout: Layout) -> Outcome:
    print(
        f"SKIPPED: no PostgreSQL server answers at {_without_password(services.POSTGRES_URL)}.\n"
        "Set TEST_POSTGRES_URL to a server where the user may create databases, for example after\n"
        "    docker run --rm -d -p 5432:5432 -e POSTGRES_HOST_AUTH_METHOD=trust postgres:16"
    )
    return Outcome(layout.name, "SKIPPED: no PostgreSQL server (TEST_POSTGRES_URL)", is_failure=services.is_ci())


def _without_password(url: str) -> str:
    return f"postgres://…@{url.rpartition('@')[2]}"


if __name__ == "__main__":
    sys.exit(main())
