"""A service's database, by the service's name. Only config/databases.py knows aliases."""

from collections.abc import Sequence
from datetime import timedelta

from django.conf import settings
from django.db import connections, models, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models.expressions import CombinedExpression
from django.db.models.functions import Now


def alias_of(service: str) -> str:
    """The alias of the service's database."""
    alias: str = settings.SERVICE_DATABASES[service]
    return alias


def connection_of(service: str) -> BaseDatabaseWrapper:
    """The connection of this thread to the service's database."""
    return connections[alias_of(service)]


def atomic(service: str) -> transaction.Atomic:
    """One transaction on the service's database."""
    return transaction.atomic(using=alias_of(service))


def skips_locked(alias: str) -> bool:
    """Whether the database can pass over rows that others have locked; SQLite has nothing to pass over."""
    return connections[alias].features.has_select_for_update_skip_locked


def later(pause: timedelta) -> "models.ExpressionWrapper[CombinedExpression]":
    """That much after the present by the database's clock. Times that one process writes and another waits for are
    written and compared so: no two hosts have the same time.
    """
    return models.ExpressionWrapper(Now() + pause, output_field=models.DateTimeField())


def all_aliases() -> Sequence[str]:
    """Each relational database that holds a service's data, once: outbox and inbox are in each of them."""
    return tuple(dict.fromkeys(settings.SERVICE_DATABASES.values()))


def every_alias() -> Sequence[str]:
    """Each database, that of documents included."""
    catalogue = [settings.CATALOGUE_DATABASE] if settings.CATALOGUE_DATABASE else []
    return tuple(dict.fromkeys([*all_aliases(), *catalogue]))


def let_go() -> None:
    """Close the connections of this thread, which will wait for long: others may need them."""
    for connection in connections.all(initialized_only=True):
        if not connection.in_atomic_block:
            connection.close()
