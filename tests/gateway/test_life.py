"""What happens when the gateway starts before the services, and when it stops."""

import http.client
from contextlib import closing
from pathlib import Path

import pytest

from tests.gateway import checks
from tests.gateway.gateway import Backend, Running, running
from tests.gateway.upstreams import Answer

pytestmark = pytest.mark.once


def tell(gateway: Running, path: str) -> int:
    """A command for the admin page."""
    with closing(http.client.HTTPConnection("127.0.0.1", gateway.admin_port, timeout=5)) as connection:
        connection.request("POST", path)
        return connection.getresponse().status


def test_without_the_keys_of_tokens_strangers_are_served(backend: Backend, tmp_path: Path) -> None:
    for users in backend["users"]:
        users.has_keys = False

    with running(backend, tmp_path) as gateway:
        reply = gateway.ask("GET", "/api/v1/products", gateway.bearer())
        checks.refused(reply, 503, "service_unavailable")
        assert reply.headers["retry-after"] == "5"
        assert gateway.get("/api/v1/products").status == 200

        for users in backend["users"]:
            users.has_keys = True
        gateway.eventually(lambda: gateway.ask("GET", "/api/v1/products", gateway.bearer()).status == 200)


def test_services_are_asked_by_a_host_that_they_allow(backend: Backend, tmp_path: Path) -> None:
    with running(backend, tmp_path, host="shop.example.com"):
        (users,) = backend["users"]
        # Another gateway of the tests may ask the same service, as localhost.
        assert users.asked_as >= {("/health", "shop.example.com"), ("/.well-known/jwks.json", "shop.example.com")}


def test_a_gateway_that_is_drained_finishes_what_it_began(backend: Backend, tmp_path: Path) -> None:
    with running(backend, tmp_path) as gateway:
        release = checks.hang(gateway, "admin")
        connection = gateway.open("GET", "/slow")
        gateway.eventually(lambda: backend["admin"][0].begun == 1)

        # As README.md says.
        assert tell(gateway, "/healthcheck/fail") == 200
        checks.refused(gateway.get("/health"), 503, "service_unavailable")
        assert tell(gateway, "/drain_listeners?graceful&skip_exit") == 200
        backend["admin"][0].answer = lambda _: Answer()
        assert gateway.get("/quick").headers["connection"] == "close"
        release.set()

        assert connection.getresponse().status == 200
