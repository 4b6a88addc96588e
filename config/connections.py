"""How many connections to databases there are."""

from collections.abc import Iterator
from functools import partial

from django.conf import settings
from django.db import connections

from apps.common.databases import all_aliases
from apps.common.readings import Gauge, Reading, Sample
from config.sqlite import base

ACTIVE = Gauge(
    "db_connections_active",
    "Connections to the databases of the services that run here, whoever holds them; on SQLite, those of the process "
    "that answers.",
)
_DATABASE = ("database",)
SERVER = Gauge("db_server_connections", "Connections to the whole PostgreSQL server behind a database.", _DATABASE)
SERVER_MAX = Gauge("db_server_connections_max", "How many connections that server takes.", _DATABASE)

_COUNT = """
    SELECT sum(numbackends) FILTER (WHERE datname = current_database()), sum(numbackends),
        current_setting('max_connections')::int
    FROM pg_stat_database
"""


def _of_server(alias: str) -> Iterator[Sample]:
    with connections[alias].cursor() as cursor:
        cursor.execute(_COUNT)
        ours, all_of_them, most = cursor.fetchone()
    yield ACTIVE.of(ours)
    yield SERVER.of(all_of_them, alias)
    yield SERVER_MAX.of(most, alias)


def _of_file(alias: str) -> Iterator[Sample]:
    yield ACTIVE.of(base.open_connections(alias))


def _is_file(alias: str) -> bool:
    engine: str = settings.DATABASES[alias]["ENGINE"]
    return engine == "config.sqlite"


READINGS = [
    Reading(alias, [ACTIVE], partial(_of_file, alias))
    if _is_file(alias)
    else Reading(alias, [ACTIVE, SERVER, SERVER_MAX], partial(_of_server, alias))
    for alias in all_aliases()
]
