"""`python -m tests.migrations`: refuse a migration that the release before it could not work with, or that locks a
table for long, as django-migration-linter knows them.

It looks at the statements for PostgreSQL, and needs no server. docs/upgrading.md says how to do what is refused.
"""

import os
import sys
from collections.abc import Mapping, Sequence

import django
from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, connections
from django.db.backends.postgresql.base import DatabaseWrapper
from django.db.backends.postgresql.schema import DatabaseSchemaEditor
from django.db.migrations import Migration
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.state import ProjectState
from django_migration_linter.sql_analyser.analyser import analyse_sql_statements
from django_migration_linter.sql_analyser.postgresql import PostgresqlAnalyser

# The last of each app that is as old as its tables: with these a shop begins.
BASELINE: Mapping[str, str] = {
    "common": "0001_initial",
    "events": "0001_initial",
    "orders": "0002_search_indexes",
    "products": "0002_indexes",
    "users": "0001_initial",
}
# What a person has looked at, with the reason why it may be: ("orders", "0007_…"): "a table of ten rows".
ACCEPTED: Mapping[tuple[str, str], str] = {}


def main() -> int:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings.monolith")
    django.setup()
    loader = MigrationLoader(None)
    failed = 0
    for (app, name), migration in sorted(loader.disk_migrations.items()):
        if app not in BASELINE or name <= BASELINE[app] or (app, name) in ACCEPTED:
            continue
        before = loader.project_state((app, name), at_end=False)
        for sentence in troubles(migration, before):
            failed += 1
            print(f"{app}.{name}: {sentence}")
    if failed:
        print("docs/upgrading.md says how to do it in two releases.")
    return 1 if failed else 0


def troubles(migration: Migration, before: ProjectState) -> Sequence[str]:
    """What is the matter with a migration that is applied to a database in the state `before`."""
    home = settings.SERVICE_DATABASES.get(migration.app_label, DEFAULT_DB_ALIAS)
    editor = _Written(DatabaseWrapper({**connections[home].settings_dict}, alias=home), atomic=False)
    editor.__enter__()
    migration.apply(before.clone(), editor, collect_sql=True)
    statements = [*editor.written, *map(str, editor.deferred_sql)]
    if migration.atomic:
        statements = ["BEGIN;", *statements, "COMMIT;"]
    errors, _, warnings = analyse_sql_statements(PostgresqlAnalyser, statements)
    return [issue.message for issue in (*errors, *warnings)]


class _Written(DatabaseSchemaEditor):
    """Keeps the statements for PostgreSQL, whatever database there is; Django's own would connect to quote a value."""

    def __init__(self, connection: DatabaseWrapper, *, atomic: bool) -> None:
        super().__init__(connection, collect_sql=True, atomic=atomic)
        self.written: list[str] = []

    def execute(self, sql: object, params: Sequence[object] | None = ()) -> None:
        text = str(sql)
        self.written.append(text % tuple(self.quote_value(each) for each in params) if params else text)


if __name__ == "__main__":
    sys.exit(main())
