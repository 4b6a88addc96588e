"""Copies of a database in SQLite: a file, by SQLite's own interface for back-ups."""

import os
import shutil
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

from django.db import connections

from apps.common.backups.store import CannotCopy, Store

_PATIENCE = 30


class SQLiteStore(Store):
    def __init__(self, alias: str) -> None:
        super().__init__(alias)
        self._path = Path(str(connections[alias].settings_dict["NAME"]))
        self._holder = self._open()
        self._reader = self._open()

    def hold(self) -> None:
        try:
            self._holder.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            raise CannotCopy(f"{self._path} cannot be held: {error}.") from error

    def fix(self) -> None:
        self._reader.execute("BEGIN")
        self._reader.execute("SELECT count(*) FROM sqlite_master").fetchone()  # the first read chooses the moment

    def release(self) -> None:
        self._holder.rollback()

    def count(self) -> Mapping[str, int]:
        tables = self._reader.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name").fetchall()
        return {
            name: self._reader.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0]  # noqa: S608 - its own name
            for (name,) in tables
        }

    def copy(self, place: Path) -> None:
        with closing(sqlite3.connect(place)) as target:
            self._reader.backup(target)

    def restore(self, place: Path) -> None:
        self.close()
        draft = self._path.with_suffix(".restoring")
        shutil.copyfile(place, draft)
        for rest in ("-wal", "-shm"):
            Path(f"{self._path}{rest}").unlink(missing_ok=True)
        os.replace(draft, self._path)  # noqa: PTH105 - a rename that replaces
        self._holder, self._reader = self._open(), self._open()

    def close(self) -> None:
        self._holder.close()
        self._reader.close()

    def _open(self) -> sqlite3.Connection:
        return sqlite3.connect(self._path, timeout=_PATIENCE, isolation_level=None)
