"""Who may call what: every address and method of the API, for every kind of caller."""

import base64
import re
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from django.core.files.base import ContentFile
from django.urls import URLPattern, URLResolver, get_resolver
from pytest_django.fixtures import Settings
from rest_framework.test import APIClient

from apps.events.webhooks import endpoints as webhooks
from apps.orders.interface import Order
from apps.orders.tests import factories
from apps.products.transfer.jobs import start as start_import
from apps.users.interface import Client, Role
from apps.users.tests.factories import PASSWORD
from config import readiness, services
from tests.blackbox.table import rows
from tests.flow import LoggedIn, everything_stored, hang_up

pytestmark = pytest.mark.django_db

# The smallest that there is: one pixel.
PICTURE = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
)
ROLES = {
    "other": Role.USER,
    "catalog": Role.CATALOG_STAFF,
    "orders": Role.ORDER_STAFF,
    "admin": Role.ADMIN,
}
WEBHOOK = {"url": "https://erp.example.com/hooks", "owner_email": "erp@example.com"}
ACCOUNT = {"username": "grace", "email": "grace@example.com"}


def things(owner: LoggedIn) -> Mapping[str, Callable[[], object]]:
    """What the braces stand for, made when it is asked for."""
    users, user = services.users(), owner.user
    log_in = Client(address="127.0.0.1", agent="")

    def order() -> Order:
        return factories.place(user.id, (factories.make_product(), 1))

    @cache
    def pictured() -> tuple[UUID, UUID]:
        product_id = factories.make_product().id
        return product_id, services.products().add_image(product_id=product_id, content=PICTURE).id

    @cache
    def pinged() -> tuple[UUID, UUID]:
        endpoint_id = webhooks.create_endpoint(url=WEBHOOK["url"], owner_email=WEBHOOK["owner_email"]).id
        return endpoint_id, webhooks.send_test(endpoint_id=endpoint_id).id

    return {
        "user": lambda: user.id,
        "session": lambda: users.list_sessions(user_id=user.id)[0].id,
        "refresh": lambda: users.log_in(login=user.email, password=PASSWORD, client=log_in).refresh,
        "email": lambda: user.email,
        "product": lambda: factories.make_product().id,
        "import": lambda: start_import(b"sku,name,price\nA,Lamp,9.99\n", dry_run=False).id,
        "pictured": lambda: pictured()[0],
        "picture": lambda: pictured()[1],
        "category": lambda: services.products().create_category(name="Lamps").id,
        "pending": lambda: order().id,
        "paid": lambda: factories.pay(order()).id,
        "provider": lambda: "sandbox",
        "shipped": lambda: factories.ship(factories.pay(order())).id,
        "endpoint": lambda: pinged()[0],
        "delivery": lambda: pinged()[1],
    }


def body(method: str, path: str, make: Mapping[str, Callable[[], object]]) -> dict[str, Any] | None:
    """A body that the call accepts."""

    def lines() -> dict[str, Any]:
        return {"items": [{"product_id": make["product"](), "quantity": 1}]}

    bodies: dict[str, Callable[[], dict[str, Any]]] = {
        "POST users/register": lambda: {**ACCOUNT, "password": PASSWORD},
        "POST users": lambda: {**ACCOUNT, "password": PASSWORD},
        "POST users/login": lambda: {"email": make["email"](), "password": PASSWORD},
        "POST users/token/refresh": lambda: {"refresh": make["refresh"]()},
        "PUT users/profile": lambda: ACCOUNT,
        "PATCH users/profile": lambda: {"first_name": "Grace"},
        "POST users/password/change": lambda: {"old_password": PASSWORD, "new_password": "correct horse 9"},
        "DELETE users/profile": dict,
        "POST users/email/verify": lambda: {"token": "none"},
        "POST users/password/reset": lambda: {"email": make["email"]()},
        "POST users/password/reset/confirm": lambda: {"token": "none", "password": "correct horse 9"},
        "PATCH users/{user}": lambda: {"role": "catalog_staff"},
        "POST products": lambda: {"name": "Lamp", "price": "9.99", "stock": 1},
        "PUT products/{product}": lambda: {"name": "Lamp", "price": "9.99"},
        "PATCH products/{product}": lambda: {"price": "9.99"},
        "POST products/{product}/stock/adjust": lambda: {"delta": 1, "reason": "delivery"},
        "POST products/{product}/images": lambda: {"image": ContentFile(PICTURE, "lamp.png")},
        "PATCH products/{product}/images": lambda: {"images": []},
        "PATCH products/{pictured}/images/{picture}": lambda: {"alt": "A lamp"},
        "POST categories": lambda: {"name": "Chairs"},
        "PUT categories/{category}": lambda: {"name": "Chairs"},
        "PATCH categories/{category}": lambda: {"name": "Chairs"},
        "POST webhooks/endpoints": lambda: WEBHOOK,
        "PATCH webhooks/endpoints/{endpoint}": lambda: {"description": "the ERP"},
        "POST orders": lines,
        "PUT orders/{pending}": lines,
        "PATCH orders/{pending}": lambda: {"note": "Ring twice."},
        "POST orders/{pending}/pay": lambda: {"method": "card", "token": "tok_visa"},
    }
    make_body = bodies.get(f"{method} {path}")
    return make_body() if make_body else None


@pytest.mark.parametrize(
    ("method", "path", "caller", "status"), [pytest.param(*row, id=f"{row[0]}-{row[1]}-{row[2]}") for row in rows()]
)
def test_who_may_call_what(
    log_in: Callable[..., LoggedIn],
    api: APIClient,
    monkeypatch: pytest.MonkeyPatch,
    settings: Settings,
    tmp_path: Path,
    method: str,
    path: str,
    caller: str,
    status: int,
) -> None:
    settings.MEDIA_ROOT = tmp_path
    monkeypatch.setattr(readiness, "check", dict)  # connects by itself, past the transaction of this test
    owner = log_in()
    client = {"nobody": api, "owner": owner}.get(caller) or log_in(ROLES[caller])
    make = things(owner)
    address = path if path.startswith("/") else f"/api/v1/{path}"
    address = re.sub(r"{(\w+)}", lambda name: str(make[name[1]]()), address)
    data = body(method, path, make)
    must_not_write = method == "GET" or status >= 400
    before = everything_stored() if must_not_write else {}

    if path == "products/import":
        response = client.generic(method, address, "sku,name,price\nA,Lamp,9.99\n", content_type="text/csv")
    elif data is None:
        response = client.generic(method, address)
    else:
        kind = "multipart" if "image" in data else "json"
        response = getattr(client, method.lower())(address, data, format=kind)

    hang_up(response)  # a stream would go on
    assert response.status_code == status, getattr(response, "content", "a stream")
    if must_not_write:
        assert everything_stored() == before


def routes(patterns: list[URLPattern | URLResolver], prefix: str = "/") -> Iterator[str]:
    """Each method and path that is served by REST framework."""
    for pattern in patterns:
        path = prefix + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from routes(pattern.url_patterns, path)
        elif view := getattr(pattern.callback, "cls", None):
            for method in set(view.http_method_names) - {"head", "options"}:
                if hasattr(view, method):
                    yield f"{method.upper()} {re.sub('<[^>]*>', '{}', path).removeprefix('/api/v1/')}"


def test_the_table_is_complete() -> None:
    listed = {f"{method} {re.sub('{[^}]*}', '{}', path)}" for method, path, _, _ in rows()}

    assert set(routes(get_resolver().url_patterns)) - listed == set()
