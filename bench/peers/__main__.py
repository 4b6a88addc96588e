"""`python -m bench.peers`: this shop beside django-oscar and Saleor, on one machine, by the same clients, in one run.

docs/peers.md says how to install the others, and what can be compared.
"""

import os
import secrets
import signal
import sys
import tempfile
from argparse import ArgumentParser, Namespace
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

from redis import Redis

from bench.__main__ import production
from bench.load import Limits
from bench.peers import oscar
from bench.peers.ours import Ours
from bench.peers.saleor import Saleor
from bench.peers.scenario import MOST_BUYERS, Peer, measure, sell_last_units, table
from tests import services
from tests.shop import Shop, free_port

PRODUCTS, STOCK = 100, 1_000_000
MOST_SECONDS = 900


def main() -> int:
    parser = ArgumentParser(prog="python -m bench.peers", description="This shop beside others, in ratios.")
    parser.add_argument("--oscar", metavar="PYTHON", help="the Python of an environment with django-oscar-api")
    parser.add_argument("--saleor", metavar="URL", help="where a Saleor listens; SALEOR_PASSWORD is that of its staff")
    parser.add_argument("--saleor-email", default="admin@example.com", help="who the staff is")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--clients", type=int, default=16, help=f"at most {MOST_BUYERS}")
    parser.add_argument("--last-units", type=int, default=20, help="how many last units are sold in each shop")
    options = parser.parse_args()
    signal.signal(signal.SIGALRM, lambda *_: sys.exit(f"FAILED: not done in {MOST_SECONDS} s."))
    signal.alarm(MOST_SECONDS)
    clients = min(options.clients, MOST_BUYERS)
    with ExitStack() as stack:
        peers = _open(stack, options)
        rates = measure(peers, Limits(clients, options.rounds, options.seconds))
        sold = {peer.name: sell_last_units(peer, clients, options.last_units) for peer in peers}
    print(f"\n{table(rates, sold)}", flush=True)
    return 0


def _open(stack: ExitStack, options: Namespace) -> list[Peer]:
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cartwright-peers-")))
    peers: list[Peer] = [_ours(stack, folder)]
    if options.oscar:
        url = urlsplit(stack.enter_context(services.new_postgres_database("cartwright_peers")))
        database = {
            "NAME": url.path.lstrip("/"),
            "USER": url.username or "",
            "PASSWORD": url.password or "",
            "HOST": url.hostname or "",
            "PORT": str(url.port or 5432),
        }
        own = folder / "oscar"
        own.mkdir()
        opened = oscar.opened(
            options.oscar, own, database, free_port(), products=PRODUCTS, stock=STOCK, scarce=options.last_units
        )
        peers.append(stack.enter_context(opened))
    if options.saleor:
        peers.append(Saleor(options.saleor, options.saleor_email, PRODUCTS, STOCK))
    return peers


def _ours(stack: ExitStack, folder: Path) -> Peer:
    name = f"peers-{secrets.token_hex(6)}"
    environment = {
        **production(folder),
        "BENCH_SHOP": name,
        "BROKER_URL": services.REDIS_URL,
        "DATABASE_URL": stack.enter_context(services.new_postgres_database("cartwright_peers")),
        "DJANGO_SETTINGS_MODULE": "bench.settings",
        "QUEUE_PREFIX": f"{name}-",
        "REDIS_URL": services.REDIS_URL,
    }
    stack.callback(_forget, name)
    shop = Shop(folder, environment)
    shop.manage("migrate_all")
    shop.start()
    stack.callback(shop.kill)
    return Ours(shop, PRODUCTS, STOCK)


def _forget(name: str) -> None:
    """Remove what the shop has left in Redis."""
    with Redis.from_url(services.REDIS_URL) as server:
        if keys := list(server.scan_iter(f"*{name}*", count=10_000)):
            server.delete(*keys)


if __name__ == "__main__":
    os.environ.setdefault("PYTHONDONTWRITEBYTECODE", "1")
    sys.exit(main())
