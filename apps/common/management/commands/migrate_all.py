"""`manage.py migrate_all`: bring every database in use up to date."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pymongo
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import OperationalError, connections
from django.db.migrations.executor import MigrationExecutor
from psycopg.errors import LockNotAvailable

from apps.common.databases import every_alias

_LONGEST_SECONDS = 3600
_LOCK_SECONDS = 5
_LOCK = 0x6361727477726967  # "cartwrig": one number for all shops, as locks are a database's own


class Command(BaseCommand):
    help = "Apply the migrations to each database in use; prints one line."

    def handle(self, *args: object, **options: object) -> None:
        try:
            with ExitStack() as alone:
                for alias in every_alias():
                    alone.enter_context(_alone(alias))
                applied = sum(_migrate(alias) for alias in every_alias())
        except OperationalError as error:
            if isinstance(error.__cause__, LockNotAvailable):
                raise CommandError(
                    f"A table was in use for longer than {_LOCK_SECONDS} s, by a transaction that stays open. Nothing "
                    "waits behind us: run it again."
                ) from error
            raise CommandError(f"A database cannot be used: {' '.join(str(error).split())}") from error
        count = len(every_alias())
        databases = "1 database" if count == 1 else f"{count} databases"
        self.stdout.write(f"{databases} up to date, {applied} migrations applied")


@contextmanager
def _alone(alias: str) -> Iterator[None]:
    """On PostgreSQL, wait until nobody else brings this database up to date: of several that start at once, the others
    find nothing left to do. SQLite lets one write anyway; documents wait with the tables of products.
    """
    connection = connections[alias]
    if connection.vendor != "postgresql":
        yield
        return
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s)", [_LOCK])
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_unlock(%s)", [_LOCK])


def _migrate(alias: str) -> int:
    """Apply what is pending; returns how many migrations that was."""
    # An index over a large collection takes longer than anybody waits for an answer.
    with pymongo.timeout(_LONGEST_SECONDS):
        return _apply(alias)


@contextmanager
def _waiting_for_locks(alias: str) -> Iterator[None]:
    """Give up a lock that is not to be had soon: on PostgreSQL whoever wants to read the table waits behind us."""
    connection = connections[alias]
    if connection.vendor != "postgresql":
        yield
        return
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('lock_timeout', %s, false)", [f"{_LOCK_SECONDS}s"])
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute("RESET lock_timeout")


def _apply(alias: str) -> int:
    executor = MigrationExecutor(connections[alias])
    pending = executor.migration_plan(executor.loader.graph.leaf_nodes())
    if pending:
        with _waiting_for_locks(alias):
            call_command("migrate", database=alias, verbosity=0, interactive=False)
    return len(pending)
