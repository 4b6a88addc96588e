"""The staff pages of events: what they show, and that replaying is one step for those who may."""

import json
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client

from apps.common.databases import alias_of
from apps.common.ids import new_id
from apps.events.models import FailedDelivery, InboxEntry
from apps.events.webhooks import endpoints, rows
from apps.events.webhooks.interface import EndpointChange
from apps.orders.models import OrdersEvent
from apps.orders.tests.factories import make_product, pay, place
from apps.users.interface import Role
from apps.users.tests.factories import UserFactory
from tests.flow import deliver_events, statements

pytestmark = pytest.mark.django_db

PAGES = "/admin/orders/"
SCRIPT = "<script>alert(1)</script>"


def client_of(role: Role, **how: Any) -> Client:  # noqa: ANN401 - Django's options
    client = Client(**how)
    client.force_login(UserFactory(role=role))
    return client


@pytest.fixture
def clerk() -> Client:
    return client_of(Role.ORDER_STAFF)


def failed(consumer: str = "orders.mail_customer", **more: Any) -> FailedDelivery:  # noqa: ANN401 - columns
    order = pay(place(new_id(), (make_product(), 1)))
    message = {
        "id": str(new_id()), "type": "order.shipped", "source": "orders", "subject": str(order.id), "sequence": 9,
        "data": {"order_id": str(order.id), "user_id": str(order.user_id), "note": SCRIPT},
        "timestamp": "2026-01-01T00:00:00+00:00", "version": 1, "traceparent": "",
    }  # fmt: skip
    return FailedDelivery.objects.using(alias_of("orders")).create(
        **{
            "consumer": consumer,
            "event_id": str(message["id"]),
            "type": "order.shipped",
            "message": message,
            "error": f"Traceback\nValueError: {SCRIPT}",
            "state": "dead",
            "attempts": 8,
            **more,
        }
    )


def test_a_failed_delivery_shows_its_data_and_error_as_text(clerk: Client) -> None:
    failure = failed()
    page = clerk.get(f"{PAGES}ordersfaileddelivery/{failure.pk}/change/").content.decode()
    assert ("ValueError: &lt;script&gt;" in page, "&quot;note&quot;: &quot;&lt;script&gt;" in page) == (True, True)
    assert SCRIPT not in page
    assert "given up" in page
    assert "(&#x27;dead" not in page
    assert f'action="{PAGES}ordersfaileddelivery/{failure.pk}/replay/"' in page


def test_replaying_is_one_step_and_is_noted(clerk: Client) -> None:
    failure = failed()
    address = f"{PAGES}ordersfaileddelivery/{failure.pk}/replay/"
    assert clerk.get(address).status_code == 405
    done = clerk.post(address, follow=True)
    assert [str(message) for message in done.context["messages"]] == ["1 delivery was replayed; 0 not resolved (yet)."]
    failure.refresh_from_db()
    assert failure.state == "resolved"
    (entry,) = LogEntry.objects.all()
    message = json.dumps(json.loads(entry.change_message))
    assert all(f'"{part}"' in message for part in ("Replayed", "dead", "resolved"))
    assert 'value="Replay"' not in done.content.decode()
    assert address not in done.content.decode()


@pytest.mark.parametrize(("role", "status"), [(Role.CATALOG_STAFF, 403), (Role.USER, 302)])
def test_others_replay_nothing(role: Role, status: int) -> None:
    failure, client = failed(), client_of(role)
    assert client.post(f"{PAGES}ordersfaileddelivery/{failure.pk}/replay/").status_code == status
    failure.refresh_from_db()
    assert failure.state == "dead"


def test_another_services_delivery_is_not_there(clerk: Client) -> None:
    failure = failed("products.settle_reservation")
    assert clerk.post(f"{PAGES}ordersfaileddelivery/{failure.pk}/replay/").status_code == 404
    assert clerk.post(f"{PAGES}ordersfaileddelivery/{new_id()}/replay/").status_code == 404
    failure.refresh_from_db()
    assert failure.state == "dead"


def test_nothing_is_replayed_for_another_site() -> None:
    failure = failed()
    client = client_of(Role.ORDER_STAFF, enforce_csrf_checks=True)
    assert client.post(f"{PAGES}ordersfaileddelivery/{failure.pk}/replay/").status_code == 403


def test_a_webhook_delivery_is_replayed_from_its_page(clerk: Client) -> None:
    made = endpoints.create_endpoint(url="https://erp.example.com/hooks", owner_email="erp@example.com")
    endpoints.send_test(endpoint_id=made.id)
    rows.deliveries().update(state="failed", attempts=8, body='{"b": 1, "a": "é"}', response=SCRIPT)
    delivery = rows.deliveries().get()
    page = clerk.get(f"{PAGES}shopwebhookdelivery/{delivery.pk}/change/").content.decode()
    assert ("{\n  &quot;b&quot;: 1,\n  &quot;a&quot;: &quot;é&quot;\n}" in page, SCRIPT in page) == (True, False)
    done = clerk.post(f"{PAGES}shopwebhookdelivery/{delivery.pk}/replay/", follow=True)
    assert [str(message) for message in done.context["messages"]] == ["1 delivery is on its way again."]
    delivery.refresh_from_db()
    assert delivery.state == "waiting"
    (entry,) = LogEntry.objects.all()
    assert '"waiting"' in entry.change_message
    endpoints.change_endpoint(endpoint_id=made.id, change=EndpointChange(active=False))
    refused = clerk.post(f"{PAGES}shopwebhookdelivery/{delivery.pk}/replay/", follow=True)
    assert len(list(refused.context["messages"])) == 1
    assert LogEntry.objects.count() == 1


def test_pings_and_new_secrets_are_noted_without_the_secret() -> None:
    admin = client_of(Role.ADMIN)
    made = endpoints.create_endpoint(url="https://erp.example.com/hooks", owner_email="erp@example.com")
    for action in ("rotate_secrets", "send_tests"):
        admin.post(f"{PAGES}shopwebhookendpoint/", {"action": action, "_selected_action": [str(made.id)]})
    rotated, pinged = LogEntry.objects.order_by("id")
    assert ("Secret rotated" in rotated.change_message, "Ping sent" in pinged.change_message) == (True, True)
    assert "whsec_" not in rotated.change_message + pinged.change_message


def test_events_are_found_and_filtered(clerk: Client) -> None:
    order = pay(place(new_id(), (make_product(), 1)))
    deliver_events()
    event = OrdersEvent.objects.get(subject=order.id, type="order.paid")
    entry = InboxEntry.objects.using(alias_of("orders")).filter(consumer="orders.count_sales").first()
    assert entry is not None

    def found(path: str) -> int:
        with statements() as sent:
            answer = clerk.get(PAGES + path)
        assert answer.status_code == 200
        assert not [statement for statement in sent if "COUNT(" in statement or "DISTINCT" in statement]
        assert len(sent) <= 12
        return len(answer.context["cl"].result_list)

    assert found(f"ordersevent/?q={order.id}") == 2
    assert found(f"ordersevent/?q={event.pk}") == 1
    assert found("ordersevent/?q=nonsense") == 0
    assert found("ordersevent/?type__exact=order.paid") == 1
    assert found("ordersevent/?published=yes") == 2
    assert found("ordersevent/?published=no") == 0
    assert found(f"ordersinboxentry/?q={entry.event_id}") >= 1
    assert found("ordersinboxentry/?consumer__exact=orders.count_sales") == 2
    assert found("ordersfaileddelivery/?state__exact=dead&type__exact=order.paid") == 0
    assert found("shopwebhookdelivery/?state__exact=failed&q=erp.example.com") == 0
    page = clerk.get(f"{PAGES}ordersevent/{event.pk}/change/").content.decode()
    assert f"&quot;order_id&quot;: &quot;{order.id}&quot;" in page
