"""`make bench`: what an order costs, and the catalogue, as ratios measured in one run. docs/benchmarks.md says how to
read them, and a run of all parts writes its report there.

Each part is measured in a process of its own, with databases and a data folder that are removed in the end.
"""

import os
import secrets
import subprocess
import sys
import tempfile
import time
from argparse import ArgumentParser, Namespace
from contextlib import ExitStack
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from redis import Redis, RedisError

from bench import pgbench, report, simulate
from bench.machine import describe
from tests import services

# Part → the module that measures it.
_PARTS = {
    "orders": "measure",
    "events": "events",
    "scale": "scale",
    "sqlite": "measure",
    "catalogue": "catalogue",
    "split": "split",
    "clients": "clients",
    "relay": "relay",
    "startup": "startup",
    "telemetry": "telemetry",
    "units": "units",
    "staff": "staff",
}
# It makes a shop for minutes: by `--on` alone.
_BY_NAME = frozenset({"staff"})
_WITH_PGBENCH = frozenset({"orders", "clients"})
_WITH_BROKER = frozenset({"events", "relay", "split", "units"})
_OF_ORDERS = 100_000
_MOST_ORDERS = 1_000_000
_SQLITE_ROUNDS = 2
_MEASURE = "import sys, django; django.setup(); from bench.{} import main; main(*sys.argv[1:])"


def main() -> int:
    parser = ArgumentParser(prog="make bench", description="What orders and the catalogue cost, as ratios.")
    parser.add_argument("--rounds", type=int, default=3, help="interleaved rounds of which the median counts")
    parser.add_argument("--seconds", type=float, default=0.4, help="how long each case is driven in each round")
    parser.add_argument("--clients", type=int, default=32, help="who call at once")
    parser.add_argument("--most-clients", type=int, default=64, help="how far the curve of the part clients goes")
    parser.add_argument("--products", type=int, default=1_000, help="of the smaller catalogue; the larger has tenfold")
    parser.add_argument(
        "--orders", type=int, default=_OF_ORDERS, help=f"of the larger shop in the part scale, at most {_MOST_ORDERS:,}"
    )
    parser.add_argument("--on", choices=_PARTS, action="append", help="only this part")
    parser.add_argument(
        "--report", type=Path, help="the folder whose benchmarks.md gets the report; docs when all parts are measured"
    )
    options = parser.parse_args()
    docs: Path | None = options.report or (None if options.on else report.DOCS)
    machine, began = describe(), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="cartwright-bench-") as folder:
        figures = Path(folder) / report.FIGURES
        figures.touch()
        for part in options.on or [part for part in _PARTS if part not in _BY_NAME]:
            if status := _run(part, options, figures):
                return status
        if docs:
            machine = msgspec.structs.replace(machine, seconds=round(time.monotonic() - began))
            report.keep(docs, machine, figures)
            print(f"\nThe report is in {docs / 'benchmarks.md'}", flush=True)
    if not options.on:
        # What is planned follows from what was measured.
        simulate.write(docs or report.DOCS)
    return 0


def _run(part: str, options: Namespace, figures: Path) -> int:
    if missing := _missing(part):
        print(f"\n{part}: left out, {missing}", flush=True)
        return 0
    began = time.monotonic()
    status = _measure(part, options, figures)
    print(f"  The part {part} took {time.monotonic() - began:.0f} s.", flush=True)
    return status


def _missing(part: str) -> str | None:
    """What the part needs and does not find."""
    if part == "sqlite":
        return None
    if services.postgres_error():
        return "no PostgreSQL answers (TEST_POSTGRES_URL names one)"
    try:
        Redis.from_url(services.REDIS_URL, socket_connect_timeout=2, socket_timeout=2).ping()
    except RedisError:
        return "no Redis answers (TEST_REDIS_URL names one)"
    if part in _WITH_PGBENCH and not pgbench.find():
        return "there is no pgbench (Debian has it in postgresql-15, or the version that you run)"
    return None


def _measure(part: str, options: Namespace, figures: Path) -> int:
    with ExitStack() as stack:
        environment = production(Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cartwright-bench-"))))
        environment |= {"BENCH_PART": part, "BENCH_RESULTS": str(figures)}
        if part != "sqlite":
            environment |= _stores(part, stack)
        if part == "catalogue":
            environment["DJANGO_SETTINGS_MODULE"] = "bench.catalogue_settings"
        command = [sys.executable, "-c", _MEASURE.format(_PARTS[part]), *_arguments(part, options, stack)]
        with subprocess.Popen(command, env=environment) as process:
            try:
                return process.wait()
            except KeyboardInterrupt:
                process.wait()  # it heard of it too, and stops its shop
                return 130


def _stores(part: str, stack: ExitStack) -> dict[str, str]:
    """A database and a corner of Redis of the part's own."""
    shop = f"bench-{secrets.token_hex(6)}"
    stores = {
        "BENCH_SHOP": shop,
        "DATABASE_URL": _new_database(stack),
        "DJANGO_SETTINGS_MODULE": "bench.settings",
        "REDIS_URL": services.REDIS_URL,
    }
    if part in _WITH_BROKER:
        stores |= {"BROKER_URL": services.REDIS_URL, "QUEUE_PREFIX": f"{shop}-"}
    return stores


def _arguments(part: str, options: Namespace, stack: ExitStack) -> list[str]:
    """What the part's `main` is told."""
    found = [str(options.clients), str(options.rounds), str(options.seconds)]
    match part:
        case "orders":
            found.append(pgbench.find() or "")
        case "clients":
            found = [str(options.most_clients), *found[1:], pgbench.find() or ""]
        case "scale" | "catalogue":
            size = min(options.orders, _MOST_ORDERS) if part == "scale" else options.products
            found = [str(size), _new_database(stack), *found]
        case "split":
            found += [_new_database(stack) for _ in range(3)]
        case "startup" | "relay":
            found = [str(options.rounds)]
        case "sqlite":
            # It has no floor of another's to be compared with, and each case is followed by its relay's work.
            found[1] = str(min(options.rounds, _SQLITE_ROUNDS))
        case "staff":
            found = [str(10 * options.products), str(min(options.orders, _MOST_ORDERS))]
    return found


def _new_database(stack: ExitStack) -> str:
    return stack.enter_context(services.new_postgres_database("cartwright_bench"))


def production(folder: Path) -> dict[str, str]:
    """The shop's environment, nothing of the developer's own: as in production, for DEBUG keeps every statement."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return {
        **{name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ},
        "ALLOWED_HOSTS": "127.0.0.1,testserver",
        "DATA_DIR": str(folder),
        "DEBUG": "false",
        "DJANGO_SETTINGS_MODULE": "config.settings.monolith",
        "EMAIL_URL": "dummymail://",
        "JWT_EXPIRES_IN": "3h",  # nobody logs in again
        "JWT_PRIVATE_KEY": pem.decode(),
        "LOG_LEVEL": "warning",
        "RATE_LIMITS": "off",
        "PYTHONWARNINGS": "ignore:No directory at",  # static files, which nobody asks for here
        "SECRET_KEY": secrets.token_hex(32),
    }


if __name__ == "__main__":
    sys.exit(main())
