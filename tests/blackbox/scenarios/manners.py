"""What holds of every call, whichever service answers it."""

from collections.abc import Iterator
from typing import Any

from tests.blackbox.callers import Caller
from tests.blackbox.matching import SOMETHING, Mismatch, check, has, text
from tests.blackbox.stage import Stage

_JSON = {"Content-Type": "application/json"}
_MEGABYTE = 1024 * 1024
_SAFE = {
    "x_content_type_options": "nosniff",
    "x_frame_options": "DENY",
    "referrer_policy": "same-origin",
    "cross_origin_opener_policy": "same-origin",
}
# One that no shop names.
_FOREIGN = "https://foreign.invalid"


def _writers(stage: Stage) -> Iterator[tuple[Caller, str]]:
    """For each service: who may send something where."""
    yield stage.guest, "users/login"
    yield stage.catalog, "products"
    yield stage.catalog, "categories"
    yield stage.customer, "orders"
    yield stage.admin, "webhooks/endpoints"


def _readers(stage: Stage) -> Iterator[tuple[Caller, str]]:
    """A list of each service."""
    yield stage.admin, "users"
    yield stage.customer, "users/activity"
    yield stage.guest, "products"
    yield stage.guest, "categories"
    yield stage.customer, "orders"
    yield stage.admin, "webhooks/endpoints"


def bodies_that_cannot_be_read(stage: Stage) -> None:
    deep = b'{"a": ' + b"[" * 40 + b"]" * 40 + b"}"
    unreadable = (b"{", b"", b'{"a": NaN}', b"\xff\xfe", b"[" * 2000, deep)
    for caller, path in _writers(stage):
        for content in unreadable:
            answer = caller.post(path, content=content, headers=_JSON)
            if content:
                answer.refused(400, "parse_error")
            else:
                answer.said(400, has(type="validation_error"))
        for value in (b"[]", b"5", b'"text"', b"null"):
            caller.post(path, content=value, headers=_JSON).said(400, has(type="validation_error"))
        caller.post(path, content=b"<a/>", headers={"Content-Type": "application/xml"}).refused(
            415, "unsupported_media_type"
        )
        caller.post(path, {"nonsense": 1}).refused(400, "unknown_field", "nonsense")


def bodies_that_are_too_large(stage: Stage) -> None:
    largest = b'{"nonsense": 1}'.ljust(_MEGABYTE)
    for caller, path in _writers(stage):
        caller.post(path, content=largest, headers=_JSON).refused(400, "unknown_field", "nonsense")
        answer = caller.post(path, content=largest + b" ", headers=_JSON)
        answer.refused(413, "request_too_large")
        # Without its length at the beginning.
        caller.post(path, content=iter([b"{}"]), headers=_JSON).refused(411, "length_required")


def addresses_that_cannot_be_read(stage: Stage) -> None:
    for caller, path in _readers(stage):
        caller.get(f"{path}?a=%00").refused(400, "null_character")
        caller.get(f"{path}?{'a=1&' * 1001}", is_noted=False).refused(400, "bad_request")
    for path in ("users/nobody/at/home", "products/none/at/all", "orders/none/at/all", "payments/x", "webhooks/x"):
        stage.guest.get(path).refused(404, "not_found")
        stage.admin.post(path, {}).refused(404, "not_found")


def pages_of_lists(stage: Stage) -> None:
    for caller, path in _readers(stage):
        has_cursor = path in {"users/activity", "orders"}
        shape: dict[str, Any] = {} if has_cursor else {"count": SOMETHING}
        first = caller.get(path, is_noted=False).said(200, content_type="application/json").body
        check({"next", "previous", "results", *shape}, set(first), path)
        for size, most in (("1", 1), ("1000", 100), ("0", 20), ("-1", 20), ("many", 20)):
            page = caller.get(f"{path}?page_size={size}", is_noted=False).said(200)
            if len(page["results"]) > most:
                raise Mismatch(f"{path}?page_size={size} has {len(page['results'])} results")
        for wrong in ("cursor=nonsense",) if has_cursor else ("page=0", "page=-1", "page=x", "page=100000000"):
            caller.get(f"{path}?{wrong}").refused(404, "not_found")


def reading_only_the_head(stage: Stage) -> None:
    for caller, path in _readers(stage):
        caller.send("HEAD", path, is_noted=False).said(200, None, content_type="application/json")
        options = caller.send("OPTIONS", path, is_noted=False).said(200)
        check(True, {"GET", "HEAD", "OPTIONS"} <= set(options.headers["Allow"].split(", ")), f"OPTIONS {path}")


def forms_that_are_not_spoken(stage: Stage) -> None:
    for caller, path in _readers(stage):
        caller.get(path, headers={"Accept": "application/xml"}).refused(406, "not_acceptable")
        answer = caller.get(path, headers={"Accept": "application/json; q=0.5, */*; q=0.1"}, is_noted=False)
        answer.said(200, content_type=text("JSON", r"application/json.*"))


def answers_are_safe_to_open(stage: Stage) -> None:
    for caller, path in _readers(stage):
        caller.get(path, is_noted=False).said(200, **_SAFE)
        caller.get(f"{path}/nothing/here").said(404, has(type="client_error"), **_SAFE)
    stage.guest.get("/.well-known/jwks.json", is_noted=False).said(200, **_SAFE)


def scripts_of_other_origins(stage: Stage) -> None:
    allowed = stage.target.origin
    for caller, path in _readers(stage):
        foreign = caller.get(path, headers={"Origin": _FOREIGN}, is_noted=False)
        foreign.said(200, access_control_allow_origin=None)
        if allowed:
            own = caller.get(path, headers={"Origin": allowed}, is_noted=False)
            exposed = text("headers", r".*ETag.*Idempotent-Replayed.*X-Request-ID.*")
            own.said(200, access_control_allow_origin=allowed, access_control_expose_headers=exposed)
            check(True, "origin" in own.headers["Vary"].lower(), "the answer varies by the origin")
    if allowed:
        _asking_first(stage, allowed)


def _asking_first(stage: Stage, allowed: str) -> None:
    """A browser asks first whether a script may send that. What else is allowed there is not compared: a gateway that
    speaks gRPC-Web allows its headers, too.
    """
    wish = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,idempotency-key"}
    for path in ("users/login", "products", "orders", "webhooks/endpoints"):
        granted = stage.guest.send("OPTIONS", path, headers={"Origin": allowed, **wish}, is_noted=False)
        methods, headers = text("methods", r".*PATCH.*POST.*"), text("headers", r".*authorization.*idempotency-key.*")
        granted.said(
            200,
            access_control_allow_origin=allowed,
            access_control_allow_methods=methods,
            access_control_allow_headers=headers,
        )
        refused = stage.guest.send("OPTIONS", path, headers={"Origin": _FOREIGN, **wish})
        refused.said(200, access_control_allow_origin=None)


SCENARIOS = (
    bodies_that_cannot_be_read,
    bodies_that_are_too_large,
    addresses_that_cannot_be_read,
    pages_of_lists,
    reading_only_the_head,
    forms_that_are_not_spoken,
    answers_are_safe_to_open,
    scripts_of_other_origins,
)
