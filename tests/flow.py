"""Helpers for tests that cross services."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from io import StringIO

from django.core.management import call_command
from django.core.signals import request_finished
from django.db import close_old_connections, connections
from django.http.response import HttpResponseBase
from django.test.utils import CaptureQueriesContext
from rest_framework.test import APIClient

from apps.common.databases import all_aliases, every_alias
from apps.events.relay import relay_batch
from apps.products.store import documents
from apps.users.models import User

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
