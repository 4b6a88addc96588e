"""Whether what this process depends on answers. Checks run side by side; none is waited for longer than two seconds."""

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as OutOfTime
from functools import cache, partial
from time import monotonic

import redis
from django.conf import settings
from django.db import connections
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder
from kombu import Connection

logger = logging.getLogger(__name__)

OK = "ok"
_UNAVAILABLE = "unavailable"
_SECONDS = 2.0
# A check that hangs keeps its thread until the network gives up; the next ones find the pool full, and say so.
_pool = ThreadPoolExecutor(max_workers=8, thread_name_prefix="readiness")


def check() -> dict[str, str]:
    """Each dependency by name, with `ok` or, in a word that gives nothing away, what is the matter with it."""
    jobs = {name: _pool.submit(job) for name, job in _dependencies().items()}
    answers: dict[str, str] = {}
    deadline = monotonic() + _SECONDS
    for name, job in jobs.items():
        try:
            answers[name] = job.result(timeout=max(0, deadline - monotonic()))
        except OutOfTime:
            job.cancel()
            answers[name] = "no answer in time"
        except Exception as error:  # noqa: BLE001 - whatever a driver raises, the dependency does not answer
            logger.warning("%s is not ready: %s", name, type(error).__name__)
            answers[name] = _UNAVAILABLE
    databases = {f"{service}_database": answers[alias] for service, alias in settings.SERVICE_DATABASES.items()}
    return databases | {name: answers[name] for name in ("catalogue", "cache", "broker") if name in answers}


def _dependencies() -> dict[str, Callable[[], str]]:
    """One check for each database alias, for Redis and for the broker, as far as they are in use."""
    jobs: dict[str, Callable[[], str]] = {
        alias: partial(_database, alias) for alias in dict.fromkeys(settings.SERVICE_DATABASES.values())
    }
    if settings.CATALOGUE_DATABASE and settings.CATALOGUE_DATABASE not in jobs:
        jobs["catalogue"] = partial(_database, settings.CATALOGUE_DATABASE)
    if settings.REDIS_URL:
        jobs["cache"] = _cache
    if settings.BROKER_URL:
        jobs["broker"] = _broker
    return jobs


def _database(alias: str) -> str:
    connection = connections[alias]
    try:
        applied = MigrationRecorder(connection).applied_migrations().keys()
        return OK if _migrations() <= applied else "migrations pending"
    finally:
        connection.close()


@cache
def _migrations() -> frozenset[tuple[str, str]]:
    """App and name of every migration that there is. Reading the files takes long, and they do not change."""
    return frozenset(MigrationLoader(None).graph.nodes)


def _cache() -> str:
    with redis.Redis.from_url(settings.REDIS_URL, socket_timeout=1, socket_connect_timeout=1) as client:
        client.ping()
    return OK


def _broker() -> str:
    with Connection(settings.BROKER_URL, connect_timeout=1) as broker:
        # `connect()` would try again until nobody waits for the answer any more.
        broker.transport.close_connection(broker.transport.establish_connection())
    return OK
