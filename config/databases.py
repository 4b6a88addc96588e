"""Which database holds what: a table of aliases from the environment, and the router that keeps services apart.

Code outside this file never names an alias. Models of a service reach its database through the router;
`apps.common.databases.alias_of("orders")` answers the rest.
"""

from pathlib import Path
from typing import Any

from django.conf import settings
from django.db.models import Model

from config import env
from config.profiles import Profile

# Documents: with a MONGODB_URL they have a database of their own.
_CATALOGUE = "catalogue"
_DOCUMENTS = frozenset({"product", "category"})

# The staff admin's own tables refer to the user, so they live where users live.
_HOME_OF_APP = {
    "users": "users",
    "products": "products",
    "orders": "orders",
    "admin": "users",
    "auth": "users",
    "contenttypes": "users",
    "sessions": "users",
}
# Outbox, inbox and idempotency keys commit with the data of the service that writes them.
_IN_EVERY_DATABASE = frozenset({"events", "common"})

_SQLITE_OPTIONS = {
    # Measured: with these, eight writers see no "database is locked"; with SQLite's defaults, thousands.
    "transaction_mode": "IMMEDIATE",
    "timeout": 30,
    "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
}

_POSTGRESQL_OPTIONS = {
    # A server that is lost on the network is noticed within seconds, and what was asked of it answered by 503. (One
    # that hangs, and whose system still acknowledges what is sent, is for the supervisor of that server to end.)
    "connect_timeout": 3,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
    # Prepared statements: a statement that a connection has seen five times is planned no more.
    "server_side_binding": True,
    "prepare_threshold": 5,
    # Compiling a statement (its JIT) takes longer than any of ours runs.
    "options": "-c jit=off",
}


_MONGODB_OPTIONS = {
    "serverSelectionTimeoutMS": 2000,
    "connectTimeoutMS": 2000,
    "socketTimeoutMS": 4000,
    "w": "majority",
    # Whoever has written reads what was written, whatever the URL says.
    "readPreference": "primary",
}


def from_environment(data_dir: Path, profile: Profile) -> tuple[dict[str, dict[str, Any]], dict[str, str], str]:
    """`DATABASES`, the alias of each service that runs here, and that of the catalogue's documents: none
    without the products service.

    Services with one URL share one alias. `default` is that of the first: where users run, Django's own tables are
    there.
    """
    shared = env.database("DATABASE_URL")
    databases: dict[str, dict[str, Any]] = {}
    aliases: dict[str, str] = {}
    for service in profile.services:
        file = f"{service if profile.is_split else 'cartwright'}.sqlite3"
        embedded = {"ENGINE": "django.db.backends.sqlite3", "NAME": str(data_dir / file)}
        config = _complete(env.database(f"{service.upper()}_DATABASE_URL") or shared or embedded)
        known = next((alias for alias, other in databases.items() if other == config), None)
        alias = known or ("default" if not databases else service)
        databases[alias] = config
        aliases[service] = alias
    documents = env.mongodb("MONGODB_URL") if profile.runs("products") else None
    if documents is None:
        return databases, aliases, aliases.get("products", "")
    databases[_CATALOGUE] = {**documents, "OPTIONS": _MONGODB_OPTIONS}
    return databases, aliases, _CATALOGUE


def _complete(config: dict[str, Any]) -> dict[str, Any]:
    """Add what every connection needs: persistent connections, and safe concurrency on SQLite."""
    if config["ENGINE"] == "django.db.backends.sqlite3":
        return {
            **config,
            "ENGINE": "config.sqlite",
            "OPTIONS": {**_SQLITE_OPTIONS, **config.get("OPTIONS", {})},
            "CONN_MAX_AGE": None,
            # Tests open several connections at once, which an in-memory database cannot serve.
            "TEST": {"NAME": f"{config['NAME']}.test"},
        }
    return {
        **config,
        "OPTIONS": {**_POSTGRESQL_OPTIONS, **config.get("OPTIONS", {})},
        "CONN_MAX_AGE": None,
        "CONN_HEALTH_CHECKS": True,
    }


class ServiceRouter:
    """Sends each model to the database of its service, and refuses relations across databases."""

    def db_for_read(self, model: type[Model], **hints: object) -> str | None:
        return _alias(model._meta.app_label, model._meta.model_name)

    db_for_write = db_for_read

    def allow_relation(self, one: Model, other: Model, **hints: object) -> bool | None:
        return self.db_for_read(type(one)) == self.db_for_read(type(other))

    def allow_migrate(self, db: str, app_label: str, model_name: str | None = None, **hints: object) -> bool | None:
        if app_label in _IN_EVERY_DATABASE:
            return db in settings.SERVICE_DATABASES.values()
        if db == settings.CATALOGUE_DATABASE and db not in settings.SERVICE_DATABASES.values():
            return app_label == "products" and (model_name is None or model_name in _DOCUMENTS)
        # Tables for documents are made, too: a catalogue can be copied back (`manage.py copy_catalogue`).
        return settings.SERVICE_DATABASES[_HOME_OF_APP[app_label]] == db


def _alias(app_label: str, model_name: str | None) -> str | None:
    if app_label in _IN_EVERY_DATABASE:
        return None
    if app_label == "products" and model_name in _DOCUMENTS:
        return str(settings.CATALOGUE_DATABASE)
    return str(settings.SERVICE_DATABASES[_HOME_OF_APP[app_label]])
