"""Copies of a database in PostgreSQL: `pg_dump` of one snapshot, and `pg_restore`."""

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import LiteralString

import psycopg
from django.conf import settings
from django.db import connections
from psycopg import pq, sql
from psycopg.conninfo import make_conninfo

from apps.common.backups.store import CannotCopy, Store

_PATIENCE: LiteralString = "10s"
_TABLES = "SELECT tablename FROM pg_tables WHERE schemaname = current_schema() ORDER BY tablename"


class PostgreSQLStore(Store):
    def __init__(self, alias: str) -> None:
        super().__init__(alias)
        known = {option.keyword.decode() for option in pq.Conninfo.get_defaults()}
        given = connections[alias].get_connection_params()
        self._parameters = {name: str(value) for name, value in given.items() if name in known and value is not None}
        self._holder = psycopg.connect(**self._parameters)  # type: ignore[arg-type] # what libpq knows
        self._reader = psycopg.connect(**self._parameters)  # type: ignore[arg-type]
        self._reader.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        self._reader.read_only = True
        self._snapshot = ""

    def hold(self) -> None:
        """Whoever writes to the outbox waits, which is the last thing that a change does, and is there only if another
        service hears of it. Nobody has two outboxes at a time, so nobody waits in a circle.
        """
        try:
            self._holder.execute(sql.SQL("SET LOCAL lock_timeout = {}").format(_PATIENCE))
            self._holder.execute(sql.SQL("LOCK TABLE {} IN EXCLUSIVE MODE").format(sql.Identifier(settings.OUTBOX)))
        except psycopg.errors.LockNotAvailable as error:
            raise CannotCopy(
                f"The database {self.alias} could not be held: a change has been open too long."
            ) from error

    def fix(self) -> None:
        row = self._reader.execute("SELECT pg_export_snapshot()").fetchone()
        self._snapshot = str(row[0]) if row else ""

    def release(self) -> None:
        self._holder.rollback()

    def count(self) -> Mapping[str, int]:
        counts = {}
        for (name,) in self._reader.execute(_TABLES).fetchall():
            row = self._reader.execute(sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(name))).fetchone()
            counts[str(name)] = int(row[0]) if row else 0
        return counts

    def copy(self, place: Path) -> None:
        self._run("pg_dump", "--format=custom", f"--snapshot={self._snapshot}", f"--file={place}")

    def restore(self, place: Path) -> None:
        self._reader.rollback()
        # Comments on extensions are their owner's.
        self._run("pg_restore", "--single-transaction", "--exit-on-error", "--no-comments", str(place))

    def close(self) -> None:
        self._holder.close()
        self._reader.close()

    def _run(self, program: str, *arguments: str) -> None:
        """A program of PostgreSQL's. The password is handed over where nobody sees it."""
        if shutil.which(program) is None:
            raise CannotCopy(f"{program} is missing: install PostgreSQL's client (Debian: postgresql-client).")
        open_parameters = {name: value for name, value in self._parameters.items() if name != "password"}
        target = make_conninfo("", **open_parameters)
        command: Sequence[str] = [program, "--no-owner", "--no-privileges", f"--dbname={target}", *arguments]
        password = {"PGPASSWORD": self._parameters["password"]} if "password" in self._parameters else {}
        done = subprocess.run(  # noqa: S603 - a command of ours
            command, env={**os.environ, **password}, check=False, capture_output=True, text=True
        )
        if done.returncode:
            raise CannotCopy(f"{program} of {self.alias} failed: {done.stderr.strip()}")
