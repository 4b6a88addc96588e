"""The OpenAPI document: valid, complete, and true about what texts must look like."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from drf_spectacular.drainage import GENERATOR_STATS
from drf_spectacular.generators import SchemaGenerator
from openapi_spec_validator import OpenAPIV31SpecValidator

from apps.common.api.fields import LineField, TextField

pytestmark = pytest.mark.once
METHODS = {"get", "put", "patch", "post", "delete"}


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    made: dict[str, Any] = SchemaGenerator().get_schema(request=None, public=True)  # type: ignore[no-untyped-call]
    return made


def operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, item in document["paths"].items():
        for method in METHODS & item.keys():
            yield f"{method.upper()} {path}", item[method]


def everything(part: object) -> Iterator[dict[str, Any]]:
    """Every object in the document."""
    if isinstance(part, dict):
        yield part
    for below in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
        yield from everything(below)


def operation(document: dict[str, Any], method: str, path: str) -> dict[str, Any]:
    found: dict[str, Any] = document["paths"][f"/api/v1/{path}"][method]
    return found


def test_it_is_valid_openapi_3_1(document: dict[str, Any]) -> None:
    assert document["openapi"] == "3.1.0"
    assert [error.message for error in OpenAPIV31SpecValidator(document).iter_errors()] == []


def test_it_is_made_without_a_warning(document: dict[str, Any]) -> None:
    assert not GENERATOR_STATS._warn_cache
    assert not GENERATOR_STATS._error_cache


def test_every_operation_has_a_summary_and_one_tag(document: dict[str, Any]) -> None:
    assert [name for name, each in operations(document) if not each.get("summary") or len(each["tags"]) != 1] == []


def test_nothing_of_openapi_3_0_is_left(document: dict[str, Any]) -> None:
    assert [part for part in everything(document) if part.get("nullable") is True] == []


def test_every_refusal_has_the_shape_of_errors(document: dict[str, Any]) -> None:
    error = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    other = [
        f"{name} {status}"
        for name, each in operations(document)
        for status, answer in each["responses"].items()
        if status >= "400" and answer["content"] != error
    ]

    assert other == []


@pytest.mark.parametrize(
    ("method", "path", "statuses"),
    [
        ("post", "users/login", "200 400 401 429 503"),
        ("post", "users/register", "201 400 409 429 503"),
        ("get", "products", "200 400 401 404 429 503"),
        ("patch", "products/{product_id}", "200 400 401 403 404 409 412 429 503"),
        ("post", "products/{product_id}/images", "201 400 401 403 404 409 413 429 503"),
        ("patch", "products/{product_id}/images", "200 400 401 403 404 429 503"),
        ("delete", "products/{product_id}/images/{image_id}", "204 401 403 404 429 503"),
        ("post", "products/import", "200 202 400 401 403 413 429 503"),
        ("get", "products/export", "200 400 401 403 429 503"),
        ("get", "products/imports/{import_id}/errors", "200 401 403 404 429 503"),
        ("post", "orders", "201 400 401 409 422 429 503"),
        ("post", "orders/{order_id}/pay", "200 400 401 402 404 409 422 429 503"),
        ("post", "orders/{order_id}/refund", "200 400 401 402 403 404 409 422 429 503"),
        ("get", "orders/{order_id}/refunds", "200 401 404 429 503"),
        ("post", "payments/webhooks/{provider}", "200 400 404 429 503"),
        ("get", "orders/reports/sales", "200 400 401 403 429 503"),
        ("post", "orders/{order_id}/ship", "200 400 401 403 404 409 429 503"),
    ],
)
def test_the_statuses_of_a_call(document: dict[str, Any], method: str, path: str, statuses: str) -> None:
    assert " ".join(operation(document, method, path)["responses"]) == statuses


@pytest.mark.parametrize(
    ("method", "path", "asked", "status", "answered"),
    [
        ("post", "orders", {"Idempotency-Key"}, "201", {"Idempotent-Replayed", "Location", "X-Request-ID"}),
        ("post", "orders/{order_id}/refund", {"Idempotency-Key"}, "200", {"Idempotent-Replayed", "X-Request-ID"}),
        ("post", "products/import", set(), "202", {"Location", "X-Request-ID"}),
        ("get", "products/{product_id}", {"If-None-Match"}, "304", {"ETag", "X-Request-ID"}),
        ("put", "products/{product_id}", {"If-Match"}, "200", {"ETag", "X-Request-ID"}),
        ("delete", "products/{product_id}", {"If-Match"}, "204", {"X-Request-ID"}),
        ("post", "users/login", set(), "429", {"Retry-After", "X-Request-ID"}),
    ],
)
def test_headers(
    document: dict[str, Any], method: str, path: str, asked: set[str], status: str, answered: set[str]
) -> None:
    found = operation(document, method, path)

    assert {each["name"] for each in found.get("parameters", []) if each["in"] == "header"} == asked
    assert set(found["responses"][status]["headers"]) == answered


def test_reading_the_catalogue_needs_no_log_in(document: dict[str, Any]) -> None:
    assert {} in operation(document, "get", "products")["security"]
    assert {} not in operation(document, "post", "products")["security"]


def test_patterns_say_what_is_allowed(document: dict[str, Any]) -> None:
    """Texts of any script pass, in the dialect of JSON Schema: `\\w` would be ASCII only."""
    amount = r"^\d{1,11}(\.\d{1,3})?$"
    patterns = {part["pattern"] for part in everything(document) if isinstance(part.get("pattern"), str)}

    assert patterns == {amount}
    assert [text for text in ("0", "9.99", "12345678901.001") if not re.search(amount, text)] == []
    assert [text for text in ("-1", "", ".", "1.2345") if re.search(amount, text)] == []


@pytest.mark.parametrize("field", [LineField(), TextField()])
@pytest.mark.parametrize("character", ["\x01", "\x1b", "\x7f"])
def test_control_characters(field: LineField | TextField, character: str) -> None:
    with pytest.raises(Exception, match="Control characters") as caught:
        field.run_validation(f"a{character}b")

    assert caught.value.get_codes() == ["control_characters"]  # type: ignore[attr-defined]


def test_line_breaks() -> None:
    assert TextField().run_validation("a\tb\r\nc") == "a\tb\r\nc"
    for character in "\t\r\n":
        with pytest.raises(Exception, match="Line breaks") as caught:
            LineField().run_validation(f"a{character}b")
        assert caught.value.get_codes() == ["control_characters"]  # type: ignore[attr-defined]


def test_a_picture_is_sent_as_a_file(document: dict[str, Any]) -> None:
    (kind,) = operation(document, "post", "products/{product_id}/images")["requestBody"]["content"].items()

    assert kind[0] == "multipart/form-data"
    schema = document["components"]["schemas"][kind[1]["schema"]["$ref"].rpartition("/")[2]]
    assert schema["properties"]["image"] == {"type": "string", "format": "binary"}
    assert schema["required"] == ["image"]
