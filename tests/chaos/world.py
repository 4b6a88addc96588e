"""A shop whose processes, servers and clocks can be attacked."""

import base64
import json
import random
import secrets
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

from apps.events.tests.receiver import Message, Receiver, receiver
from tests.chaos.servers import Postgres, Redis, running_postgres, running_redis
from tests.chaos.store import Store
from tests.outage import Door, door, remove_queues
from tests.services import needs_rabbitmq, needs_redis, new_postgres_database
from tests.shop import Client, Shop, open_shop

# How often the receiver of webhooks refuses one.
_DEAF = 0.03
_SKEW = Path(__file__).parent / "skew"


@dataclass
class World:
    """The shop, and what it stands on."""

    shop: Shop
    store: Store
    admin: Client
    dice: random.Random
    clocks: Path
    hooks: "Hooks"
    # By name: what can be killed and started again, and what can only be shut off.
    servers: dict[str, Postgres | Redis] = field(default_factory=dict)
    doors: dict[str, Door] = field(default_factory=dict)

    def set_clocks(self, **ahead: int) -> None:
        """Processes of these kinds that start from now on have a clock that is so many seconds ahead."""
        self.clocks.write_text(json.dumps(ahead))


class Hooks:
    """Somebody who is told of orders by webhook, and does not always listen."""

    def __init__(self, door: Receiver, dice: random.Random) -> None:
        self.url, self.heard, self.refused = door.url, set[str](), 0
        self._dice = dice
        door.answer = self._answer

    def _answer(self, message: Message) -> tuple[int, str]:
        if self._dice.random() < _DEAF:
            self.refused += 1
            return 503, ""
        self.heard.add(message.headers["webhook-id"])
        return 204, ""


@contextmanager
def open_world(folder: Path, *, database: str, broker: str, dice: random.Random) -> Iterator[World]:
    """A shop on `sqlite` or `postgresql`, with the broker `redis`, `rabbitmq` or `none`."""
    with ExitStack() as stack:
        servers: dict[str, Postgres | Redis] = {}
        doors: dict[str, Door] = {}
        clocks = folder / "clocks.json"
        environment = {
            "PYTHONPATH": str(_SKEW),
            "CHAOS_CLOCKS": str(clocks),
            "PAYMENT_WEBHOOK_SECRET": f"whsec_{base64.b64encode(secrets.token_bytes(32)).decode()}",
            "WEBHOOK_ALLOW_HTTP": "true",
            "WEBHOOK_ALLOWED_NETWORKS": "127.0.0.0/8",
            "JWT_EXPIRES_IN": "3h",
        }
        if database == "sqlite":
            url = environment["DATABASE_URL"] = f"sqlite:///{folder / 'shop.sqlite3'}"
        else:
            url, environment["DATABASE_URL"] = _postgres(stack, servers, doors)
        environment.update(_broker(stack, servers, doors, broker))
        hooks = Hooks(stack.enter_context(receiver()), random.Random(dice.getrandbits(64)))  # noqa: S311 - a thread's own
        shop = stack.enter_context(open_shop(folder, **environment))
        yield World(shop, Store(url), shop.admin(), dice, clocks, hooks, servers, doors)


def _postgres(stack: ExitStack, servers: dict[str, Postgres | Redis], doors: dict[str, Door]) -> tuple[str, str]:
    """Where we find the database, and where the shop does."""
    own = stack.enter_context(running_postgres())
    if own is not None:
        servers["database"] = own
        with psycopg.connect(own.url, autocommit=True) as connection:
            connection.execute("CREATE DATABASE shop")
        url = own.url.removesuffix("/postgres") + "/shop"
        return url, url
    url = stack.enter_context(new_postgres_database())
    doors["database"] = stack.enter_context(door(url, default_port=5432))
    return url, doors["database"].url


def _broker(
    stack: ExitStack, servers: dict[str, Postgres | Redis], doors: dict[str, Door], broker: str
) -> dict[str, str]:
    if broker == "none":
        return {}
    prefix = f"chaos-{secrets.token_hex(4)}-"
    environment = {"QUEUE_PREFIX": prefix}
    own = stack.enter_context(running_redis())
    if own is not None:
        servers["redis"] = own
        environment["REDIS_URL"] = own.url.removesuffix("/0") + "/1"
    if broker == "rabbitmq":
        url = needs_rabbitmq()
        stack.callback(remove_queues, url, prefix)
        doors["broker"] = stack.enter_context(door(url, default_port=5672))
        return {**environment, "BROKER_URL": doors["broker"].url}
    if own is not None:
        return {**environment, "BROKER_URL": own.url}
    url = needs_redis()
    stack.callback(remove_queues, url, prefix)
    doors["broker"] = stack.enter_context(door(url, default_port=6379))
    return {**environment, "BROKER_URL": doors["broker"].url}
