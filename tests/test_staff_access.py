"""Whom the staff pages let in, by the table in `tests/permissions`: every address below /admin/, as everybody."""

import re
from collections.abc import Iterator
from uuid import uuid4

import pytest
from django.contrib import admin
from django.test import Client
from django.urls import URLPattern, URLResolver

from apps.users.interface import Role
from apps.users.tests.factories import UserFactory
from tests.flow import everything_stored
from tests.permissions.staff import ROLES, may_open, rows

pytestmark = pytest.mark.django_db(databases="__all__")
ROLE_OF = {"catalog": Role.CATALOG_STAFF, "orders": Role.ORDER_STAFF, "admin": Role.ADMIN}
# They are for whoever is there, also to log in and out.
FOR_EVERYBODY = {"/admin/login/", "/admin/logout/"}


def addresses() -> list[str]:
    """Every address of the staff pages, with an id of nothing where one belongs."""
    return sorted(set(_below("/admin/", admin.site.get_urls())) - FOR_EVERYBODY)


def _below(prefix: str, patterns: "list[URLPattern | URLResolver]") -> Iterator[str]:
    for each in patterns:
        path = prefix + re.sub(r"<[^>]*>", str(uuid4()), str(each.pattern))
        if isinstance(each, URLResolver):
            yield from _below(path, each.url_patterns)
        elif "(?P" not in path:
            yield path


def logged_in(role: Role) -> Client:
    client = Client()
    client.force_login(UserFactory(role=role), backend="apps.users.backends.EmailOrUsernameBackend")
    return client


def is_let_in(client: Client, address: str, method: str = "get") -> bool:
    """Whether the page answers by itself, be it that there is no such thing. What leads elsewhere tells nothing."""
    answer = getattr(client, method)(address)
    assert answer.status_code < 500, address
    return answer.status_code not in {302, 403}


@pytest.mark.parametrize("role", ROLES)
def test_who_is_let_in(role: str) -> None:
    client = logged_in(ROLE_OF[role])
    refused = [each for each in addresses() if not may_open(role, each)]
    before = everything_stored()
    assert [(each, how) for each in refused for how in ("get", "post") if is_let_in(client, each, how)] == []
    assert everything_stored() == before
    lists = [f"/admin/{model._meta.app_label}/{model._meta.model_name}/" for model in admin.site._registry]
    assert [each for each in lists if may_open(role, each) and client.get(each).status_code != 200] == []


def test_nobody_else_is_let_in() -> None:
    customer = logged_in(Role.USER)
    before = everything_stored()
    for client in (Client(), customer):
        assert [each for each in addresses() for how in ("get", "post") if is_let_in(client, each, how)] == []
    assert everything_stored() == before


def test_what_is_not_there_breaks_no_page() -> None:
    client = logged_in(Role.ADMIN)
    assert {client.get(each).status_code for each in addresses()} <= {200, 302, 403, 404, 405}


def test_no_line_of_the_table_is_of_nothing() -> None:
    assert [beginning for beginning, _ in rows() if not any(each.startswith(beginning) for each in addresses())] == []
