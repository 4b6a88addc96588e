"""The addresses that belong to no app, and answers when something goes wrong."""

import json
import logging
import re
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from django.contrib.sessions.middleware import SessionMiddleware
from django.core.exceptions import BadRequest, PermissionDenied, SuspiciousOperation
from django.db import connections
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder
from django.db.utils import OperationalError
from django.http import Http404, HttpRequest, HttpResponse
from django.test import Client
from django.urls import path
from django.utils import translation
from pytest_django import DjangoCaptureOnCommitCallbacks
from pytest_django.fixtures import Settings

from apps.products.store import documents
from apps.users.interface import Client as ClientInfo
from apps.users.interface import InvalidToken, Role
from apps.users.tests.factories import PASSWORD, UserFactory
from config import problems, readiness, services, views
from config.urls import monolith
from tests.services import needs_rabbitmq, needs_redis

BROWSER = {"accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
REQUEST_ID = re.compile("[0-9a-f]{32}")
RAISED = {
    "error": RuntimeError("inner secret"),
    "missing": Http404("inner secret"),
    "denied": PermissionDenied("inner secret"),
    "suspicious": SuspiciousOperation("inner secret"),
    "bad": BadRequest("inner secret"),
}


def fail(request: HttpRequest, kind: str) -> HttpResponse:
    raise RAISED[kind]


urlpatterns = [path("api/fail/<kind>", fail), path("fail/<kind>", fail), *monolith.urlpatterns]
handler400, handler403, handler404, handler500 = views.bad_request, views.forbidden, views.not_found, views.server_error


@pytest.fixture
def client() -> Client:
    return Client(raise_request_exception=False)


@pytest.fixture
def failing(settings: Settings) -> None:
    """Addresses that raise."""
    settings.ROOT_URLCONF = __name__


def error(kind: str, code: str, detail: str) -> dict[str, Any]:
    return {"type": kind, "errors": [{"code": code, "detail": detail, "attr": None}]}


NOT_FOUND = error("client_error", "not_found", "There is nothing at this address.")


def test_the_landing_page_says_where_everything_is(client: Client) -> None:
    page = client.get("/").content.decode()

    places = (
        "/shop/",
        "/api/docs/",
        "/api/schema/",
        "/api/problems/",
        "/api/v1/products",
        "/admin/",
        "/health",
        "/ready",
    )
    for address in places:
        assert f'href="{address}"' in page
    assert "cartwright-demo" not in page


def test_in_development_the_landing_page_has_log_ins_and_a_quick_start(client: Client, settings: Settings) -> None:
    settings.DEBUG = True

    page = client.get("/").content.decode()

    assert "catalog@example.com" in page
    assert "cartwright-demo" in page
    assert "API=http://testserver/api/v1" in page


@pytest.mark.django_db
def test_every_address_of_the_landing_page_answers(client: Client) -> None:
    links = re.findall(r'<a [^>]*href="(/[^"]*)"', client.get("/").content.decode())

    assert {link: client.get(link, headers=BROWSER, follow=True).status_code for link in links} == dict.fromkeys(
        links, 200
    )


@pytest.mark.parametrize(("address", "home"), [("/admin", "/admin/"), ("/api/docs", "/api/docs/")])
def test_a_forgotten_slash(client: Client, address: str, home: str) -> None:
    response = client.get(address)

    assert (response.status_code, response["Location"]) == (302, home)


def test_health(client: Client) -> None:
    response = client.get("/health")

    assert response.status_code == 200
    assert response.json() == {"status": "ok"}
    assert "no-store" in response["Cache-Control"]


def database_names() -> list[str]:
    names = ["users_database", "products_database", "orders_database"]
    return [*names, "catalogue"] if documents.are_apart() else names


@pytest.mark.django_db(transaction=True)
def test_ready(client: Client) -> None:
    response = client.get("/ready")

    databases = dict.fromkeys(database_names(), "ok")
    assert response.json() == {"status": "ok", "checks": databases}
    assert response.status_code == 200


@pytest.mark.django_db(transaction=True)
def test_not_ready_while_migrations_are_pending(client: Client, settings: Settings) -> None:
    alias = settings.SERVICE_DATABASES["orders"]
    applied = MigrationRecorder(connections[alias])
    applied.record_unapplied("orders", "0001_initial")
    try:
        response = client.get("/ready")
    finally:
        applied.record_applied("orders", "0001_initial")

    assert response.status_code == 503
    assert response.json()["status"] == "unavailable"
    assert response.json()["checks"]["orders_database"] == "migrations pending"


@pytest.mark.django_db(transaction=True)
def test_readiness_reads_the_migrations_once(client: Client) -> None:
    readiness._migrations.cache_clear()
    with mock.patch.object(readiness, "MigrationLoader", wraps=MigrationLoader) as loader:
        assert [client.get("/ready").status_code for _ in range(3)] == [200, 200, 200]
    # Checks of several databases may begin at the same time, each before another has read them.
    assert 1 <= loader.call_count <= len(database_names())


@pytest.mark.django_db(transaction=True)
def test_not_ready_without_a_database(client: Client) -> None:
    with mock.patch.object(readiness, "MigrationRecorder", side_effect=OperationalError("password of secret is wrong")):
        response = client.get("/ready")

    databases = dict.fromkeys(database_names(), "unavailable")
    assert response.status_code == 503
    assert response.json() == {"status": "unavailable", "checks": databases}


@pytest.mark.django_db(transaction=True)
def test_readiness_does_not_wait_for_what_hangs(client: Client) -> None:
    release = threading.Event()
    with (
        mock.patch.object(readiness, "_SECONDS", 0.2),
        mock.patch.object(readiness, "_database", side_effect=lambda _: release.wait(10)),
    ):
        response = client.get("/ready")
    release.set()

    assert response.status_code == 503
    assert response.json()["checks"]["users_database"] == "no answer in time"


@pytest.mark.django_db(transaction=True)
def test_ready_with_cache_and_broker(client: Client, settings: Settings) -> None:
    settings.REDIS_URL = needs_redis()
    settings.BROKER_URL = needs_rabbitmq()

    checks = client.get("/ready").json()["checks"]

    assert (checks["cache"], checks["broker"]) == ("ok", "ok")


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("broker", ["redis://:secret@127.0.0.1:1/0", "amqp://guest:secret@127.0.0.1:1//"])
def test_not_ready_without_cache_and_broker(client: Client, settings: Settings, broker: str) -> None:
    settings.REDIS_URL = "redis://:secret@127.0.0.1:1/0"
    settings.BROKER_URL = broker

    response = client.get("/ready")

    assert response.status_code == 503
    assert response.json()["checks"]["cache"] == "unavailable"
    assert response.json()["checks"]["broker"] == "unavailable"
    assert "secret" not in response.content.decode()


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_an_unknown_address_of_the_api(method: str) -> None:
    client = Client(enforce_csrf_checks=True)

    response = client.generic(method, "/api/v1/nothing", headers=BROWSER)

    assert response.status_code == 404
    assert response.json() == NOT_FOUND
    assert REQUEST_ID.fullmatch(response["X-Request-ID"])


@pytest.mark.parametrize("debug", [True, False])
def test_an_unknown_page_is_a_page_for_people_and_json_for_programs(
    client: Client, settings: Settings, debug: bool
) -> None:
    settings.DEBUG = debug

    page = client.get("/nothing", headers=BROWSER)
    answer = client.get("/nothing", headers={"accept": "application/json"})

    assert page.status_code == answer.status_code == 404
    assert page["Content-Type"] == "text/html; charset=utf-8"
    assert "There is nothing at this address." in page.content.decode()
    assert answer.json() == NOT_FOUND


@pytest.mark.parametrize("debug", [True, False])
@pytest.mark.parametrize(
    ("kind", "status", "expected"),
    [
        ("error", 500, error("server_error", "error", "Something went wrong on our side. It has been noted.")),
        ("missing", 404, NOT_FOUND),
        ("denied", 403, error("client_error", "permission_denied", "You may not do this.")),
        ("suspicious", 400, error("client_error", "bad_request", "The request cannot be understood.")),
    ],
)
@pytest.mark.usefixtures("failing")
def test_what_a_view_raises_below_api(
    client: Client, settings: Settings, kind: str, status: int, expected: dict[str, Any], debug: bool
) -> None:
    settings.DEBUG = debug

    response = client.get(f"/api/fail/{kind}", headers=BROWSER)

    assert response.status_code == status
    assert response.json() == expected
    assert REQUEST_ID.fullmatch(response["X-Request-ID"])


@pytest.mark.usefixtures("failing")
def test_an_error_below_api_is_logged_with_its_traceback(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    client.get("/api/fail/error")

    records = [record for record in caplog.records if record.name == "django.request"]
    assert [(record.levelname, record.exc_info is not None) for record in records] == [("ERROR", True)]


@pytest.mark.parametrize("debug", [True, False])
@pytest.mark.parametrize(
    ("kind", "status", "sentence"),
    [
        ("error", 500, "Something went wrong on our side."),
        ("missing", 404, "There is nothing at this address."),
        ("denied", 403, "You may not do this."),
        ("suspicious", 400, "The request cannot be understood."),
        ("bad", 400, "The request cannot be understood."),
    ],
)
@pytest.mark.usefixtures("failing")
def test_what_a_view_raises_elsewhere_is_a_page_for_people_and_json_for_programs(
    client: Client, settings: Settings, kind: str, status: int, sentence: str, debug: bool
) -> None:
    settings.DEBUG = debug

    page = client.get(f"/fail/{kind}", headers=BROWSER)
    answer = client.get(f"/fail/{kind}")

    assert page.status_code == answer.status_code == status
    assert sentence in page.content.decode()
    assert sentence in answer.json()["errors"][0]["detail"]
    assert "secret" not in page.content.decode() + answer.content.decode()
    assert REQUEST_ID.fullmatch(page["X-Request-ID"])


@pytest.mark.django_db
@pytest.mark.parametrize("browser", [True, False])
def test_an_error_around_a_view_shows_no_traceback(client: Client, settings: Settings, browser: bool) -> None:
    settings.DEBUG = True

    with mock.patch.object(SessionMiddleware, "process_response", side_effect=RuntimeError("inner secret")):
        response = client.get("/health", headers=BROWSER if browser else {})

    assert response.status_code == 500
    assert "Something went wrong on our side." in response.content.decode()
    assert "secret" not in response.content.decode()


@pytest.mark.django_db
@pytest.mark.parametrize("address", ["/admin/users/user/abc/password/", "/admin/nothing/"])
def test_an_unknown_staff_page(client: Client, settings: Settings, address: str) -> None:
    settings.DEBUG = True
    client.force_login(UserFactory(role=Role.ADMIN))

    response = client.get(address, headers=BROWSER)

    assert response.status_code == 404
    assert "There is nothing at this address." in response.content.decode()


def test_an_unknown_host(client: Client) -> None:
    response = client.get("/api/v1/products", headers={"host": "evil.example.com"})

    assert response.status_code == 400
    assert response.json()["errors"][0]["code"] == "invalid_host"
    assert REQUEST_ID.fullmatch(response["X-Request-ID"])


@pytest.mark.parametrize("address", ["/api/v1/products?q=%00", "/api/v1/products/%00", "/health?x=%00"])
def test_a_null_character(client: Client, address: str) -> None:
    response = client.get(address)

    assert response.status_code == 400
    assert response.json()["errors"][0]["code"] == "null_character"
    assert REQUEST_ID.fullmatch(response["X-Request-ID"])


def test_a_body_that_is_too_large(client: Client, settings: Settings) -> None:
    content = json.dumps("x" * settings.DATA_UPLOAD_MAX_MEMORY_SIZE)

    response = client.post("/api/v1/users/login", content, content_type="application/json")

    assert response.status_code == 413
    assert response.json()["errors"][0]["code"] == "request_too_large"
    assert REQUEST_ID.fullmatch(response["X-Request-ID"])


def test_a_method_that_is_not_allowed(client: Client) -> None:
    for address in ("/health", "/api/v1/users/login"):
        response = client.put(address)

        assert response.status_code == 405
        assert REQUEST_ID.fullmatch(response["X-Request-ID"])


@pytest.mark.parametrize("address", ["/", "/health", "/ready", "/media/a", "/api/docs/", "/api/schema/"])
@pytest.mark.parametrize("method", ["POST", "OPTIONS", "DELETE"])
def test_pages_that_are_only_read(address: str, method: str) -> None:
    client = Client(enforce_csrf_checks=True)

    answer = client.generic(method, address)
    page = client.generic(method, address, headers=BROWSER)

    assert answer.status_code == page.status_code == 405
    assert answer["Allow"] == "GET, HEAD"
    assert answer.json() == error("client_error", "method_not_allowed", "This address is only read: GET or HEAD.")
    assert page["Content-Type"].startswith("application/json" if address.startswith("/api/") else "text/html")
    assert "This address is only read" in page.content.decode()


@pytest.mark.django_db
@pytest.mark.parametrize("page", ["/admin/login/", "/api/auth/login/"])
def test_log_in_pages_say_that_an_address_works(client: Client, page: str) -> None:
    content = client.get(page).content.decode()

    assert re.search(r">\s*E-mail or username\W", content)
    assert not re.search(r">\s*Username\W", content)


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("asked", "home"), [("", "/admin/"), ("?next=/admin/orders/order/", "/admin/orders/order/"), ("?next=//x.y", "/")]
)
def test_after_log_in_staff_are_where_they_wanted_to_be(client: Client, asked: str, home: str) -> None:
    user = UserFactory(role=Role.ORDER_STAFF)
    page = client.get(f"/admin/login/{asked}").content.decode()
    hidden = re.search(r'name="next" value="([^"]*)"', page)
    assert hidden

    given = {"username": user.email, "password": PASSWORD, "next": hidden[1]}
    response = client.post(f"/admin/login/{asked}", given)

    assert (response.status_code, response["Location"]) == (302, home)


@pytest.mark.django_db
@pytest.mark.parametrize(("path", "status"), [("/admin/nothing/", 404), ("/admin/products/product/", 403)])
def test_error_pages_of_staff_look_like_theirs(client: Client, path: str, status: int) -> None:
    client.force_login(UserFactory(role=Role.ORDER_STAFF))

    response = client.get(path, headers=BROWSER)

    page = response.content.decode()
    assert response.status_code == status
    assert "unfold/css/styles.css" in page
    assert 'href="/admin/"' in page
    chinese = client.get(path, headers={**BROWSER, "accept-language": "zh-CN"}).content.decode()
    assert 'lang="zh-hans"' in chinese


@pytest.mark.django_db
def test_after_log_in_without_a_page_to_go_to(client: Client) -> None:
    user = UserFactory()

    response = client.post("/api/auth/login/", {"username": user.email, "password": PASSWORD})

    assert (response.status_code, response["Location"]) == (302, "/")


@pytest.mark.django_db
def test_a_password_that_staff_change_themselves_ends_their_sessions(
    client: Client, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    user = UserFactory(role=Role.ORDER_STAFF)
    pair = services.users().log_in(login=user.email, password=PASSWORD, client=ClientInfo("", ""))
    client.force_login(user)
    given = {"old_password": PASSWORD, "new_password1": "another horse 8", "new_password2": "another horse 8"}
    assert client.get("/admin/password_change/").status_code == 200

    with django_capture_on_commit_callbacks(execute=True):
        response = client.post("/admin/password_change/", given)

    assert (response.status_code, response["Location"]) == (302, "/admin/password_change/done/")
    assert client.get("/admin/").status_code == 200
    with pytest.raises(InvalidToken):
        services.users().authenticate(access_token=pair.access)


def test_nothing_is_logged_twice() -> None:
    assert [name for name in ("django", "django.request") if logging.getLogger(name).handlers] == []


def test_a_request_id_is_handed_through(client: Client) -> None:
    response = client.get("/health", headers={"x-request-id": "0123456789abcdef0123456789abcdef"})

    assert response["X-Request-ID"] == "0123456789abcdef0123456789abcdef"


@pytest.mark.parametrize("forged", ["x", "a\\nb", "'; DROP TABLE", "0" * 5000])
def test_a_forged_request_id_is_replaced(client: Client, forged: str) -> None:
    response = client.get("/health", headers={"x-request-id": forged})

    assert REQUEST_ID.fullmatch(response["X-Request-ID"])
    assert response["X-Request-ID"] != forged


def test_media(client: Client, settings: Settings, tmp_path: Path) -> None:
    settings.MEDIA_ROOT = tmp_path / "media"
    (tmp_path / "media").mkdir()
    (tmp_path / "media" / "a.svg").write_text("<svg/>")
    (tmp_path / "secret").write_text("secret")

    response = client.get("/media/a.svg")

    assert response.getvalue() == b"<svg/>"
    assert response["Content-Security-Policy"] == "default-src 'none'; sandbox"
    assert response["X-Content-Type-Options"] == "nosniff"
    assert response["Cache-Control"] == "public, max-age=31536000, immutable"
    settings.DEBUG = True
    for address in ("", "missing", "../secret", "%2e%2e/secret", "..%2fsecret", "x" * 5000):
        missing = client.get(f"/media/{address}")
        assert (missing.status_code, missing.json()) == (404, NOT_FOUND)
        assert "Cache-Control" not in missing


def test_the_page_of_error_codes(client: Client) -> None:
    page = client.get("/api/problems/").content.decode()

    row = page[page.index('id="out_of_stock"') :].partition("</tr>")[0]
    assert re.findall("<td>(.*?)</td>", row) == [
        "<code>out_of_stock</code>",
        "409",
        "<small>RESOURCE_EXHAUSTED</small>",
        "Names each line that is short, with what is available.",
        "Order no more than each <code>detail</code> says is available.",
    ]


# It lists what is loaded: in a process of its own, which has no errors of tests.
@pytest.mark.once
def test_docs_list_every_error_code() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "config.problems", "--check"], capture_output=True, text=True, check=False
    )

    assert (result.returncode, result.stderr) == (0, "")
    assert {entry.code for entry in problems.entries()} <= set(
        re.findall("^. `([a-z_]+)`", problems.PAGE.read_text(), re.MULTILINE)
    )


@pytest.mark.django_db
def test_a_page_leaves_its_language_to_nobody(client: Client) -> None:
    assert 'lang="zh-hans"' in client.get("/admin/login/", headers={"accept-language": "zh-hans"}).content.decode()
    assert translation.get_language() == "en"
