"""`make bench`: what an order costs, and the catalogue, as ratios measured in one run. docs/benchmarks.md says how to
read them.

Each part is measured in a process of its own, with databases and a data folder that are removed in the end.
"""

import os
import secrets
import subprocess
import sys
import tempfile
from argparse import ArgumentParser, Namespace
from contextlib import ExitStack
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from redis import Redis, RedisError

from bench import pgbench
from tests import services

# Part → the module that measures it.
_PARTS = {
    "orders": "measure",
    "events": "events",
    "scale": "scale",
    "sqlite": "measure",
    "catalogue": "catalogue",
    "split": "split",
    "staff": "staff",
}
_OF_ORDERS = 200_000
_MOST_ORDERS = 1_000_000
_MEASURE = "import sys, django; django.setup(); from bench.{} import main; main(*sys.argv[1:])"


def main() -> int:
    parser = ArgumentParser(prog="make bench", description="What orders and the catalogue cost, as ratios.")
    parser.add_argument("--rounds", type=int, default=3, help="interleaved rounds of which the median counts")
    parser.add_argument("--seconds", type=float, default=2, help="how long each case is driven in each round")
    parser.add_argument("--clients", type=int, default=32, help="who call at once")
    parser.add_argument("--products", type=int, default=10_000, help="of the smaller catalogue; the larger has tenfold")
    parser.add_argument(
        "--orders", type=int, default=_OF_ORDERS, help=f"of the larger shop in the part scale, at most {_MOST_ORDERS:,}"
    )
    parser.add_argument("--on", choices=_PARTS, action="append", help="only this part")
    options = parser.parse_args()
    for part in options.on or _PARTS:
        if missing := _missing(part):
            print(f"\n{part}: left out, {missing}", flush=True)
        elif status := _measure(part, options):
            return status
    return 0


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
    if part == "orders" and not pgbench.find():
        return "there is no pgbench (Debian has it in postgresql-15, or the version that you run)"
    return None


def _measure(part: str, options: Namespace) -> int:
    with ExitStack() as stack:
        environment = _production(Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cartwright-bench-"))))
        arguments = [str(options.clients), str(options.rounds), str(options.seconds)]
        if part != "sqlite":
            environment |= {
                "BENCH_SHOP": f"bench-{secrets.token_hex(6)}",
                "DATABASE_URL": stack.enter_context(services.new_postgres_database("cartwright_bench")),
                "DJANGO_SETTINGS_MODULE": "bench.settings",
                "REDIS_URL": services.REDIS_URL,
            }
        match part:
            case "orders":
                arguments.append(pgbench.find() or "")
            case "split":
                environment |= {"BROKER_URL": services.REDIS_URL}
                own = [stack.enter_context(services.new_postgres_database("cartwright_bench")) for _ in range(3)]
                arguments += own
            case "staff":
                arguments = [str(10 * options.products), str(min(options.orders, _MOST_ORDERS))]
            case "events":
                environment |= {"BROKER_URL": services.REDIS_URL, "QUEUE_PREFIX": f"{environment['BENCH_SHOP']}-"}
            case "scale" | "catalogue":
                smaller = stack.enter_context(services.new_postgres_database("cartwright_bench"))
                size = min(options.orders, _MOST_ORDERS) if part == "scale" else options.products
                arguments = [str(size), smaller, *arguments]
        if part == "catalogue":
            environment["DJANGO_SETTINGS_MODULE"] = "bench.catalogue_settings"
        command = [sys.executable, "-c", _MEASURE.format(_PARTS[part]), *arguments]
        with subprocess.Popen(command, env=environment) as process:
            try:
                return process.wait()
            except KeyboardInterrupt:
                process.wait()  # it heard of it too, and stops its shop
                return 130


def _production(folder: Path) -> dict[str, str]:
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
