"""`manage.py migrate_all`: bring every database in use up to date."""

import pymongo
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import OperationalError, connections
from django.db.migrations.executor import MigrationExecutor

from apps.common.databases import every_alias

_LONGEST_SECONDS = 3600


class Command(BaseCommand):
    help = "Apply the migrations to each database in use; prints one line."

    def handle(self, *args: object, **options: object) -> None:
        try:
            applied = sum(_migrate(alias) for alias in every_alias())
        except OperationalError as error:
            raise CommandError(f"A database cannot be used: {' '.join(str(error).split())}") from error
        count = len(every_alias())
        databases = "1 database" if count == 1 else f"{count} databases"
        self.stdout.write(f"{databases} up to date, {applied} migrations applied")


def _migrate(alias: str) -> int:
    """Apply what is pending; returns how many migrations that was."""
    # An index over a large collection takes longer than anybody waits for an answer.
    with pymongo.timeout(_LONGEST_SECONDS):
        return _apply(alias)


def _apply(alias: str) -> int:
    executor = MigrationExecutor(connections[alias])
    pending = executor.migration_plan(executor.loader.graph.leaf_nodes())
    if pending:
        call_command("migrate", database=alias, verbosity=0, interactive=False)
    return len(pending)
