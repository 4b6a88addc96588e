"""Values remembered in Redis, for all processes. Without Redis nothing is: no other process would hear of a change.

What is forgotten is marked for a while, and what is read is remembered only where nothing is: a reader who saw the
database before a change commits cannot bring the old value back after it.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any, TypeVar

from django.conf import settings
from django.core.cache import cache
from django_redis import get_redis_connection
from django_redis.exceptions import ConnectionInterrupted
from redis import RedisError

# Longer than anybody takes from reading a value to remembering it.
_MARKED_SECONDS = 5.0
_FORGOTTEN = "forgotten"
# Whoever refills a value has that long; then the others look themselves.
_REFILL_SECONDS = 2.0
_LOOK_AGAIN_SECONDS = 0.01
_CHUNK = 500

# What a Redis that is away is known by. The pool has said so: there is nothing to add.
AWAY = (RedisError, ConnectionInterrupted)

_Value = TypeVar("_Value")


class Cached:
    """The values of one owner, each under the id of what it is about."""

    def __init__(self, name: str, *, seconds: float) -> None:
        self._name = name
        self._seconds = seconds

    def key(self, identifier: object) -> str:
        return f"{self._name}:{identifier}"

    def pick(self, identifiers: Iterable[object], found: Mapping[str, Any]) -> dict[Any, Any]:
        """Of what `read()` has found, the values of these ids."""
        values = ((identifier, found.get(self.key(identifier))) for identifier in identifiers)
        return {identifier: value for identifier, value in values if value is not None and value != _FORGOTTEN}

    def remember(self, values: Mapping[Any, Any]) -> None:
        """Keep what has been read, in one request."""
        if not settings.SHARED_CACHE or not values:
            return
        with suppress(*AWAY), get_redis_connection("default").pipeline(transaction=False) as pipeline:
            for identifier, value in values.items():
                cache.client.set(self.key(identifier), value, self._seconds, client=pipeline, nx=True)  # type: ignore[attr-defined] # django-redis
            pipeline.execute()

    def forget(self, identifiers: Iterable[object]) -> None:
        """Call it when a change has committed."""
        if not settings.SHARED_CACHE:
            return
        client: Any = cache.client  # type: ignore[attr-defined] # django-redis
        keys = [client.make_key(self.key(identifier)) for identifier in identifiers]
        mark, milliseconds = client.encode(_FORGOTTEN), int(_MARKED_SECONDS * 1000)
        for start in range(0, len(keys), _CHUNK):
            with suppress(*AWAY), get_redis_connection("default").pipeline(transaction=False) as pipeline:
                for key in keys[start : start + _CHUNK]:
                    pipeline.set(key, mark, px=milliseconds)
                pipeline.execute()


def read(keys: Iterable[str]) -> dict[str, Any]:
    """What is remembered under these keys, in one request."""
    wanted = list(keys)
    if not settings.SHARED_CACHE or not wanted:
        return {}
    client: Any = cache.client  # type: ignore[attr-defined] # django-redis
    try:
        # Past django-redis' own `get_many`, which costs as much again as the request.
        found = client.get_client(write=False).mget([client.make_key(key) for key in wanted])
    except AWAY:
        return {}
    return {key: client.decode(value) for key, value in zip(wanted, found, strict=True) if value is not None}


def await_refill(key: str, look: Callable[[], _Value | None]) -> _Value | None:
    """Let one caller at a time refill a value that is missing: the first gets None at once, refills it and says
    `refilled`; the others get what it has found or, if it gives up, None as well.
    """
    busy = _busy(key)
    is_first = cache.add(busy, 1, _REFILL_SECONDS)
    # Nobody is busy either when Redis is away.
    while not is_first and cache.get(busy):
        time.sleep(_LOOK_AGAIN_SECONDS)
    # Also for the first: the one before may have finished since the caller has looked.
    value = look()
    if is_first and value is not None:
        refilled(key)
    return value


def refilled(key: str) -> None:
    """Nobody has to wait any longer, whether there is a value now or not."""
    cache.delete(_busy(key))


def _busy(key: str) -> str:
    return f"{key}:refill"
