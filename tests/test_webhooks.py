"""Webhooks as staff see them: over REST and on the staff pages."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.conf import settings
from django.test import Client
from standardwebhooks import Webhook

from apps.common.databases import connection_of
from apps.events import outlets
from apps.events.models import WebhookDelivery, WebhookEndpoint
from apps.events.tests.receiver import receiver
from apps.events.webhooks import endpoints, rows
from apps.events.webhooks.interface import EndpointWithSecret
from apps.orders.tests.factories import make_product, pay, place
from apps.users.interface import Role
from apps.users.tests.factories import UserFactory
from tests.flow import SESSION, LoggedIn, deliver_events, sends
from tests.shop import open_shop

pytestmark = pytest.mark.django_db

ENDPOINTS = "/api/v1/webhooks/endpoints"
GIVEN = {"url": "https://erp.example.com/hooks", "owner_email": "erp@example.com", "types": ["order.paid"]}
PAGES = "/admin/orders/shopwebhook"


@pytest.fixture
def admin(log_in: Callable[..., LoggedIn]) -> LoggedIn:
    return log_in(Role.ADMIN)


@pytest.fixture
def staff() -> Client:
    client = Client()
    client.force_login(UserFactory(role=Role.ADMIN))
    return client


def made(**more: Any) -> EndpointWithSecret:  # noqa: ANN401 - fields of an endpoint
    return endpoints.create_endpoint(**{**GIVEN, **more})


def refused(response: Any) -> list[tuple[str, str | None]]:  # noqa: ANN401 - a response of the test client
    return [(error["code"], error["attr"]) for error in response.json()["errors"]]


def test_the_secret_is_shown_once(admin: LoggedIn) -> None:
    # PostgreSQL locks the table, so that there are never too many.
    lock = 1 if connection_of(settings.WEBHOOKS_SERVICE).vendor == "postgresql" else 0
    with sends(SESSION + lock + 2):
        response = admin.post(ENDPOINTS, {**GIVEN, "types": ["order.paid", "order.paid", "order.created"]})
    assert response.status_code == 201
    body = response.json()
    assert body.pop("secret").startswith("whsec_")
    assert {**body, "id": "", "created_at": ""} == {
        **GIVEN,
        "types": ["order.created", "order.paid"],
        "id": "",
        "description": "",
        "state": "active",
        "reason": "",
        "failing_since": None,
        "created_at": "",
    }
    with sends(SESSION + 2):
        assert admin.get(ENDPOINTS).json()["results"] == [body]
    with sends(SESSION + 1):
        assert admin.get(f"{ENDPOINTS}/{body['id']}").json() == body


def test_a_new_secret_is_shown_once(admin: LoggedIn) -> None:
    endpoint = made()
    with sends(SESSION + 2):
        body = admin.post(f"{ENDPOINTS}/{endpoint.id}/rotate-secret").json()
    assert body["secret"] not in {"", endpoint.secret}
    assert "secret" not in admin.get(f"{ENDPOINTS}/{endpoint.id}").json()


@pytest.mark.parametrize(
    ("given", "errors"),
    [
        ({"url": "http://erp.example.com"}, [("invalid_endpoint", "url")]),
        ({"url": "https://user:secret@erp.example.com"}, [("invalid_endpoint", "url")]),
        ({"url": "https://10.0.0.1/"}, [("invalid_endpoint", "url")]),
        ({"url": "https://e.example.com/" + "a" * 2000}, [("max_length", "url")]),
        ({"types": ["order.eaten"]}, [("invalid_endpoint", "types")]),
        ({"types": ["import.requested"]}, [("invalid_endpoint", "types")]),
        ({"types": ["order.paid"] * 101}, [("max_length", "types")]),
        ({"owner_email": "nobody"}, [("invalid", "owner_email")]),
        ({"description": "a" * 201}, [("max_length", "description")]),
        ({"secret": "whsec_mine"}, [("unknown_field", "secret")]),
    ],
)
def test_what_is_refused(admin: LoggedIn, given: dict[str, Any], errors: list[tuple[str, str]]) -> None:
    response = admin.post(ENDPOINTS, {**GIVEN, **given})
    assert (response.status_code, refused(response)) == (400, errors)
    assert not rows.endpoints().exists()
    endpoint = made()
    response = admin.patch(f"{ENDPOINTS}/{endpoint.id}", given)
    assert (response.status_code, refused(response)) == (400, errors)
    assert endpoints.get_endpoint(endpoint_id=endpoint.id) == rows.to_endpoint(rows.endpoints().get())
    assert rows.endpoints().get().url == GIVEN["url"]


def test_there_are_not_too_many(admin: LoggedIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoints, "MOST_ENDPOINTS", 1)
    made()
    response = admin.post(ENDPOINTS, GIVEN)
    assert (response.status_code, refused(response)) == (409, [("too_many_endpoints", None)])
    assert rows.endpoints().count() == 1


def test_a_change_leaves_the_rest_alone_and_off_gives_up_what_waits(admin: LoggedIn) -> None:
    endpoint = made()
    endpoints.send_test(endpoint_id=endpoint.id)
    address = f"{ENDPOINTS}/{endpoint.id}"
    with sends(SESSION + 2):
        body = admin.patch(address, {"description": "the ERP"}).json()
    assert (body["description"], body["url"], body["types"]) == ("the ERP", GIVEN["url"], ["order.paid"])
    assert rows.deliveries().get().state == "waiting"
    with sends(SESSION + 3):
        assert admin.patch(address, {"active": False}).json()["state"] == "off"
    assert (rows.deliveries().get().state, rows.deliveries().get().error) == ("failed", "The endpoint was turned off.")
    response = admin.post(f"{address}/test")
    assert (response.status_code, refused(response)) == (409, [("endpoint_stopped", None)])
    assert admin.patch(address, {"active": True}).json()["state"] == "active"
    assert rows.deliveries().get().state == "failed"
    with sends(SESSION + 3):
        assert admin.delete(address).status_code == 204
    assert not rows.deliveries().exists()
    assert (admin.get(address).status_code, admin.delete(address).status_code) == (404, 404)


def test_deliveries_are_listed_filtered_and_replayed(admin: LoggedIn) -> None:
    endpoint, other = made(), made()
    address = f"{ENDPOINTS}/{endpoint.id}"
    with sends(SESSION + 2):
        ping = admin.post(f"{address}/test")
    assert (ping.status_code, ping.json()["type"], ping.json()["state"]) == (202, "webhook.ping", "waiting")
    rows.deliveries().update(state="failed", attempts=8, status_code=500, response="oops")
    endpoints.send_test(endpoint_id=endpoint.id)
    with sends(SESSION + 2):
        listed = admin.get(f"{address}/deliveries").json()["results"]
    assert [each["state"] for each in listed] == ["waiting", "failed"]
    (failed,) = admin.get(f"{address}/deliveries?state=failed").json()["results"]
    assert (failed["status_code"], failed["response"], failed["next_attempt_at"]) == (500, "oops", None)
    assert admin.get(f"{address}/deliveries?state=eaten").status_code == 400
    assert admin.get(f"{ENDPOINTS}/{other.id}/deliveries").json()["results"] == []
    replay = f"deliveries/{failed['id']}/replay"
    response = admin.post(f"{ENDPOINTS}/{other.id}/{replay}")
    assert (response.status_code, refused(response)) == (404, [("delivery_not_found", None)])
    with sends(SESSION + 3):
        again = admin.post(f"{address}/{replay}")
    assert (again.status_code, again.json()["state"], again.json()["attempts"]) == (202, "waiting", 0)


def test_an_order_reaches_the_deliveries(admin: LoggedIn) -> None:
    endpoint = made()
    order = pay(place(admin.user.id, (make_product(), 1)))
    deliver_events()
    outlets.export_batch(rows.home(), "webhooks", outlets.make("webhooks"))
    (delivery,) = admin.get(f"{ENDPOINTS}/{endpoint.id}/deliveries").json()["results"]
    assert delivery["type"] == "order.paid"
    assert order.number in delivery["body"]


@pytest.mark.parametrize("page", ["endpoint", "delivery"])
@pytest.mark.parametrize(
    ("role", "status"), [(Role.ADMIN, 200), (Role.ORDER_STAFF, 200), (Role.CATALOG_STAFF, 403), (Role.USER, 302)]
)
def test_order_staff_have_pages_for_webhooks(page: str, role: Role, status: int) -> None:
    endpoints.send_test(endpoint_id=made().id)
    client = Client()
    client.force_login(UserFactory(role=role))
    assert client.get(f"{PAGES}{page}/").status_code == status


def test_only_admins_say_where_events_go() -> None:
    endpoint = made()
    client = Client()
    client.force_login(UserFactory(role=Role.ORDER_STAFF))
    before = rows.endpoints().values().get()
    given = {
        "url": "https://evil.example.com/",
        "owner_email": "a@example.com",
        "active": "on",
        "types": ["order.paid"],
    }
    assert client.post(f"{PAGES}endpoint/add/", given).status_code == 403
    assert client.post(f"{PAGES}endpoint/{endpoint.id}/change/", given).status_code == 403
    client.post(f"{PAGES}endpoint/", {"action": "rotate_secrets", "_selected_action": [str(endpoint.id)]})
    assert rows.endpoints().values().get() == before


def test_staff_register_change_and_rotate_on_the_pages(staff: Client) -> None:
    given = {
        "url": "https://erp.example.com/a",
        "owner_email": "a@example.com",
        "active": "on",
        "types": ["order.paid"],
    }
    page = staff.post(f"{PAGES}endpoint/add/", {**given, "url": "https://127.0.0.1/"}).content.decode()
    assert "127.0.0.1 is not a public address." in page
    assert not rows.endpoints().exists()
    page = staff.post(f"{PAGES}endpoint/add/", given, follow=True).content.decode()
    assert "whsec_" in page
    row = rows.endpoints().get()
    assert (row.url, row.types, row.state) == ("https://erp.example.com/a", ["order.paid"], "active")
    change = f"{PAGES}endpoint/{row.id}/change/"
    page = staff.get(change).content.decode()
    assert "whsec_" not in page
    assert row.secret not in page
    assert staff.post(change, {**given, "types": [], "active": ""}, follow=True).status_code == 200
    row.refresh_from_db()
    assert (row.types, row.state) == ([], "off")
    act = {"action": "rotate_secrets", "_selected_action": [str(row.id)]}
    assert "whsec_" in staff.post(f"{PAGES}endpoint/", act, follow=True).content.decode()
    page = staff.post(f"{PAGES}endpoint/", {**act, "action": "send_tests"}, follow=True).content.decode()
    assert "Turn it on first." in page
    assert not rows.deliveries().exists()


def test_staff_ping_and_replay_on_the_pages(staff: Client) -> None:
    endpoint = made()
    act = {"action": "send_tests", "_selected_action": [str(endpoint.id)]}
    page = staff.post(f"{PAGES}endpoint/", act, follow=True).content.decode()
    assert "A ping is on its way to https://erp.example.com/hooks." in page
    rows.deliveries().update(state="failed", attempts=8, response="<b>oops</b>")
    delivery = rows.deliveries().get()
    page = staff.get(f"{PAGES}delivery/{delivery.id}/change/").content.decode()
    assert "&lt;b&gt;oops&lt;/b&gt;" in page
    assert f"webhook-id: {delivery.event_id}" in page
    assert 'name="_save"' not in page
    act = {"action": "replay_deliveries", "_selected_action": [str(delivery.id)]}
    page = staff.post(f"{PAGES}delivery/", act, follow=True).content.decode()
    assert "1 delivery is on its way again." in page
    delivery.refresh_from_db()
    assert (delivery.state, delivery.attempts) == ("waiting", 0)


def test_what_does_not_exist_is_not_found(admin: LoggedIn) -> None:
    nowhere = f"{ENDPOINTS}/{uuid4()}"
    replay = f"{nowhere}/deliveries/{uuid4()}/replay"
    calls = [admin.get(nowhere), admin.patch(nowhere, {}), admin.delete(nowhere), admin.post(f"{nowhere}/test")]
    calls += [admin.post(f"{nowhere}/rotate-secret"), admin.get(f"{nowhere}/deliveries"), admin.post(replay)]
    assert [refused(response) for response in calls] == [[("endpoint_not_found", None)]] * 7
    assert (WebhookEndpoint.objects.count(), WebhookDelivery.objects.count()) == (0, 0)


@pytest.mark.e2e
@pytest.mark.once
def test_a_running_shop_sends_and_goes_on_selling(tmp_path: Path) -> None:
    over, allowed = threading.Event(), {"WEBHOOK_ALLOWED_NETWORKS": "127.0.0.0/8"}
    with receiver() as good, receiver() as slow, open_shop(tmp_path, **allowed) as shop:
        good.answer = lambda _: (503 if len(good.messages) == 1 else 204, "")
        slow.answer = lambda _: (204, "") if over.wait(60) else (500, "")
        admin, customer = shop.admin(), shop.customer()
        given = {"owner_email": "a@example.com", "types": ["order.paid"]}
        secret = admin.post("/webhooks/endpoints", {**given, "url": good.url}).json()["secret"]
        assert admin.post("/webhooks/endpoints", {**given, "url": slow.url}).status_code == 201
        lamp = admin.product(10)
        order_id = customer.order(lamp).json()["id"]
        assert customer.pay(order_id).status_code == 200
        # Neither the receiver that hangs nor the one that fails delays the stock.
        shop.eventually(lambda: bool(slow.messages) and admin.stock(lamp) == (9, 0))
        shop.eventually(lambda: len(good.messages) == 2)
        told = [Webhook(secret).verify(message.body, message.headers)["data"]["order_id"] for message in good.messages]
        assert told == [order_id, order_id]
        over.set()
        shop.manage("audit")
        assert shop.stop() == 0
