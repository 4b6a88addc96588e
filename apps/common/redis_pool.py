"""The cache in Redis, when Redis is away: it costs little, and is logged once."""

import logging
from collections.abc import Iterable, Sequence
from functools import cache
from time import monotonic
from typing import Any

from redis import Connection, ConnectionPool
from redis import ConnectionError as NoConnection
from redis import TimeoutError as OutOfTime

from apps.common.metrics import REDIS_COMMANDS
from apps.common.outages import Outage

_AWAY = (NoConnection, OutOfTime)
_LEAVE_ALONE_SECONDS = 1.0


class CautiousPool(ConnectionPool):
    """Connections to a Redis that may be away: each process then asks it once a second and not at every request, which
    would wait for the time-out each time.
    """

    def __init__(self, *args: Any, **options: Any) -> None:  # noqa: ANN401 - whatever redis-py's own takes
        super().__init__(*args, **options)
        self.connection_class = _counting(self.connection_class)
        self._outage = Outage("Redis")
        self._left_alone_until = 0.0

    def get_connection(self, *arguments: Any, **options: Any) -> Connection:  # noqa: ANN401 - as above
        if monotonic() < self._left_alone_until:
            raise NoConnection("Redis did not answer a moment ago")
        try:
            connection = super().get_connection(*arguments, **options)
        except _AWAY as error:
            self._left_alone_until = monotonic() + _LEAVE_ALONE_SECONDS
            self._outage.began(error)
            raise
        self._outage.ended()
        return connection


@cache
def _counting(kind: type[Connection]) -> type[Connection]:
    """The class of connections, which counts what it sends: one by one, and in pipelines."""

    class Counting(kind):  # type: ignore[misc,valid-type]  # plain, over TLS or through a socket
        def send_command(self, *command: Any, **options: Any) -> None:  # noqa: ANN401 - as redis-py's own
            _count(command)
            super().send_command(*command, **options)

        def pack_commands(self, commands: Iterable[Sequence[Any]]) -> Any:  # noqa: ANN401 - as above
            given = list(commands)
            for command in given:
                _count(command)
            return super().pack_commands(given)

    return Counting


def _count(command: Sequence[Any]) -> None:
    name = command[0]
    name = name.decode() if isinstance(name, bytes) else name
    # `CLIENT SETINFO` is one word to redis-py.
    REDIS_COMMANDS.labels(name.partition(" ")[0].lower()).inc()


def _is_news(record: logging.LogRecord) -> bool:
    """Whether django-redis reports something else than what the pool has said: a Redis that refuses, not one away."""
    error = record.exc_info[1] if record.exc_info else None
    cause = error.__cause__ if error else None
    return not isinstance(cause, _AWAY)


# It writes a line, with a traceback, at every attempt.
logging.getLogger("django_redis.cache").addFilter(_is_news)
