"""Django's SQLite backend with the true limit of bound values (see `features.py`), and which knows its connections."""

from threading import Lock
from typing import Any
from weakref import WeakSet

from django.db.backends.sqlite3.base import DatabaseWrapper as DjangoWrapper

from config.sqlite.features import DatabaseFeatures

_lock = Lock()
_wrappers: "WeakSet[DatabaseWrapper]" = WeakSet()


class DatabaseWrapper(DjangoWrapper):
    features_class = DatabaseFeatures

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:  # noqa: ANN401 - SQLite's
        connection = super().get_new_connection(conn_params)
        with _lock:
            _wrappers.add(self)
        return connection


def open_connections(alias: str) -> int:
    """How many threads of this process have a connection to the database."""
    with _lock:
        return sum(wrapper.alias == alias and wrapper.connection is not None for wrapper in _wrappers)
