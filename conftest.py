"""Fixtures for every suite."""

from collections.abc import Callable, Iterator
from typing import NoReturn
from uuid import uuid4

import pytest
import redis
from django.core.cache import cache
from pytest_django import Settings
from rest_framework.test import APIClient

from apps.common.databases import connection_of
from apps.products.models import Category, Product
from apps.products.services import announcing
from apps.products.store import documents
from apps.users.interface import Client, Role
from apps.users.tests.factories import PASSWORD, UserFactory
from config import services
from tests.flow import LoggedIn
from tests.services import needs_redis


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """A test with `django_db` may use every database: in one layout services share one, in the other they do not."""
    about_mongodb = [item for item in items if item.get_closest_marker("mongodb")]
    if about_mongodb and not documents.are_apart():
        config.hook.pytest_deselected(items=about_mongodb)
        items[:] = [item for item in items if item not in about_mongodb]
    about_postgresql = [item for item in items if item.get_closest_marker("postgresql")]
    if about_postgresql and connection_of("orders").vendor != "postgresql":
        config.hook.pytest_deselected(items=about_postgresql)
        items[:] = [item for item in items if item not in about_postgresql]
    # What takes longest begins first, so that nobody waits for it in the end.
    items.sort(key=lambda item: item.get_closest_marker("e2e") is None)
    for item in items:
        mark = item.get_closest_marker("django_db")
        if mark and "databases" not in mark.kwargs:
            item.add_marker(pytest.mark.django_db(*mark.args, **{**mark.kwargs, "databases": "__all__"}), append=False)


@pytest.fixture(autouse=True)
def _clean_cache() -> Iterator[None]:
    cache.clear()
    yield
    cache.clear()


@pytest.fixture(scope="session", autouse=True)
def _nobody_empties_redis() -> Iterator[None]:
    """`cache.clear()` of django-redis empties the whole database: the queues too, of a test that runs beside this."""

    def refuse(*_: object, **__: object) -> NoReturn:
        pytest.fail('The Redis is not this test\'s alone: use cache.delete_pattern("*").')

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(redis.Redis, "flushdb", refuse)
        patch.setattr(redis.Redis, "flushall", refuse)
        yield


@pytest.fixture
def shared_cache(settings: Settings) -> Iterator[None]:
    """A Redis of this test's own, as far as its keys go, as when there is a `REDIS_URL`."""
    settings.CACHES = {
        "default": {
            "BACKEND": "django_redis.cache.RedisCache",
            "LOCATION": needs_redis(),
            "KEY_PREFIX": f"test-{uuid4().hex}",
        }
    }
    settings.SHARED_CACHE = True
    yield
    cache.delete_pattern("*")  # type: ignore[attr-defined] # django-redis


@pytest.fixture(scope="session", autouse=True)
def _documents_without_transactions() -> None:
    """Have each test undone by its transaction, as without MongoDB, and not by emptying every table."""
    if documents.are_apart():
        vars(documents.connection().features)["supports_transactions"] = True


@pytest.fixture(autouse=True)
def _no_documents(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """MongoDB rolls nothing back: what a test has left there is deleted. And a test's own transaction never commits:
    what follows a commit there follows at once.
    """
    mark = request.node.get_closest_marker("django_db")
    if documents.are_apart() and mark and not mark.kwargs.get("transaction"):
        monkeypatch.setattr(announcing, "on_commit", lambda call, **_: call())
    yield
    if documents.are_apart() and mark:
        for model in (Product, Category):
            documents.connection().database[model._meta.db_table].delete_many({})  # type: ignore[attr-defined]


@pytest.fixture
def api() -> APIClient:
    """A client that nobody has logged in with."""
    return APIClient()


@pytest.fixture
def log_in(db: None) -> Callable[..., LoggedIn]:
    """Makes a user of a role and returns a client with that user's real access token; `client.user` is the user."""

    def make(role: Role = Role.USER, **fields: object) -> LoggedIn:
        user = UserFactory(role=role, **fields)
        client_info = Client(address="127.0.0.1", agent="")
        pair = services.users().log_in(login=user.email, password=PASSWORD, client=client_info)
        client = LoggedIn()
        client.credentials(HTTP_AUTHORIZATION=f"Bearer {pair.access}")
        client.user = user
        return client

    return make
