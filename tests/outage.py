"""Takes a server away from one shop: a door in front of it that a test can shut, while others go on using it."""

import asyncio
import secrets
import threading
from collections.abc import Coroutine, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, LiteralString
from urllib.parse import urlsplit, urlunsplit

import psycopg
import redis
from kombu import Connection, Exchange, Queue

from config.profiles import SERVICES
from tests.services import mongodb, needs_rabbitmq, needs_redis, new_postgres_database
from tests.shop import Client, Shop, open_shop

STOCK = 100_000
_CHUNK = 65536


class Door:
    """A TCP proxy before the server of a URL. Whoever goes by `url` reaches the server while the door is open.

    It knows nothing of what is said, so that it serves any protocol whose address is a URL.
    """

    def __init__(self, url: str, *, default_port: int) -> None:
        self._parts = urlsplit(url)
        self._server = (self._parts.hostname or "127.0.0.1", self._parts.port or default_port)
        self._port = 0
        self._listener: asyncio.Server | None = None
        self._visits: set[asyncio.Task[Any]] = set()
        self._visitors: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._flows = asyncio.Event()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.up()

    @property
    def url(self) -> str:
        """The server's URL with the door's address in it."""
        user, at, _ = self._parts.netloc.rpartition("@")
        return urlunsplit(self._parts._replace(netloc=f"{user}{at}127.0.0.1:{self._port}"))

    def up(self) -> None:
        """Let everybody through."""
        self._do(self._open())

    def down(self) -> None:
        """Break every connection and refuse new ones, as when the server has been killed."""
        self._do(self._shut())

    def silence(self) -> None:
        """Accept everything and answer nothing, as when the server hangs or the network swallows what is sent."""
        self._loop.call_soon_threadsafe(self._flows.clear)

    def remove(self) -> None:
        """End the proxy."""
        self.down()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _open(self) -> None:
        self._flows.set()
        if self._listener is None:
            self._listener = await asyncio.start_server(self._welcome, "127.0.0.1", self._port)
            self._port = self._listener.sockets[0].getsockname()[1]

    async def _shut(self) -> None:
        self._flows.set()
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        for writer in self._visitors:
            writer.transport.abort()
        # Whoever was there notices, and leaves.
        await asyncio.gather(*self._visits)

    async def _welcome(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        visit = asyncio.current_task()
        assert visit
        self._visits.add(visit)
        visit.add_done_callback(self._visits.discard)
        try:
            inner_reader, inner_writer = await asyncio.open_connection(*self._server)
        except OSError:
            writer.transport.abort()
            return
        if self._listener is None:  # shut meanwhile
            writer.transport.abort()
            inner_writer.transport.abort()
            return
        self._visitors |= {writer, inner_writer}
        try:
            await asyncio.gather(self._pass_on(reader, inner_writer), self._pass_on(inner_reader, writer))
        finally:
            self._visitors -= {writer, inner_writer}

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry what one side says to the other; when one side leaves, the other is sent away."""
        with suppress(OSError):
            while chunk := await reader.read(_CHUNK):
                await self._flows.wait()
                writer.write(chunk)
                await writer.drain()
        with suppress(OSError):
            writer.close()


@contextmanager
def door(url: str, *, default_port: int) -> Iterator[Door]:
    """A door before the server, open at first and gone in the end."""
    opened = Door(url, default_port=default_port)
    try:
        yield opened
    finally:
        opened.remove()


@dataclass
class World:
    """A running shop with a door before each server that it needs, by the variable that names the server."""

    shop: Shop
    doors: Mapping[str, Door]
    database: str
    broker: str
    queues: str
    admin: Client
    lamp: str

    def rows(self, query: LiteralString, *values: object) -> list[tuple[Any, ...]]:
        """What the shop's database answers, whether the shop can reach it or not."""
        with psycopg.connect(self.database) as connection:
            return connection.execute(query, values).fetchall()

    def is_settled(self) -> bool:
        """Whether every order that was paid has been deducted, once."""
        ((paid,),) = self.rows("SELECT count(*) FROM orders_order WHERE status = 'paid'")
        return self.admin.stock(self.lamp)[0] == STOCK - int(paid)


@contextmanager
def open_world(folder: Path, broker: str) -> Iterator[World]:
    """A shop on PostgreSQL and MongoDB, with a cache in Redis and that broker."""
    with ExitStack() as stack:
        database = stack.enter_context(new_postgres_database())
        documents = stack.enter_context(mongodb(folder))
        servers = {
            "DATABASE_URL": (database, 5432),
            # The driver would ask the server for its address, and pass by the door.
            "MONGODB_URL": (f"{documents}/{folder.name}?directConnection=true", 27017),
            "REDIS_URL": (needs_redis(), 6379),
            "BROKER_URL": (needs_redis(), 6379) if broker == "redis" else (needs_rabbitmq(), 5672),
        }
        doors = {name: stack.enter_context(door(url, default_port=port)) for name, (url, port) in servers.items()}
        addresses = {name: opened.url for name, opened in doors.items()}
        queues = f"test-{secrets.token_hex(4)}-"
        stack.callback(remove_queues, servers["BROKER_URL"][0], queues)
        shop = stack.enter_context(open_shop(folder, QUEUE_PREFIX=queues, **addresses))
        admin = shop.admin()
        yield World(shop, doors, database, servers["BROKER_URL"][0], queues, admin, admin.product(STOCK))


@contextmanager
def five_minutes_later(world: World) -> Iterator[None]:
    """Redis may lose what it was handing over when it went. The shop then misses it, five minutes later or now."""
    move = "UPDATE events_outboxevent SET published_at = published_at + %s * interval '6 minutes' RETURNING id"
    world.rows(move, -1)
    yield
    world.rows(move, 1)


def remove_queues(broker: str, prefix: str) -> None:
    """The broker is not ours alone."""
    if broker.startswith("redis"):
        with redis.Redis.from_url(broker) as server:
            for key in server.scan_iter(f"*{prefix}*"):
                server.delete(key)
        return
    with Connection(broker) as connection, connection.channel() as channel:
        of_services = [f"{service}{what}" for service in SERVICES for what in ("", "-slow")]
        housekeeping = [f"housekeeping{of}" for of in ("", *(f"-{profile}" for profile in (*SERVICES, "admin")))]
        for name in (*of_services, *housekeeping, "dead-letters"):
            Queue(prefix + name)(channel).delete()
            Exchange(prefix + name)(channel).delete()
