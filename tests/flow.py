"""Helpers for tests that cross services."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from io import StringIO

from django.core.management import call_command
from django.core.signals import request_finished
from django.db import close_old_connections, connections
from django.db.models import F, Model
from django.http.response import HttpResponseBase
from django.test.utils import CaptureQueriesContext
from rest_framework.test import APIClient

from apps.common.databases import all_aliases, every_alias
from apps.events.relay import relay_batch
from apps.orders.models import Order, Payment, Refund
from apps.products.models import Reservation
from apps.products.store import documents
from apps.users.models import User

_WAITING: dict[type[Model], tuple[str, ...]] = {
    Order: ("expires_at", "change_began_at"),
    Payment: ("updated_at", "asked_at"),
    Refund: ("updated_at", "asked_at"),
    Reservation: ("expires_at",),
}
# What each request of somebody who is logged in sends besides, while no Redis says that the session lives.
SESSION = 1
_FRAMES = ("SAVEPOINT", "RELEASE", "ROLLBACK", "BEGIN", "COMMIT")


class LoggedIn(APIClient):
    """A client with the access token of `user`."""

    user: User


def deliver_events() -> None:
    """Relay until nothing is left: what a running shop does within a second."""
    while sum(relay_batch(alias) for alias in all_aliases()):
        pass


def audit() -> str:
    """The audit's report; raises when a rule is violated."""
    report = StringIO()
    call_command("audit", stdout=report, no_color=True)
    return report.getvalue()


def hang_up(response: HttpResponseBase) -> None:
    """Have done with a response, as the server has when its client has gone; the test's own connections stay."""
    request_finished.disconnect(close_old_connections)
    try:
        response.close()
    finally:
        request_finished.connect(close_old_connections)


def let_pass(time: timedelta) -> None:
    """Let that much time pass for orders, money and stock: they go by the database's clock, which no test can turn."""
    for model, columns in _WAITING.items():
        model._default_manager.update(**{column: F(column) - time for column in columns})


@contextmanager
def statements() -> Iterator[list[str]]:
    """The statements that every database was sent, without those that only begin or end a transaction."""
    sent: list[str] = []
    with ExitStack() as stack:
        captures = [stack.enter_context(CaptureQueriesContext(connections[alias])) for alias in every_alias()]
        yield sent
        for capture in captures:
            sent += [query["sql"] for query in capture.captured_queries if not query["sql"].startswith(_FRAMES)]


@contextmanager
def sends(count: int, on_mongodb: int | None = None) -> Iterator[None]:
    """Asserts how many statements all databases together are sent; with documents in MongoDB that may be others."""
    with statements() as sent:
        yield
    wanted = on_mongodb if documents.are_apart() and on_mongodb is not None else count
    assert len(sent) == wanted, "\n".join(statement.strip()[:200] for statement in sent)


def everything_stored() -> dict[tuple[str, str], list[str]]:
    """Every row of every table."""
    stored = {}
    for alias in all_aliases():
        with connections[alias].cursor() as cursor:
            for table in connections[alias].introspection.table_names(cursor):
                cursor.execute(f'SELECT * FROM "{table}"')
                stored[alias, table] = sorted(map(repr, cursor.fetchall()))
    return stored
