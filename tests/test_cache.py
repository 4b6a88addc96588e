"""A Redis that is away costs little and is mentioned once."""

import time
from collections.abc import Iterator
from typing import Any
from unittest.mock import patch
from uuid import uuid4

import pytest
import redis
from django.core.cache.backends.base import BaseCache
from django.utils.module_loading import import_string

from apps.common import redis_pool as cautious
from tests.outage import Door, door
from tests.services import needs_redis

pytestmark = pytest.mark.once


@pytest.fixture
def redis_door() -> Iterator[Door]:
    with door(needs_redis(), default_port=6379) as opened:
        yield opened


@pytest.fixture
def cache(redis_door: Door, settings: Any) -> Iterator[BaseCache]:  # noqa: ANN401 - pytest-django's own
    """As the settings make it when there is a `REDIS_URL`."""
    options = {
        "IGNORE_EXCEPTIONS": True,
        "SOCKET_CONNECT_TIMEOUT": 1,
        "SOCKET_TIMEOUT": 1,
        "CONNECTION_POOL_CLASS": "apps.common.redis_pool.CautiousPool",
    }
    settings.DJANGO_REDIS_LOG_IGNORED_EXCEPTIONS = True
    opened = import_string("django_redis.cache.RedisCache")(
        redis_door.url, {"KEY_PREFIX": uuid4().hex, "OPTIONS": options}
    )
    yield opened
    opened.client.get_client().connection_pool.disconnect()


def test_it_is_mentioned_once_that_redis_went_and_once_that_it_is_back(
    redis_door: Door, cache: BaseCache, caplog: pytest.LogCaptureFixture
) -> None:
    cache.set("lamp", 1)
    redis_door.down()
    assert [cache.get("lamp") for _ in range(50)] == [None] * 50
    cache.set_many({"lamp": 2})
    redis_door.up()
    with patch.object(cautious, "monotonic", lambda: time.monotonic() + 2):
        assert cache.get("lamp") == 1
        assert cache.get("lamp") == 1
    (gone, back) = [record.getMessage() for record in caplog.records]
    assert gone.startswith("Redis does not answer (ConnectionError: ")
    assert back.startswith("Redis answers again, after ")


def test_a_redis_that_hangs_holds_up_one_request_a_second(redis_door: Door, cache: BaseCache) -> None:
    cache.set("lamp", 1)
    redis_door.silence()
    begin = time.monotonic()
    assert [cache.get("lamp") for _ in range(50)] == [None] * 50
    # One that waits for its answer, and one that waits for the next connection; each would, and for a second.
    assert time.monotonic() - begin < 10


def test_a_redis_that_refuses_is_reported(redis_door: Door, cache: BaseCache, caplog: pytest.LogCaptureFixture) -> None:
    key = cache.make_key("lamp")
    with redis.Redis.from_url(redis_door.url) as server:
        server.lpush(key, 1)
        assert cache.get("lamp") is None
        server.delete(key)
    assert [record.getMessage() for record in caplog.records] == ["Exception ignored"]
