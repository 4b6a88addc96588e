"""SQLite's limit on bound values, asked of SQLite itself."""

import sqlite3

from django.db.backends.sqlite3.features import DatabaseFeatures as DjangoFeatures


class DatabaseFeatures(DjangoFeatures):
    """Django 5.2 assumes the limit of 999 that SQLite had long ago, so that an order of 1,000 lines would be inserted
    in a dozen statements. Django 6.0 asks the connection; this does the same until we are there.
    """

    @property
    def max_query_params(self) -> int:  # type: ignore[override]
        self.connection.ensure_connection()
        limit: int = self.connection.connection.getlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER)
        return limit
