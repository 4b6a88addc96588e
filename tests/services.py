"""The servers that some tests need. Where one is missing its tests are skipped; with CI=true they fail instead."""

import os
import secrets
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
import redis
from kombu import Connection
from pymongo import MongoClient

POSTGRES_URL = os.environ.get("TEST_POSTGRES_URL") or "postgres://postgres@127.0.0.1:5432/postgres"
REDIS_URL = os.environ.get("TEST_REDIS_URL") or "redis://127.0.0.1:6379/9"
MONGODB_URL = os.environ.get("TEST_MONGODB_URL", "")
RABBITMQ_URL = os.environ.get("TEST_RABBITMQ_URL") or "amqp://guest:guest@127.0.0.1:5672//"


def is_ci() -> bool:
    """Whether nothing may be left out."""
    return os.environ.get("CI", "").lower() in {"1", "true", "yes", "on"}


def needs_redis() -> str:
    """The URL of a Redis server; call it first thing in a test or fixture."""
    try:
        with redis.Redis.from_url(REDIS_URL, socket_connect_timeout=2, socket_timeout=2) as client:
            client.ping()
    except (redis.RedisError, OSError) as error:
        _missing("Redis", "TEST_REDIS_URL", error)
    return REDIS_URL


def needs_rabbitmq() -> str:
    """The URL of a RabbitMQ server; call it first thing in a test or fixture."""
    try:
        with Connection(RABBITMQ_URL, connect_timeout=2) as connection:
            connection.connect()
    except Exception as error:  # noqa: BLE001 - kombu's errors depend on its transport
        _missing("RabbitMQ", "TEST_RABBITMQ_URL", error)
    return RABBITMQ_URL


@contextmanager
def mongodb(folder: Path) -> Iterator[str]:
    """The URL of a server that speaks MongoDB's protocol: the one that TEST_MONGODB_URL names, or one of our own.

    Our own is SecantusDB, which answers as MongoDB does and keeps what it has confirmed; it has no text indexes, and is
    slow with large collections.
    """
    if MONGODB_URL:
        yield MONGODB_URL.rstrip("/")
        return
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = ["secantusd-py", "--sync-on-commit", "--port", str(port), "--storage-path", str(folder / "mongodb")]
    with (folder / "mongodb.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        url = f"mongodb://127.0.0.1:{port}"
        client: MongoClient[dict[str, object]] = MongoClient(url, serverSelectionTimeoutMS=30_000)
        with client:
            client.admin.command("ping")
        yield url
    finally:
        process.terminate()
        process.wait(timeout=20)


def needs_postgres() -> str:
    """The URL of a PostgreSQL server where databases may be made; call it first thing in a test or fixture."""
    error = postgres_error()
    if error:
        _missing("PostgreSQL", "TEST_POSTGRES_URL", error)
    return POSTGRES_URL


def postgres_error() -> Exception | None:
    """What is the matter with the PostgreSQL server, if anything."""
    try:
        psycopg.connect(POSTGRES_URL, connect_timeout=3).close()
    except psycopg.Error as error:
        return error
    return None


def postgres_url(database: str) -> str:
    """The URL of another database of the PostgreSQL server."""
    return urlunsplit(urlsplit(POSTGRES_URL)._replace(path=f"/{database}"))


@contextmanager
def new_postgres_database(prefix: str = "cartwright_test") -> Iterator[str]:
    """The URL of an empty database of its own, dropped in the end: for tests that start processes."""
    needs_postgres()
    name = f"{prefix}_{secrets.token_hex(6)}"
    with psycopg.connect(POSTGRES_URL, autocommit=True) as server:
        server.execute(f'CREATE DATABASE "{name}"')
    try:
        yield postgres_url(name)
    finally:
        drop_postgres_databases(name)


def drop_postgres_databases(prefix: str) -> None:
    """Drop every database whose name starts so, also when somebody is still connected."""
    with psycopg.connect(POSTGRES_URL, autocommit=True) as server:
        names = server.execute("SELECT datname FROM pg_database WHERE starts_with(datname, %s)", [prefix]).fetchall()
        for (name,) in names:
            server.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


def needs_chromium() -> str:
    """The path of a Chromium browser; call it first thing in a test or fixture."""
    found = os.environ.get("TEST_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    if not found:
        _leave_out("There is no chromium; install it (Debian: apt-get install chromium) or say where in TEST_CHROMIUM.")
    return found


def needs_prometheus() -> str:
    """The path of Prometheus, which comes with promtool; call it first thing in a test or fixture."""
    found = shutil.which("prometheus")
    if not found or not shutil.which("promtool"):
        _leave_out("There is no prometheus with its promtool; install it (Debian: apt-get install prometheus).")
    return found


def needs_command(name: str) -> str:
    """The path of a command; call it first thing in a test or fixture."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}{os.pathsep}/usr/sbin")
    if not found:
        _leave_out(f"There is no {name}; install it (Debian: apt-get install {name}).")
    return found


def needs_root() -> None:
    """For tests that mount, or change their root; call it first thing in a test or fixture."""
    if os.geteuid() != 0:
        _leave_out("Only root may mount and change its root.")


def _missing(server: str, variable: str, error: Exception) -> NoReturn:
    _leave_out(f"{server} does not answer ({type(error).__name__}); set {variable} to one that does.")


def _leave_out(reason: str) -> NoReturn:
    if is_ci():
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)
