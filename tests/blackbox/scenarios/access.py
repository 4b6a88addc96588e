"""Who may call what: the table, cell by cell, from outside."""

import base64
import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from tests.blackbox.callers import Answer, Caller
from tests.blackbox.matching import SENTENCE, SOMETHING, check, has
from tests.blackbox.stage import NOBODY, PAID, PASSWORD, Stage
from tests.blackbox.table import rows
from tests.blackbox.target import ORDERS, PAGES, PRODUCTS, USERS, full_path, service_of

_CODES = {401: "not_authenticated", 403: "permission_denied"}
_CSV = b"sku,name,price\n"
# What is wrong with the call as the table makes it, where that is nothing of who calls.
_INVALID = {
    "users/profile": [("required", "password")],
    "users/email/verify": [("required", "token")],
    "users/password/reset/confirm": [("required", "token"), ("required", "password")],
}
_METHODS = ("PUT", "PATCH", "DELETE", "POST", "GET")


def who_may_call_pages(stage: Stage) -> None:
    _play(stage, PAGES)


def who_may_call_users(stage: Stage) -> None:
    _play(stage, USERS)


def who_may_call_products(stage: Stage) -> None:
    _play(stage, PRODUCTS)


def who_may_call_orders(stage: Stage) -> None:
    _play(stage, ORDERS)


def tokens_that_nothing_takes(stage: Stage) -> None:
    """Garbage, and one whose session has ended, are refused wherever a token is looked at."""
    things = _Things(stage)
    # An admin's, for whom no call ends at the role.
    left = stage.staff("admin")
    left.delete("users/logout").said(204, None)
    for method, path, caller, status in rows():
        is_looked_at = status == 401 or (method == "GET" and path.startswith(("products", "categories")))
        if caller != "nobody" or not is_looked_at:
            continue
        address = things.address(path, is_fresh=False)
        for token in ("garbage", left.pair["access"]):
            stage.caller("nobody", token).send(method, address).refused(401, "invalid_token")
    things.clean()


def methods_that_are_not_allowed(stage: Stage) -> None:
    things = _Things(stage)
    known: dict[str, set[str]] = {}
    for method, path, *_ in rows():
        if service_of(path) != PAGES and "?" not in path:
            known.setdefault(path, set()).add(method)
    for path, methods in known.items():
        address = things.address(path, is_fresh=False)
        wrong = next(method for method in _METHODS if method not in methods)
        answer = stage.admin.send(wrong, address).refused(405, "method_not_allowed")
        allowed = methods | {"OPTIONS"} | ({"HEAD"} if "GET" in methods else set())
        check(allowed, set(answer.headers["Allow"].split(", ")), f"{wrong} {path}, Allow")
    things.clean()


def _play(stage: Stage, service: str) -> None:
    things = _Things(stage)
    customers = {"nobody": stage.guest, "owner": stage.customer, "other": stage.other}
    callers = {**customers, "catalog": stage.catalog, "orders": stage.clerk, "admin": stage.admin}
    for method, path, name, status in rows():
        if service_of(path) == service:
            caller = callers[name]
            if path == "users/logout" and status < 400:
                caller = stage.log_in(name, caller.user["email"])
            answer = _call(things, caller, method, path, is_fresh=status < 400 and method != "GET")
            _check(answer, path, status)
            things.keep(path, answer)
    things.clean()


def _call(things: "_Things", caller: Caller, method: str, path: str, *, is_fresh: bool) -> Answer:
    address = things.address(path, is_fresh=is_fresh)
    if path.endswith("/events") and caller.pair:
        with caller.follow(address) as stream:
            # What it says is looked at elsewhere, and would go on.
            content = b"" if stream.status_code == 200 else stream.content
            return Answer(
                caller.name, method, full_path(address), stream.status_code, stream.headers, content, things.stage.notes
            )
    if path == "products/import":
        return caller.send(method, address, content=_CSV, headers={"Content-Type": "text/csv"}, is_noted=False)
    if method == "POST" and path.endswith("/images"):
        return caller.send(method, address, files={"image": ("lamp.png", PICTURE, "image/png")}, is_noted=False)
    return caller.send(method, address, json=things.body(method, path, caller), is_noted=False)


def _check(answer: Answer, path: str, status: int) -> None:
    """This status; of a refusal also that it is one, in the API's shape."""
    if status < 400:
        answer.said(status).noted("{looked at elsewhere}")
    elif status == 400:
        answer.refused_for(400, _INVALID.get(path, [("invalid_signature", None)])).noted()
    else:
        answer.refused(status, _CODES.get(status, SOMETHING), detail=SENTENCE).noted()


class _Things:
    """What the braces of the table stand for; all of it belongs to the customer."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self._kept: dict[str, str] = {}
        self._endpoints: list[str] = []
        self._refresh = ""

    def address(self, path: str, *, is_fresh: bool) -> str:
        """The path of things that are there: new ones, if the call is going to change them."""
        made: dict[str, str] = {}
        for name in re.findall(r"{(\w+)}", path):
            if name not in made:
                made |= self._make(name) if is_fresh or name not in self._kept else {name: self._kept[name]}
        if not is_fresh:
            self._kept |= made
        return path.format(**{**self._kept, **made})

    def body(self, method: str, path: str, caller: Caller) -> object:
        """A body that the call accepts."""
        make = _BODIES.get(f"{method} {path}")
        return make(self, caller) if make else None

    def keep(self, path: str, answer: Answer) -> None:
        """What the next calls need of this answer."""
        if path == "users/token/refresh":
            self._refresh = answer["refresh"]
        if path == "webhooks/endpoints" and answer.status == 201:
            self._endpoints.append(answer["id"])

    def clean(self) -> None:
        """A shop has a hundred endpoints at most."""
        for key in self._endpoints:
            self.stage.admin.delete(f"webhooks/endpoints/{key}", is_noted=False)

    def refresh(self) -> str:
        if not self._refresh:
            self._refresh = self.stage.newcomer().pair["refresh"]
        return self._refresh

    def _make(self, name: str) -> Mapping[str, str]:
        stage = self.stage
        makers: dict[str, Callable[[], Mapping[str, str]]] = {
            "user": lambda: {"user": stage.customer.id},
            "session": lambda: {"session": _session(stage.log_in("owner", stage.customer.user["email"]))},
            "product": lambda: {"product": stage.product()},
            "import": self._import,
            "pictured": self._picture,
            "category": self._category,
            "pending": lambda: {"pending": stage.order()},
            "paid": lambda: {"paid": stage.paid()},
            "shipped": lambda: {"shipped": stage.shipped()},
            "provider": lambda: {"provider": "sandbox"},
            "endpoint": self._endpoint,
        }
        return makers[name]()

    def _import(self) -> Mapping[str, str]:
        headers = {"Content-Type": "text/csv"}
        job = self.stage.catalog.post("products/import", content=_CSV, headers=headers, is_noted=False)
        return {"import": job.said(200)["id"]}

    def _picture(self) -> Mapping[str, str]:
        key = self.stage.product()
        files = {"image": ("lamp.png", PICTURE, "image/png")}
        picture = self.stage.catalog.post(f"products/{key}/images", files=files, is_noted=False).said(201)
        return {"pictured": key, "picture": picture["id"]}

    def _category(self) -> Mapping[str, str]:
        body = {"name": self.stage.name("Lamps ")}
        return {"category": self.stage.catalog.post("categories", body, is_noted=False).said(201)["id"]}

    def _endpoint(self) -> Mapping[str, str]:
        made = self.stage.admin.post("webhooks/endpoints", _WEBHOOK, is_noted=False).said(201)
        self._endpoints.append(made["id"])
        ping = self.stage.admin.post(f"webhooks/endpoints/{made['id']}/test", is_noted=False).said(202, has())
        return {"endpoint": made["id"], "delivery": ping["id"]}


def _session(caller: Caller) -> str:
    """The session of which an access token is."""
    claims = base64.urlsafe_b64decode(caller.pair["access"].split(".")[1] + "==")
    session: str = json.loads(claims)["sid"]
    return session


def _account(things: _Things, caller: Caller) -> dict[str, Any]:
    name = things.stage.name("grace")
    return {"username": name, "email": f"{name}@example.com", "password": PASSWORD}


def _own_names(things: _Things, caller: Caller) -> dict[str, Any]:
    user = caller.user if caller.pair else things.stage.customer.user
    return {"username": user["username"], "email": user["email"]}


def _line(things: _Things, caller: Caller) -> dict[str, Any]:
    return {"items": [{"product_id": things.stage.product(), "quantity": 1}]}


# One pixel.
PICTURE = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
)
# Nobody can be reached there (RFC 6761).
_WEBHOOK = {"url": "https://shop.invalid/hooks", "owner_email": "erp@example.com"}
_LAMP = {"name": "Lamp", "price": "9.99"}
_BODIES: dict[str, Callable[[_Things, Caller], object]] = {
    "POST users/register": _account,
    "POST users": _account,
    "POST users/login": lambda things, _: {"email": things.stage.customer.user["email"], "password": PASSWORD},
    "POST users/token/refresh": lambda things, _: {"refresh": things.refresh()},
    "PUT users/profile": _own_names,
    "PATCH users/profile": lambda *_: {"first_name": "Grace"},
    "POST users/password/change": lambda *_: {"old_password": PASSWORD, "new_password": PASSWORD},
    "POST users/password/reset": lambda *_: {"email": "nobody@example.com"},
    "PATCH users/{user}": lambda *_: {"role": "user"},
    "POST products": lambda *_: {**_LAMP, "stock": 1},
    "PUT products/{product}": lambda *_: _LAMP,
    "PATCH products/{product}": lambda *_: {"price": "9.99"},
    "POST products/{product}/stock/adjust": lambda *_: {"delta": 1, "reason": "delivery"},
    "PATCH products/{product}/images": lambda *_: {"images": []},
    "PATCH products/{pictured}/images/{picture}": lambda *_: {"alt": "A lamp"},
    "POST categories": lambda things, _: {"name": things.stage.name("Chairs ")},
    "PUT categories/{category}": lambda things, _: {"name": things.stage.name("Chairs ")},
    "PATCH categories/{category}": lambda things, _: {"name": things.stage.name("Chairs ")},
    "POST webhooks/endpoints": lambda *_: _WEBHOOK,
    "PATCH webhooks/endpoints/{endpoint}": lambda *_: {"description": "the ERP"},
    "POST orders": _line,
    "PUT orders/{pending}": _line,
    "PATCH orders/{pending}": lambda *_: {"note": "Ring twice."},
    "POST orders/{pending}/pay": lambda *_: PAID,
    "POST payments/webhooks/{provider}": lambda *_: {"payment_id": NOBODY, "outcome": "approved"},
}

SCENARIOS = (
    who_may_call_pages,
    who_may_call_users,
    who_may_call_products,
    who_may_call_orders,
    tokens_that_nothing_takes,
    methods_that_are_not_allowed,
)
