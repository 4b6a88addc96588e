"""`manage.py migrate_all`: bring every database in use up to date."""

from django.core.management import call_command
from django.core.management.base import BaseCommand
from django.db import connections
from django.db.migrations.executor import MigrationExecutor

from apps.common.databases import all_aliases


class Command(BaseCommand):
    help = "Apply the migrations to each database in use; prints one line."

    def handle(self, *args: object, **options: object) -> None:
        applied = sum(_migrate(alias) for alias in all_aliases())
        count = len(all_aliases())
        databases = "1 database" if count == 1 else f"{count} databases"
        self.stdout.write(f"{databases} up to date, {applied} migrations applied")


def _migrate(alias: str) -> int:
    """Apply what is pending; returns how many migrations that was."""
    executor = MigrationExecutor(connections[alias])
    pending = executor.migration_plan(executor.loader.graph.leaf_nodes())
    if pending:
        call_command("migrate", database=alias, verbosity=0, interactive=False)
    return len(pending)
