"""The staff pages of orders: who sees them, and that every action goes through the service."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any
from unittest.mock import patch

import pytest
from django.test import Client

from apps.common.databases import alias_of
from apps.common.ids import new_id
from apps.events.models import FailedDelivery
from apps.orders.interface import SYSTEM, PaymentDeclined
from apps.orders.models import Order, Payment, SandboxCharge
from apps.orders.payments.provider import Declined, NoAnswer
from apps.orders.payments.sandbox import SandboxProvider
from apps.orders.tests.factories import make_product, pay, place
from apps.users.interface import Role
from apps.users.tests.factories import UserFactory
from config import services
from tests.flow import statements

pytestmark = pytest.mark.django_db

PAGES = ["order", "payment", "refund", "sandboxcharge", "ordersevent", "ordersfaileddelivery"]


@pytest.fixture
def staff() -> Callable[[Role], Client]:
    def make(role: Role) -> Client:
        client = Client()
        client.force_login(UserFactory(role=role))
        return client

    return make


def act(client: Client, action: str, *orders: Any) -> list[str]:  # noqa: ANN401 - orders of the interface
    """The messages that the page shows after the action."""
    data = {"action": action, "confirmed": "yes", "_selected_action": [str(order.id) for order in orders]}
    response = client.post("/admin/orders/order/", data, follow=True)
    assert response.status_code == 200
    return [str(message) for message in response.context["messages"]]


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize(
    ("role", "status"), [(Role.ADMIN, 200), (Role.ORDER_STAFF, 200), (Role.CATALOG_STAFF, 403), (Role.USER, 302)]
)
def test_each_role_sees_what_is_its_own(staff: Callable[[Role], Client], page: str, role: Role, status: int) -> None:
    pay(place(new_id(), (make_product(), 1)))
    assert staff(role).get(f"/admin/orders/{page}/").status_code == status


def test_an_order_page_shows_its_lines_timeline_and_payments(staff: Callable[[Role], Client]) -> None:
    order = pay(place(new_id(), (make_product(name="Brass lamp"), 2)))
    page = staff(Role.ORDER_STAFF).get(f"/admin/orders/order/{order.id}/change/").content.decode()
    assert order.payment is not None
    for text in ("Brass lamp", order.number, order.payment.transaction_id, "pay"):
        assert text in page
    assert 'name="_save"' not in page


def test_actions_call_the_service_and_show_what_it_refuses(staff: Callable[[Role], Client]) -> None:
    client, lamp = staff(Role.ORDER_STAFF), make_product()
    paid, pending = pay(place(new_id(), (lamp, 1))), place(new_id(), (lamp, 1))
    messages = act(client, "ship", paid, pending)
    assert any(pending.number in message and "it must be paid" in message for message in messages)
    statuses = dict(Order.objects.values_list("id", "status"))
    assert statuses == {paid.id: "shipped", pending.id: "pending"}
    act(client, "deliver", paid)
    act(client, "refund", paid)
    act(client, "cancel", pending)
    statuses = dict(Order.objects.values_list("id", "status"))
    assert statuses == {paid.id: "refunded", pending.id: "cancelled"}
    assert SandboxCharge.objects.get().refunded_amount == paid.total
    timeline = services.orders().get_timeline(order_id=paid.id, actor=SYSTEM)
    assert [entry.action for entry in timeline] == ["place", "pay", "ship", "deliver", "refund"]
    assert {str(entry.actor_id) for entry in timeline[2:]} == {client.session["_auth_user_id"]}


def refund_page(client: Client, order: Any, **wish: Any) -> Any:  # noqa: ANN401 - an order, form fields, an answer
    url = f"/admin/orders/order/{order.id}/refund/"
    return client.post(url, {"refund_id": str(new_id()), "confirmed": "on", **wish}, follow=True)


def test_some_of_an_order_is_paid_back_from_its_page(staff: Callable[[Role], Client]) -> None:
    client, lamp = staff(Role.ORDER_STAFF), make_product(price="10.00")
    order = pay(place(new_id(), (lamp, 3)))
    url = f"/admin/orders/order/{order.id}"
    assert f'href="{url}/refund/"' in client.get(f"{url}/change/").content.decode()
    page = client.get(f"{url}/refund/").content.decode()
    assert (f'name="{lamp.id}"' in page, "Lamp" in page, 'name="restock"' in page) == (True, True, True)
    refund_id = str(new_id())
    for _ in range(2):
        done = refund_page(client, order, **{str(lamp.id): "1"}, restock="no", reason="broken", refund_id=refund_id)
        assert [str(message) for message in done.context["messages"]] == [f"Order {order.number}: paid back."]
    refund_page(client, order, amount="2.50")
    refunds = services.orders().list_refunds(order_id=order.id, actor=SYSTEM)
    assert [(str(each.amount), each.restock, each.reason) for each in refunds] == [
        ("10.00", False, "broken"),
        ("2.50", False, ""),
    ]
    shown = client.get(f"{url}/change/").content.decode()
    assert "12.50" in shown
    assert "broken" in shown


@pytest.mark.parametrize(
    ("wish", "error"),
    [
        ({"amount": "99"}, "30.00 USD are left of the payment."),
        ({"amount": "-1"}, "A refund must be more than nothing."),
        ({"amount": "1", "restock": "yes"}, "Name the lines whose goods go back on the shelves."),
        ({"lamp": "4"}, "Ensure this value is less than or equal to 3."),
        ({"refund_id": "x"}, "Enter a valid UUID."),
    ],
)
def test_a_refund_that_cannot_be_says_why(staff: Callable[[Role], Client], wish: dict[str, str], error: str) -> None:
    lamp = make_product(price="10.00")
    order = pay(place(new_id(), (lamp, 3)))
    fields = {str(lamp.id) if name == "lamp" else name: text for name, text in wish.items()}
    page = refund_page(staff(Role.ORDER_STAFF), order, **fields)
    assert page.status_code == 200
    if "refund_id" not in wish:
        assert error in page.content.decode()
    assert services.orders().list_refunds(order_id=order.id, actor=SYSTEM) == []


def test_a_refund_that_is_being_found_out_is_not_called_off(staff: Callable[[Role], Client]) -> None:
    client, order = staff(Role.ORDER_STAFF), pay(place(new_id(), (make_product(price="10.00"), 3)))
    with patch.object(SandboxProvider, "refund", side_effect=NoAnswer):
        page = refund_page(client, order, amount="2.50")
    assert page.redirect_chain
    (message,) = (str(message) for message in page.context["messages"])
    assert "It will be completed" in message
    assert "2.50 USD: unknown" in client.get(f"/admin/orders/order/{order.id}/refund/").content.decode()


def test_after_a_refusal_the_form_can_be_sent_again(staff: Callable[[Role], Client]) -> None:
    client, order = staff(Role.ORDER_STAFF), pay(place(new_id(), (make_product(price="10.00"), 3)))
    with patch.object(SandboxProvider, "refund", side_effect=Declined("busy", "Not now.")):
        page = refund_page(client, order, amount="2.50")
    assert "Not now." in page.content.decode()
    assert "The total is 30.00" in page.content.decode()
    again = {name: page.context["form"][name].value() or "" for name in ("amount", "restock", "reason", "refund_id")}
    assert refund_page(client, order, **again).redirect_chain
    assert SandboxCharge.objects.get().refunded_amount == Decimal("2.50")


@pytest.mark.parametrize(("role", "status"), [(Role.CATALOG_STAFF, 403), (Role.USER, 302)])
def test_others_pay_nothing_back(staff: Callable[[Role], Client], role: Role, status: int) -> None:
    order = pay(place(new_id(), (make_product(), 1)))
    answer = staff(role).post(f"/admin/orders/order/{order.id}/refund/", {"refund_id": str(new_id())})
    assert answer.status_code == status
    assert SandboxCharge.objects.get().refunded_amount == 0


def test_a_payment_shows_every_attempt_and_its_refunds(staff: Callable[[Role], Client]) -> None:
    client, order = staff(Role.ORDER_STAFF), place(new_id(), (make_product(), 1))
    with pytest.raises(PaymentDeclined):
        pay(order, "tok_declined")
    pay(order)
    services.orders().refund_order(order_id=order.id, actor=SYSTEM, reason="too late")
    listed = client.get("/admin/orders/payment/").content.decode()
    assert ("card_declined" in listed, "refunded" in listed) == (True, True)
    payment = Payment.objects.get(status="refunded")
    assert "too late" in client.get(f"/admin/orders/payment/{payment.id}/change/").content.decode()


def test_a_failed_delivery_is_replayed_from_its_page(staff: Callable[[Role], Client]) -> None:
    order = pay(place(new_id(), (make_product(stock=10), 4)))
    event = {
        "id": str(new_id()), "type": "order.shipped", "source": "orders", "subject": str(order.id), "sequence": 9,
        "data": {"order_id": str(order.id), "user_id": str(order.user_id)}, "timestamp": "2026-01-01T00:00:00+00:00",
        "version": 1, "traceparent": "",
    }  # fmt: skip
    failure = FailedDelivery.objects.using(alias_of("orders")).create(
        consumer="orders.mail_customer",
        event_id=str(event["id"]),
        type="order.shipped",
        message=event,
        error="x",
        state="dead",
    )
    data = {"action": "replay_deliveries", "_selected_action": [str(failure.id)]}
    page = staff(Role.ORDER_STAFF).post("/admin/orders/ordersfaileddelivery/", data, follow=True)
    assert page.status_code == 200
    failure.refresh_from_db()
    assert failure.state == "resolved"


def test_a_list_costs_the_same_however_long_it_is(staff: Callable[[Role], Client]) -> None:
    client, lamp = staff(Role.ORDER_STAFF), make_product(stock=100)
    costs = []
    for _ in range(2):
        for _ in range(5):
            place(new_id(), (lamp, 1))
        with statements() as sent:
            assert client.get("/admin/orders/order/").status_code == 200
        costs.append(len(sent))
    assert costs[0] == costs[1] <= 6
