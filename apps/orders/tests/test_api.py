"""Orders over REST: shapes, refusals, idempotency, and what each endpoint costs."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from django.utils import timezone
from rest_framework.test import APIClient

from apps.common.databases import alias_of, connection_of
from apps.common.ids import new_id
from apps.common.models import IdempotencyKey
from apps.orders.interface import Actor
from apps.orders.models import Order, Payment, SandboxCharge
from apps.orders.tests.factories import make_product, pay, place
from apps.products.interface import Product
from apps.users.interface import Role
from config import services
from tests.flow import SESSION, LoggedIn, statements

pytestmark = pytest.mark.django_db
LogIn = Callable[..., LoggedIn]


@pytest.fixture
def customer(log_in: LogIn) -> LoggedIn:
    return log_in()


@pytest.fixture
def staff(log_in: LogIn) -> LoggedIn:
    return log_in(Role.ORDER_STAFF)


def items(*lines: tuple[Product, int]) -> list[dict[str, Any]]:
    return [{"product_id": str(product.id), "quantity": quantity} for product, quantity in lines]


def codes(response: Any) -> list[tuple[str, str | None]]:  # noqa: ANN401 - a test response
    return [(error["code"], error["attr"]) for error in response.json()["errors"]]


def test_an_order_reads_as_promised(customer: APIClient) -> None:
    lamp = make_product(price="99.99", sku="LAMP")
    body = {"items": items((lamp, 2)), "shipping": {"name": "Ada", "city": "London", "zip_code": "SW1"}, "note": "Hi"}
    response = customer.post("/api/v1/orders", body)
    assert response.status_code == 201
    order = response.json()
    assert response["Location"] == f"/api/v1/orders/{order['id']}"
    assert set(order) == {
        "id", "number", "user_id", "status", "currency", "subtotal", "total", "items", "shipping", "payment", "note",
        "created_at", "updated_at",
    }  # fmt: skip
    assert UUID(order["id"]).version == 7
    assert (order["status"], order["currency"], order["subtotal"], order["total"]) == (
        "pending",
        "USD",
        "199.98",
        "199.98",
    )
    (item,) = order["items"]
    assert UUID(item["id"]).version == 7
    assert item == {
        "id": item["id"], "product_id": str(lamp.id), "product_name": "Lamp", "sku": "LAMP", "quantity": 2,
        "price": "99.99", "total": "199.98",
    }  # fmt: skip
    assert order["shipping"] == {
        "name": "Ada", "address": "", "city": "London", "state": "", "country": "", "zip_code": "SW1",
        "method": "standard", "cost": "0.00", "status": "pending",
    }  # fmt: skip
    assert order["payment"] is None
    assert customer.get(f"/api/v1/orders/{order['id']}").json() == order


def test_an_order_goes_its_way(customer: APIClient, staff: APIClient) -> None:
    order = customer.post("/api/v1/orders", {"items": items((make_product(), 1))}).json()
    url = f"/api/v1/orders/{order['id']}"
    paid = customer.post(f"{url}/pay", {"method": "card", "token": "tok_visa"})
    assert (paid.status_code, paid.json()["status"]) == (200, "paid")
    assert set(paid.json()["payment"]) == {
        *("method", "amount", "refunded_amount", "status", "transaction_id", "paid_at", "next_action"),
    }
    assert (paid.json()["payment"]["refunded_amount"], paid.json()["payment"]["next_action"]) == ("0.00", None)
    assert staff.post(f"{url}/ship", {"reason": "van 7"}).json()["status"] == "shipped"
    assert staff.post(f"{url}/deliver").json()["status"] == "delivered"
    assert customer.get(f"{url}/status").json() == {"id": order["id"], "status": "delivered"}
    assert staff.post(f"{url}/refund").json()["status"] == "refunded"
    timeline = customer.get(f"{url}/timeline").json()
    assert [(entry["action"], entry["status"], entry["reason"]) for entry in timeline] == [
        ("place", "pending", ""),
        ("pay", "paid", ""),
        ("ship", "shipped", "van 7"),
        ("deliver", "delivered", ""),
        ("refund", "refunded", ""),
    ]
    refused = customer.delete(url)
    assert (refused.status_code, codes(refused)) == (409, [("invalid_transition", None)])


def test_a_page_of_the_timeline_names_the_next(customer: LoggedIn) -> None:
    order = place(customer.user.id, (make_product(), 1))
    url = f"/api/v1/orders/{order.id}"
    for _ in range(100):
        customer.patch(url, {"note": "x"})
    first = customer.get(f"{url}/timeline")
    assert (len(first.json()), first["Link"]) == (100, f'<http://testserver{url}/timeline?after=100>; rel="next"')
    second = customer.get(f"{url}/timeline?after=100")
    assert [entry["sequence"] for entry in second.json()] == [101]
    assert "Link" not in second
    bad = customer.get(f"{url}/timeline?after=lamp")
    assert (bad.status_code, codes(bad)) == (400, [("invalid", "after")])


def test_out_of_stock_names_each_short_line(customer: APIClient) -> None:
    lamp, vase, bowl = make_product(stock=5), make_product(name="Vase", stock=0), make_product(name="Bowl", stock=1)
    response = customer.post("/api/v1/orders", {"items": items((lamp, 1), (vase, 1), (bowl, 2))})
    assert response.status_code == 409
    assert response.json()["type"] == "client_error"
    assert codes(response) == [("out_of_stock", f"items.{vase.id}"), ("out_of_stock", f"items.{bowl.id}")]
    assert not Order.objects.exists()


@pytest.mark.parametrize(
    ("token", "code"),
    [
        ("tok_declined", "payment_declined"),
        ("tok_insufficient_funds", "insufficient_funds"),
        ("nonsense", "payment_declined"),
    ],
)
def test_a_declined_payment_is_402(customer: LoggedIn, token: str, code: str) -> None:
    order = place(customer.user.id, (make_product(), 1))
    response = customer.post(f"/api/v1/orders/{order.id}/pay", {"method": "card", "token": token})
    assert (response.status_code, codes(response)) == (402, [(code, None)])
    assert not SandboxCharge.objects.exists()


def test_an_unknown_outcome_is_503_and_says_when_to_look(customer: LoggedIn) -> None:
    order = place(customer.user.id, (make_product(), 1))
    response = customer.post(f"/api/v1/orders/{order.id}/pay", {"method": "card", "token": "tok_timeout"})
    assert (response.status_code, codes(response)) == (503, [("payment_outcome_unknown", None)])
    assert response["Retry-After"] == "60"


BIG = 10**30
GOOD = {"product_id": "01938d5e-7b1a-7c3e-9a51-0242ac120002", "quantity": 1}


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({}, ("required", "items")),
        ([], ("invalid", "non_field_errors")),
        ({"items": []}, ("empty", "items")),
        ({"items": None}, ("null", "items")),
        ({"items": "lamp"}, ("not_a_list", "items")),
        ({"items": ["lamp"]}, ("invalid", "items.0.non_field_errors")),
        ({"items": [{"quantity": 1}]}, ("required", "items.0.product_id")),
        ({"items": [{**GOOD, "quantity": 0}]}, ("min_value", "items.0.quantity")),
        ({"items": [{**GOOD, "quantity": -1}]}, ("min_value", "items.0.quantity")),
        ({"items": [{**GOOD, "quantity": 1.5}]}, ("invalid", "items.0.quantity")),
        ({"items": [{**GOOD, "quantity": True}]}, ("invalid", "items.0.quantity")),
        ({"items": [{**GOOD, "quantity": "NaN"}]}, ("invalid", "items.0.quantity")),
        ({"items": [{**GOOD, "quantity": 1_000_001}]}, ("max_value", "items.0.quantity")),
        ({"items": [{**GOOD, "quantity": str(BIG)}]}, ("max_value", "items.0.quantity")),
        ({"items": [{**GOOD, "product_id": "lamp"}]}, ("invalid", "items.0.product_id")),
        ({"items": [{**GOOD, "product_id": -5}]}, ("invalid", "items.0.product_id")),
        ({"items": [{**GOOD, "price": "0.01"}]}, ("unknown_field", "items.0.price")),
        ({"items": [GOOD], "total": "0.01"}, ("unknown_field", "total")),
        ({"items": [GOOD], "currency": "XYZ"}, ("unknown_currency", "currency")),
        ({"items": [GOOD], "note": "a\x07b"}, ("control_characters", "note")),
        ({"items": [GOOD], "note": "x" * 1001}, ("max_length", "note")),
        ({"items": [GOOD], "shipping": "here"}, ("invalid", "shipping.non_field_errors")),
        ({"items": [GOOD], "shipping": {"name": "a\nb"}}, ("control_characters", "shipping.name")),
        ({"items": [GOOD] * 1001}, ("max_length", "items")),
    ],
)
def test_bad_orders_are_refused_precisely(customer: APIClient, body: object, error: tuple[str, str | None]) -> None:
    response = customer.post("/api/v1/orders", body)
    assert response.status_code == 400, response.content
    assert response.json()["type"] == "validation_error"
    assert error in codes(response)
    assert not Order.objects.exists()


@pytest.mark.parametrize(
    ("raw", "status", "code"),
    [
        (b"{", 400, "parse_error"),
        (b'{"items": NaN}', 400, "parse_error"),
        (b"\xff\xfe", 400, "parse_error"),
        (b"[" * 100_000, 400, "parse_error"),
        (b'{"note": "\\ud800"}', 400, "parse_error"),
        (b" " * 10_000_000, 413, "request_too_large"),
    ],
)
def test_bad_bodies_are_refused(customer: APIClient, raw: bytes, status: int, code: str) -> None:
    response = customer.post("/api/v1/orders", raw, content_type="application/json")
    assert (response.status_code, codes(response)) == (status, [(code, None)])


def test_a_thousand_lines_work(customer: APIClient) -> None:
    products = [make_product(name=f"Lamp {number}") for number in range(1000)]
    response = customer.post("/api/v1/orders", {"items": items(*((product, 1) for product in products))})
    assert response.status_code == 201
    assert len(response.json()["items"]) == 1000


@pytest.mark.parametrize(
    ("query", "attr"), [("status=lost", "status"), ("from=yesterday", "from"), ("to=2026-13-01T00:00:00Z", "to")]
)
def test_bad_filters_are_refused(customer: APIClient, query: str, attr: str) -> None:
    response = customer.get(f"/api/v1/orders?{query}")
    assert response.status_code == 400
    assert codes(response)[0][1] == attr


@pytest.mark.parametrize("cursor", ["x", "cD1sYW1w", "cD0lMDA="])
def test_a_bad_cursor_is_not_found(customer: APIClient, cursor: str) -> None:
    response = customer.get(f"/api/v1/orders?cursor={cursor}")
    assert (response.status_code, codes(response)) == (404, [("not_found", None)])


def test_orders_are_listed_newest_first_by_cursor(customer: LoggedIn, staff: APIClient) -> None:
    lamp = make_product(stock=100)
    mine = [str(place(customer.user.id, (lamp, 1)).id) for _ in range(5)]
    place(new_id(), (lamp, 1))
    page = customer.get("/api/v1/orders?page_size=3").json()
    assert set(page) == {"next", "previous", "results"}
    assert [order["id"] for order in page["results"]] == mine[:1:-1]
    rest = customer.get(page["next"]).json()
    assert [order["id"] for order in rest["results"]] == mine[1::-1]
    assert rest["next"] is None
    assert len(staff.get("/api/v1/orders").json()["results"]) == 6
    assert len(staff.get(f"/api/v1/orders/user/{customer.user.id}").json()["results"]) == 5
    assert len(customer.get(f"/api/v1/orders/user/{customer.user.id}").json()["results"]) == 5
    assert customer.get(f"/api/v1/orders/user/{new_id()}").status_code == 404
    pay(services.orders().get_order(order_id=UUID(mine[0]), actor=_owner(customer)))
    assert [order["id"] for order in customer.get("/api/v1/orders?status=paid").json()["results"]] == mine[:1]
    assert customer.get("/api/v1/orders?to=2020-01-01T00:00:00Z").json()["results"] == []


def test_put_replaces_and_patch_changes(customer: LoggedIn) -> None:
    lamp, vase = make_product(stock=5), make_product(name="Vase", stock=5)
    order = place(customer.user.id, (lamp, 5))
    url = f"/api/v1/orders/{order.id}"
    replaced = customer.put(url, {"items": items((vase, 2))})
    assert (replaced.status_code, [i["product_name"] for i in replaced.json()["items"]]) == (200, ["Vase"])
    assert customer.patch(url, {"note": "ring twice"}).json()["note"] == "ring twice"
    assert codes(customer.put(url, {"note": "x"})) == [("required", "items")]
    short = customer.put(url, {"items": items((vase, 6))})
    assert (short.status_code, codes(short)) == (409, [("out_of_stock", f"items.{vase.id}")])
    assert services.products().get_stock(product_id=lamp.id).reserved == 0


def test_null_is_no_address_for_a_new_order_and_no_change_of_an_old_one(customer: LoggedIn) -> None:
    lamp = make_product(stock=5)
    sent = {"items": items((lamp, 1)), "shipping": {"city": "London"}}
    address = customer.post("/api/v1/orders", sent).headers["Location"]
    for change in (customer.patch, customer.put):
        refused = change(address, {"items": items((lamp, 2)), "shipping": None})
        assert (refused.status_code, codes(refused)) == (400, [("null", "shipping")])
    kept = customer.get(address).json()
    assert (kept["shipping"]["city"], kept["items"][0]["quantity"]) == ("London", 1)
    assert customer.put(address, {"items": items((lamp, 2))}).json()["shipping"]["city"] == "London"
    made = customer.post("/api/v1/orders", {"items": items((lamp, 1)), "shipping": None})
    assert (made.status_code, made.json()["shipping"]) == (201, None)


def test_one_key_makes_one_order(customer: APIClient) -> None:
    body = {"items": items((make_product(), 1))}
    first = customer.post("/api/v1/orders", body, headers={"Idempotency-Key": "k1"})
    again = customer.post("/api/v1/orders", body, headers={"Idempotency-Key": "k1"})
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.json() == first.json()
    assert (first.get("Idempotent-Replayed"), again["Idempotent-Replayed"]) == (None, "true")
    other = customer.post("/api/v1/orders", {**body, "note": "x"}, headers={"Idempotency-Key": "k1"})
    assert (other.status_code, codes(other)) == (422, [("idempotency_key_reused", None)])
    assert Order.objects.count() == 1


def test_a_refusal_is_remembered_too(customer: APIClient) -> None:
    lamp = make_product(stock=0)
    body = {"items": items((lamp, 1))}
    first = customer.post("/api/v1/orders", body, headers={"Idempotency-Key": "k1"})
    services.products().adjust_stock(product_id=lamp.id, delta=5, reason="delivery")
    again = customer.post("/api/v1/orders", body, headers={"Idempotency-Key": "k1"})
    assert (first.status_code, again.status_code, again.json()) == (409, 409, first.json())
    assert not Order.objects.exists()


def test_a_key_belongs_to_its_user(customer: APIClient, log_in: LogIn) -> None:
    body = {"items": items((make_product(), 1))}
    for client in (customer, log_in()):
        assert client.post("/api/v1/orders", body, headers={"Idempotency-Key": "k1"}).status_code == 201
    assert Order.objects.count() == 2


@pytest.mark.parametrize("key", ["", "a b", "x" * 256, "ключ"])
def test_a_malformed_key_is_refused(customer: APIClient, key: str) -> None:
    response = customer.post("/api/v1/orders", {}, headers={"Idempotency-Key": key})
    assert (response.status_code, codes(response)) == (400, [("invalid_idempotency_key", None)])


def test_a_request_that_was_cut_off_makes_its_order_when_it_comes_again(customer: APIClient) -> None:
    lamp = make_product(stock=5)
    body = {"items": items((lamp, 2))}
    order_id = customer.post("/api/v1/orders", body, headers={"Idempotency-Key": "k1"}).json()["id"]
    claims = IdempotencyKey.objects.using(alias_of("orders"))
    claims.update(status=None, body=None)
    running = customer.post("/api/v1/orders", body, headers={"Idempotency-Key": "k1"})
    assert (running.status_code, codes(running)) == (409, [("idempotency_in_progress", None)])
    claims.update(claimed_until="2020-01-01T00:00:00Z")
    again = customer.post("/api/v1/orders", body, headers={"Idempotency-Key": "k1"})
    assert (again.status_code, again.json()["id"]) == (201, order_id)
    assert services.products().get_stock(product_id=lamp.id).reserved == 2


def test_paying_twice_with_one_key_charges_once(customer: LoggedIn) -> None:
    order = place(customer.user.id, (make_product(), 1))
    body = {"method": "card", "token": "tok_visa"}
    url = f"/api/v1/orders/{order.id}/pay"
    first, again = (customer.post(url, body, headers={"Idempotency-Key": "p1"}) for _ in range(2))
    assert (first.status_code, again.status_code, first.json()) == (200, 200, again.json())
    assert (SandboxCharge.objects.count(), Payment.objects.count()) == (1, 1)


def test_what_decides_nothing_is_not_remembered(customer: LoggedIn) -> None:
    order = place(customer.user.id, (make_product(), 1))
    body, url = {"method": "card", "token": "tok_visa"}, f"/api/v1/orders/{order.id}/pay"
    Order.objects.update(change_began_at=timezone.now())
    busy = customer.post(url, body, headers={"Idempotency-Key": "p1"})
    assert (busy.status_code, codes(busy), busy["Retry-After"]) == (409, [("order_busy", None)], "1")
    Order.objects.update(change_began_at=None)
    assert customer.post(url, body, headers={"Idempotency-Key": "p1"}).json()["status"] == "paid"


def test_what_each_call_costs(customer: LoggedIn, staff: APIClient) -> None:
    lamp = make_product(stock=1000)
    orders = [place(customer.user.id, (lamp, 1), (make_product(), 1)) for _ in range(25)]
    url = f"/api/v1/orders/{orders[0].id}"
    body = {"items": items((lamp, 1))}
    key = {"Idempotency-Key": "k"}
    placing = 3 if connection_of("orders").vendor == "postgresql" else 6
    calls: list[tuple[int, Callable[[], Any]]] = [
        (3, lambda: customer.get("/api/v1/orders")),
        (3, lambda: customer.get("/api/v1/orders?page_size=3")),
        (3, lambda: staff.get("/api/v1/orders?status=pending")),
        (3, lambda: customer.get(f"/api/v1/orders/user/{customer.user.id}")),
        (3, lambda: customer.get(url)),
        (1, lambda: customer.get(f"{url}/status")),
        (2, lambda: customer.get(f"{url}/timeline")),
        (placing, lambda: customer.post("/api/v1/orders", body)),
        (placing + 2, lambda: customer.post("/api/v1/orders", body, headers=key)),
        (7, lambda: customer.patch(url, {"note": "x"})),
        (16, lambda: customer.post(f"{url}/pay", {"method": "card", "token": "tok_visa"})),
        (7, lambda: staff.post(f"{url}/ship")),
        (7, lambda: staff.post(f"{url}/deliver")),
        (20, lambda: staff.post(f"{url}/refund")),
        (2, lambda: customer.get(f"{url}/refunds")),
        (7, lambda: customer.delete(f"/api/v1/orders/{orders[1].id}")),
    ]
    costs = []
    for _, call in calls:
        with statements() as sent:
            assert call().status_code < 300
        costs.append(len(sent))
    assert costs == [SESSION + cost for cost, _ in calls]


def _owner(client: LoggedIn) -> Actor:
    return Actor(user_id=client.user.id)
