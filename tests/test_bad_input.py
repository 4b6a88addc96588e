"""What no client should send, and commands without a database: clear refusals, never a traceback."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from django.conf import settings
from django.core.exceptions import RequestDataTooBig, TooManyFieldsSent
from django.http import HttpRequest, HttpResponse
from django.test import Client, RequestFactory
from drf_spectacular.generators import SchemaGenerator
from pytest_django.fixtures import Settings
from rest_framework.exceptions import ValidationError
from rest_framework.test import APIClient

from apps.common.api.fields import LineField, TextField
from apps.common.api.parsers import StrictJSONParser
from apps.common.middleware import RequestGuard
from apps.users.interface import Role

BROWSER = {"accept": "text/html"}
PRODUCTS = "/api/v1/products"
LOGIN = "/api/v1/users/login"
BAD_REQUEST = {
    "type": "client_error",
    "errors": [{"code": "bad_request", "detail": "The request cannot be understood.", "attr": None}],
}


def code_of(content: bytes) -> str:
    code: str = json.loads(content)["errors"][0]["code"]
    return code


class BrokenStream(BytesIO):
    """A client that goes away, as most servers tell it."""

    def read(self, size: int | None = -1, /) -> bytes:
        raise ConnectionResetError


def never(request: HttpRequest) -> HttpResponse:
    raise AssertionError("This must not be reached.")


ORIGIN = {"origin": "https://shop.example.com"}
_FAR_TOO_LARGE = {"content-length": "99999999"}


@pytest.mark.parametrize(
    ("method", "url", "headers", "status"),
    [
        ("GET", "/health", {}, 200),
        ("GET", "/nothing", {}, 404),
        ("DELETE", "/health", {}, 405),
        ("POST", LOGIN, {"transfer-encoding": "chunked"}, 411),
        ("POST", LOGIN, _FAR_TOO_LARGE, 413),
        ("OPTIONS", LOGIN, {**_FAR_TOO_LARGE, "access-control-request-method": "POST"}, 413),
        ("GET", "/health", {"host": "evil.example.com"}, 400),
        ("GET", "/health?%00", {}, 400),
    ],
)
def test_every_answer_has_the_headers_of_browsers(
    client: Client, settings: Settings, method: str, url: str, headers: dict[str, str], status: int
) -> None:
    settings.CORS_ALLOWED_ORIGINS = [ORIGIN["origin"]]

    response = client.generic(method, url, headers={**ORIGIN, **headers})

    assert response.status_code == status
    assert response["Access-Control-Allow-Origin"] == ORIGIN["origin"]
    assert response["Access-Control-Expose-Headers"] == ", ".join(settings.CORS_EXPOSE_HEADERS)
    assert (response["X-Content-Type-Options"], response["X-Frame-Options"]) == ("nosniff", "DENY")
    assert (response["Referrer-Policy"], response["Cross-Origin-Opener-Policy"]) == ("same-origin", "same-origin")
    assert re.fullmatch("[0-9a-f]{32}", response["X-Request-ID"])


class TestBodies:
    @pytest.mark.parametrize("method", ["GET", "POST"])
    def test_a_body_of_unknown_length(self, client: Client, method: str) -> None:
        response = client.generic(method, LOGIN, headers={"transfer-encoding": "chunked"})

        assert (response.status_code, code_of(response.content)) == (411, "length_required")

    @pytest.mark.parametrize(("server", "connection"), [("Granian", "close"), ("WSGIServer/0.2", None)])
    def test_a_body_that_stays_unread_ends_the_connection(
        self, client: Client, server: str, connection: str | None
    ) -> None:
        content = "x" * (settings.DATA_UPLOAD_MAX_MEMORY_SIZE + 1)

        response = client.post(LOGIN, content, content_type="application/json", SERVER_SOFTWARE=server)

        assert (response.status_code, response.get("Connection")) == (413, connection)

    def test_the_body_is_read_before_anything_refuses(self) -> None:
        request = RequestFactory().post("/nothing", b'{"a": 1}', content_type="application/json")
        stream = request.environ["wsgi.input"]

        RequestGuard(lambda _: HttpResponse())(request)

        assert stream.read() == b""

    @pytest.mark.parametrize("stream", [BrokenStream(), BytesIO(b"a=1")], ids=["raises", "ends early"])
    def test_a_client_that_goes_away(self, stream: BytesIO) -> None:
        request = RequestFactory().post("/", b"a=1&b=2", content_type="application/x-www-form-urlencoded")
        request._stream = stream

        response = RequestGuard(never)(request)

        assert (response.status_code, code_of(response.content)) == (400, "incomplete_body")

    @pytest.mark.parametrize(
        ("address", "kind", "is_taken"),
        [
            (f"{PRODUCTS}/1/images", "multipart/form-data; boundary=x", True),
            (f"{PRODUCTS}/import", "multipart/form-data; boundary=x", True),
            (f"{PRODUCTS}/import", "text/csv", True),
            ("/admin/products/product/add/", "multipart/form-data; boundary=x", True),
            (f"{PRODUCTS}/1/images", "application/json", False),
            (f"{PRODUCTS}/1/images/2", "multipart/form-data; boundary=x", False),
            (f"/x{PRODUCTS}/1/images", "multipart/form-data; boundary=x", False),
            ("/admin/login/", "multipart/form-data; boundary=x", False),
            (PRODUCTS, "text/csv", False),
        ],
    )
    def test_files_are_read_where_they_belong(self, address: str, kind: str, is_taken: bool) -> None:
        head = b'--x\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
        content = head + b"x" * settings.DATA_UPLOAD_MAX_MEMORY_SIZE + b"\r\n--x--\r\n"
        request = RequestFactory().post(address, content, content_type=kind)

        response = RequestGuard(lambda _: HttpResponse())(request)

        assert response.status_code == (200 if is_taken else 413)
        assert not hasattr(request, "_body")

    def test_a_file_waits_on_disk_and_is_read_by_the_view(self) -> None:
        content = b"x" * (settings.DATA_UPLOAD_MAX_MEMORY_SIZE + 1)
        request = RequestFactory().post(f"{PRODUCTS}/import", content, content_type="text/csv")
        seen = []

        def view(request: HttpRequest) -> HttpResponse:
            file: Any = request._stream
            seen.append((file._rolled, request.read(), file))
            return HttpResponse()

        RequestGuard(view)(request)

        ((is_on_disk, read, file),) = seen
        assert (is_on_disk, read, file.closed) == (True, content, True)

    @pytest.mark.django_db
    @pytest.mark.parametrize(("levels", "status"), [(32, 400), (33, 400), (500, 400), (5000, 400)])
    def test_deep_json(self, log_in: Callable[..., APIClient], levels: int, status: int) -> None:
        content = '{"items": ' + "[" * (levels - 1) + "]" * (levels - 1) + "}"

        response = log_in().generic(
            "POST", "/api/v1/orders", content, content_type="application/json", HTTP_IDEMPOTENCY_KEY=str(levels)
        )

        assert response.status_code == status
        assert (code_of(response.content) == "parse_error") == (levels > 32)
        if levels in {33, 500}:
            assert response.json()["errors"][0]["detail"] == "The body is nested too deeply: more than 32 levels."


class TestTooManyFields:
    @pytest.mark.parametrize("address", [PRODUCTS, "/", "/admin/login/"])
    def test_parameters(self, client: Client, address: str) -> None:
        response = client.get(f"{address}?{'a=1&' * 1001}", headers={"accept": "application/json"})

        assert (response.status_code, response.json()) == (400, BAD_REQUEST)

    @pytest.mark.parametrize("address", [LOGIN, "/admin/login/", "/api/auth/login/"])
    @pytest.mark.parametrize("debug", [True, False])
    def test_form_fields(self, client: Client, settings: Settings, address: str, debug: bool) -> None:
        settings.DEBUG = debug

        response = client.post(address, "a=1&" * 1001, content_type="application/x-www-form-urlencoded")

        assert (response.status_code, response.json()) == (400, BAD_REQUEST)

    @pytest.mark.parametrize(
        "kind", ["application/x-www-form-urlencoded; charset=latin-1", "multipart/form-data; boundary=\xff"]
    )
    def test_forms_that_cannot_be_read(self, client: Client, kind: str) -> None:
        response = client.post("/admin/login/", b"a=1", content_type=kind)

        assert (response.status_code, response.json()) == (400, BAD_REQUEST)


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [(TooManyFieldsSent(), 400, "bad_request"), (RequestDataTooBig(), 413, "request_too_large")],
)
def test_what_django_finds_suspicious_while_a_view_runs(error: Exception, status: int, code: str) -> None:
    with mock.patch.object(StrictJSONParser, "parse", side_effect=error):
        response = APIClient().post(LOGIN, {})

    assert (response.status_code, code_of(response.content)) == (status, code)


class TestCharacters:
    @pytest.mark.parametrize("field", [LineField(), TextField()])
    @pytest.mark.parametrize("character", "\0\x01\x1b\x7f\x80\x85\x9f\u202a\u202e\u2066\u2069\u2028\u2029")
    def test_refused_once(self, field: LineField | TextField, character: str) -> None:
        with pytest.raises(ValidationError) as caught:
            field.run_validation(f"a{character}b")

        assert caught.value.get_codes() == ["control_characters"]

    @pytest.mark.parametrize("text", ["👩\u200d🔧", "क्\u200dष", "می\u200cخواهم", "a\N{NO-BREAK SPACE}b"])
    def test_kept(self, text: str) -> None:
        assert LineField().run_validation(text) == text
        assert TextField().run_validation(text) == text


@pytest.mark.django_db
class TestNumbers:
    @pytest.mark.parametrize("number", [2**53, -(2**53), 2**64, 2**70, 1e308, -1e16])
    def test_an_attribute_that_is_too_large(self, log_in: Callable[..., APIClient], number: float) -> None:
        staff = log_in(Role.CATALOG_STAFF)

        response = staff.post(PRODUCTS, {"name": "A", "price": "1", "attributes": {"a": number}})

        assert (response.status_code, code_of(response.content)) == (400, "invalid_attributes")
        assert staff.get(PRODUCTS).json()["count"] == 0

    @pytest.mark.parametrize("number", [2**53 - 1, -(2**53) + 1, 0.5, -1e15, True])
    def test_an_attribute_of_any_other_size(self, log_in: Callable[..., APIClient], number: float) -> None:
        staff = log_in(Role.CATALOG_STAFF)

        assert staff.post(PRODUCTS, {"name": "A", "price": "1", "attributes": {"a": number}}).status_code == 201
        assert staff.get(PRODUCTS).json()["results"][0]["attributes"] == {"a": number}


@pytest.fixture
def no_database(tmp_path: Path) -> dict[str, str]:
    """The environment of a shop whose database has no tables."""
    others = {name: text for name, text in os.environ.items() if not name.endswith("_URL")}
    return {**others, "DATA_DIR": str(tmp_path), "DJANGO_SETTINGS_MODULE": "config.settings.monolith"}


@pytest.mark.once
class TestCommands:
    @pytest.mark.parametrize("command", ["audit", "seed_demo"])
    def test_without_tables(self, no_database: dict[str, str], command: str) -> None:
        result = _manage(no_database, command)

        assert result.returncode == 1
        assert result.stderr.startswith("cartwright: The database cannot be used: no such table")
        assert result.stderr.endswith(" Run manage.py migrate_all first.\n")
        assert result.stderr.count("\n") == 1

    def test_with_traceback(self, no_database: dict[str, str]) -> None:
        result = _manage(no_database, "audit", "--traceback")

        assert result.returncode == 1
        assert result.stderr.startswith("Traceback")


def _manage(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "manage.py", *arguments]
    return subprocess.run(
        command, cwd=settings.BASE_DIR, env=environment, capture_output=True, text=True, check=False, timeout=60
    )


@pytest.mark.once
def test_what_is_busy_says_when_to_ask_again() -> None:
    paths = SchemaGenerator().get_schema(request=None, public=True)["paths"]  # type: ignore[no-untyped-call]

    documented = {
        (method, path)
        for path, item in paths.items()
        for method, each in item.items()
        if method != "parameters" and "Retry-After" in each["responses"].get("409", {}).get("headers", {})
    }

    orders = "/api/v1/orders"
    assert ("post", orders) in documented
    assert ("post", f"{orders}/{{order_id}}/ship") in documented
    assert ("post", PRODUCTS) not in documented
