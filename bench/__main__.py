"""`make bench`: what an order costs, as ratios measured in one run. docs/benchmarks.md says how to read them.

Each database vendor is measured in a process of its own, with a database and a data folder that are removed in the end.
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

from tests import services

_MEASURE = "import sys, django; django.setup(); from bench.measure import main; main(*sys.argv[1:])"


def main() -> int:
    parser = ArgumentParser(prog="make bench", description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=3, help="interleaved rounds of which the median counts")
    parser.add_argument("--seconds", type=float, default=1, help="how long each case is driven in each round")
    parser.add_argument("--clients", type=int, default=16, help="threads that call at once")
    parser.add_argument("--on", choices=("postgresql", "sqlite"), action="append", help="only this database")
    options = parser.parse_args()
    vendors = options.on or ["postgresql", "sqlite"]
    for vendor in vendors:
        if status := _measure(vendor, options):
            return status
    return 0


def _measure(vendor: str, options: Namespace) -> int:
    if vendor == "postgresql" and services.postgres_error():
        print("\nPostgreSQL: left out, no server answers (TEST_POSTGRES_URL names one)", flush=True)
        return 0
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="cartwright-bench-"))
        environment = _production(Path(folder))
        if vendor == "postgresql":
            environment["DATABASE_URL"] = stack.enter_context(services.new_postgres_database("cartwright_bench"))
        arguments = [str(options.clients), str(options.rounds), str(options.seconds)]
        command = [sys.executable, "-c", _MEASURE, *arguments]
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
        "JWT_PRIVATE_KEY": pem.decode(),
        "LOG_LEVEL": "warning",
        "PYTHONWARNINGS": "ignore:No directory at",  # static files, which nobody asks for here
        "SECRET_KEY": secrets.token_hex(32),
    }


if __name__ == "__main__":
    sys.exit(main())
