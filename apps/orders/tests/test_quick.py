"""The quick way of placing an order answers what the whole way answers, to the byte."""

import json
import re
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import pytest
import time_machine
from django.utils import timezone

from apps.common.errors import Busy, Unavailable
from apps.orders.api import quick
from apps.orders.api.views import OrderListView
from apps.orders.models import Order
from apps.orders.services import LocalOrderService
from apps.orders.tests.factories import make_product
from apps.users.interface import Role
from tests.flow import LoggedIn

pytestmark = pytest.mark.django_db

LAMP = "LAMP"
ADDRESS = {"name": " Ada ", "city": "London", "method": "express"}
PLAIN = {"items": [{"product_id": LAMP, "quantity": 2}]}
Ask = Callable[..., tuple[tuple[Any, ...], tuple[Any, ...]]]

_MADE_UP = re.compile(rb"[0-9a-f]{8}-[0-9a-f-]{27}|[0-9]{6}-[0-9A-Z]{8}")


@pytest.fixture
def ask(log_in: Callable[..., LoggedIn]) -> Ask:
    """One request, answered both ways; what is made up anew each time is left out. The first is the quick way's, which
    must have been taken, or not.
    """
    customer: Any = log_in(Role.USER)
    lamp = make_product(stock=10, name="Lamp “ä”")

    def send(content: object, *, quickly: bool, **headers: str) -> tuple[Any, ...]:
        if "HTTP_AUTHORIZATION" in headers:
            customer.credentials(HTTP_AUTHORIZATION=headers["HTTP_AUTHORIZATION"])
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        with patch.object(OrderListView, "dispatch", autospec=True, side_effect=OrderListView.dispatch) as whole_way:
            response = customer.generic(
                "POST", "/api/v1/orders", body.replace(b"LAMP", str(lamp.id).encode()),
                **{"content_type": "application/json", **headers},
            )  # fmt: skip
        assert whole_way.called is not quickly
        made_up = {name: _MADE_UP.sub(b"-", value.encode()) for name, value in response.items()}
        del made_up["X-Request-ID"]
        return response.status_code, _MADE_UP.sub(b"-", response.content), made_up

    def both(content: object, *, quickly: bool = True, **headers: str) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        with time_machine.travel(timezone.now(), tick=False):
            first = send(content, quickly=quickly, **headers)
            with patch.object(quick, "_is_plain", return_value=False):
                return first, send(content, quickly=False, **headers)

    return both


@pytest.mark.parametrize(
    "body",
    [
        PLAIN,
        {"items": [*PLAIN["items"], {"product_id": LAMP, "quantity": 1}]},
        {**PLAIN, "currency": "usd", "note": "x\ny", "shipping": ADDRESS},
        {**PLAIN, "shipping": None},
    ],
)
def test_an_order_is_placed_alike(ask: Ask, body: object) -> None:
    quickly, wholly = ask(body)
    assert quickly == wholly
    assert quickly[0] == 201
    assert Order.objects.count() == 2
    first, second = (list(order.items.values_list("sku", "quantity")) for order in Order.objects.all())
    assert first == second


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"items": [{"product_id": LAMP, "quantity": 11}]}, 409),
        ({"items": [{"product_id": "01938d5e-0000-7000-8000-00000000000a", "quantity": 1}]}, 404),
        ({**PLAIN, "currency": "EUR"}, 400),
        ({**PLAIN, "shipping": {"method": "by pigeon"}}, 400),
    ],
)
def test_a_refusal_is_told_alike(ask: Ask, body: object, status: int) -> None:
    quickly, wholly = ask(body)
    assert quickly == wholly
    assert quickly[0] == status
    assert not Order.objects.exists()


@pytest.mark.parametrize("error", [Busy("Later."), Unavailable("Not now."), Unavailable("Häh?")])
def test_what_must_wait_is_told_alike(ask: Ask, error: Exception) -> None:
    with patch.object(LocalOrderService, "place_order", side_effect=error):
        quickly, wholly = ask(PLAIN)
    assert quickly == wholly
    assert "Retry-After" in quickly[2]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'{"items": []}',
        b'{"items": [{"product_id": "LAMP", "quantity": 0}]}',
        b'{"items": [{"product_id": "LAMP", "quantity": 1000001}]}',
        b'{"items": [{"product_id": "LAMP", "quantity": true}]}',
        b'{"items": [{"product_id": "LAMP", "quantity": 1.5}]}',
        b'{"items": [{"product_id": "lamp", "quantity": 1}]}',
        b'{"items": [{"product_id": "LAMP", "quantity": 1, "price": 0}]}',
        b'{"items": [{"product_id": "LAMP", "quantity": 1}], "total": 0}',
        b'{"items": [{"product_id": "LAMP", "quantity": 1}], "note": "\\ud800"}',
        b'{"items": [{"product_id": "LAMP", "quantity": 1}], "note": "\xff"}',
        b'{"items": [{"product_id": "LAMP", "quantity": 1}], "note": NaN}',
        b'{"items": [{"product_id": "LAMP", "quantity": 1}], "note": 7, "currency": "dollars"}',
        b'{"items": [{"product_id": "LAMP", "quantity": 1}], "shipping": {"cost": "0", "town": "x"}}',
        b'{"items": [{"product_id": "LAMP", "quantity": 1}], "note": %b}' % (b"[" * 5000 + b"]" * 5000),
    ],
)
def test_what_is_wrong_goes_the_whole_way(ask: Ask, body: bytes) -> None:
    quickly, wholly = ask(body, quickly=False)
    assert quickly == wholly
    assert quickly[0] == 400


def test_texts_that_only_the_whole_way_reads_are_left_to_it(ask: Ask) -> None:
    quickly, _ = ask(b'{"items": [{"product_id": "LAMP", "quantity": "2"}]}', quickly=False)
    assert quickly[0] == 201


@pytest.mark.parametrize(
    "headers",
    [
        {"HTTP_IDEMPOTENCY_KEY": "k"},
        {"HTTP_ACCEPT": "text/html"},
        {"HTTP_AUTHORIZATION": ""},
        {"HTTP_AUTHORIZATION": "Bearer no.such.token"},
        {"content_type": "text/plain"},
    ],
)
def test_who_asks_otherwise_goes_the_whole_way(ask: Ask, headers: dict[str, str]) -> None:
    ask(PLAIN, quickly=False, **headers)
