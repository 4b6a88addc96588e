"""Endpoints that hear of events, as admins manage them."""

import json
from typing import Any

from tests.blackbox.matching import ANYTHING, COUNT, ID, TIME, check, each, has, text
from tests.blackbox.stage import NOBODY, Stage

SECRET = text("secret", r"whsec_[A-Za-z0-9+/=]{32,}")
# Nobody can be reached there (RFC 6761), so that nothing is sent to anybody.
_URL = "https://shop.invalid/hooks"
_PATH = "webhooks/endpoints"


def _endpoint(**fields: object) -> dict[str, Any]:
    usual = {"id": ID, "url": _URL, "types": [], "description": "", "state": "active", "reason": ""}
    return {**usual, "failing_since": None, "created_at": TIME, **fields}


def managing_an_endpoint(stage: Stage) -> None:
    owner = {"owner_email": "erp@example.com"}
    body = {"url": _URL, "types": ["order.paid"], "description": stage.name("erp "), **owner}
    made = stage.admin.post(_PATH, body).said(201, _endpoint(**body, secret=SECRET))
    path = f"{_PATH}/{made['id']}"
    endpoint = {name: value for name, value in made.body.items() if name != "secret"}
    stage.admin.get(path).said(200, endpoint)
    listed = stage.admin.get(f"{_PATH}?page_size=100", is_noted=False)
    listed.said(200, {"count": COUNT, "next": None, "previous": None, "results": each(has(**_endpoint_form()))})
    check([endpoint], [one for one in listed["results"] if one["id"] == made["id"]], "the list")
    changed = stage.admin.patch(path, {"types": [], "description": ""}).said(200, _endpoint(**owner, id=made["id"]))
    rotated = stage.admin.post(f"{path}/rotate-secret").said(200, {**changed.body, "secret": SECRET})
    check(True, rotated["secret"] != made["secret"], "the secret is another")
    stage.admin.patch(path, {"active": False}).said(200, has(state="off"))
    stage.admin.post(f"{path}/test").refused(409, "endpoint_stopped")
    stage.admin.patch(path, {"active": True}).said(200, has(state="active"))
    stage.admin.delete(path).said(204, None)
    stage.admin.get(path).refused(404, "endpoint_not_found")
    for method, below in (("GET", "/deliveries"), ("POST", "/test"), ("POST", "/rotate-secret"), ("DELETE", "")):
        stage.admin.send(method, f"{_PATH}/{NOBODY}{below}").refused(404, "endpoint_not_found")


def _endpoint_form() -> dict[str, object]:
    return dict.fromkeys(_endpoint(), ANYTHING)


def endpoints_that_are_refused(stage: Stage) -> None:
    good = {"url": _URL, "owner_email": "erp@example.com"}
    wrong: tuple[tuple[dict[str, object], str, str], ...] = (
        ({"url": "ftp://shop.invalid"}, "invalid_endpoint", "url"),
        ({"url": "https://me:secret@shop.invalid"}, "invalid_endpoint", "url"),
        ({"url": "https://shop.invalid:22"}, "invalid_endpoint", "url"),
        ({"types": ["order.lost"]}, "invalid_endpoint", "types"),
        ({"owner_email": "nobody"}, "invalid", "owner_email"),
        ({"secret": "mine"}, "unknown_field", "secret"),
    )
    for field, code, attr in wrong:
        stage.admin.post(_PATH, {**good, **field}).refused(400, code, attr)
    stage.admin.post(_PATH, {}).refused_for(400, [("required", "url"), ("required", "owner_email")])


def what_an_endpoint_is_sent(stage: Stage) -> None:
    """Nobody is at home there; what was tried, and what would have been said, can be read."""
    made = stage.admin.post(_PATH, {"url": _URL, "types": ["order.paid"], "owner_email": "erp@example.com"})
    path = f"{_PATH}/{made['id']}"
    try:
        ping = stage.admin.post(f"{path}/test", is_noted=False)
        ping.said(202, has(id=ID, event_id=ID, type="webhook.ping", state="waiting", attempts=0)).noted("{ping}")
        order = stage.paid()
        sent = stage.eventually(
            lambda: stage.admin.get(f"{path}/deliveries"),
            lambda answer: any(_is_of(one, order) for one in answer["results"]),
            is_noted=False,
        )
        sent.said(200, {"next": None, "previous": None, "results": ANYTHING})
        (told,) = (json.loads(one["body"]) for one in sent["results"] if _is_of(one, order))
        form = has(specversion="1.0", type=ANYTHING, id=ID, data=has(order_id=order, user_id=stage.customer.id))
        check(form, told, "what is sent")
        check((told["data"]["total"], told["data"]["currency"]), ("10.00", "USD"), "what is sent")
        again = stage.admin.post(f"{path}/deliveries/{ping['id']}/replay", is_noted=False)
        again.said(202, has(id=ping["id"], state="waiting")).noted("{ping}")
        stage.admin.post(f"{path}/deliveries/{NOBODY}/replay").refused(404, "delivery_not_found")
        stage.admin.get(f"{path}/deliveries?state=lost").refused(400, "invalid_choice", "state")
        delivered: dict[str, object] = {"next": None, "previous": None, "results": []}
        stage.admin.get(f"{path}/deliveries?state=delivered").said(200, delivered)
    finally:
        stage.admin.delete(path, is_noted=False).said(204)


def _is_of(delivery: dict[str, Any], order: str) -> bool:
    return delivery["type"] == "order.paid" and order in delivery["body"]


SCENARIOS = (managing_an_endpoint, endpoints_that_are_refused, what_an_endpoint_is_sent)
