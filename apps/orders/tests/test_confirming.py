"""Payments that the customer must confirm, and the provider's messages about them."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from unittest.mock import patch
from uuid import UUID

import pytest
from django.db import OperationalError
from rest_framework.test import APIClient
from standardwebhooks.webhooks import Webhook

from apps.common.databases import alias_of
from apps.common.ids import new_id
from apps.common.models import IdempotencyKey
from apps.events.models import OutboxEvent
from apps.orders.interface import (
    SYSTEM,
    Actor,
    NextAction,
    Order,
    OrderChange,
    OrderStatus,
    PaymentDeclined,
    PaymentStatus,
    PaymentUnknown,
)
from apps.orders.models import Payment, SandboxCharge
from apps.orders.payments.provider import NoAnswer, Transaction
from apps.orders.payments.sandbox import SandboxProvider, webhook_secret
from apps.orders.tests.factories import confirm, make_product, notice, pay, place
from config import services
from tests.flow import LoggedIn, audit, deliver_events, everything_stored, let_pass

pytestmark = pytest.mark.django_db

USER = UUID("01938d5e-0000-7000-8000-000000000001")
OWNER = Actor(user_id=USER)
ACTION = NextAction(type="confirm_by_webhook", url="/api/v1/payments/webhooks/sandbox")
URL = "/api/v1/payments/webhooks"
State = SandboxCharge.State


def unconfirmed() -> tuple[Order, Payment]:
    """An order whose customer is asked to confirm the payment."""
    order = pay(place(USER, (make_product(stock=5), 1)), "tok_3ds")
    return order, Payment.objects.get(order_id=order.id)


def status_of(order: Order) -> str:
    return services.orders().get_order(order_id=order.id, actor=OWNER).status


def books() -> tuple[str, int]:
    """What the provider has: state, and the number of transactions."""
    return SandboxCharge.objects.latest("created_at").state, SandboxCharge.objects.count()


def published() -> list[str]:
    rows = OutboxEvent.objects.using(alias_of("orders")).filter(source="orders").order_by("id")
    return list(rows.values_list("type", flat=True))


def end(order: Order) -> None:
    """Each of these gives the unconfirmed payment up."""
    let_pass(timedelta(minutes=31))
    assert services.orders().expire_orders() == 1


GIVES_UP: dict[str, Callable[[Order], object]] = {
    "pay": pay,
    "change": lambda o: services.orders().change_order(order_id=o.id, actor=OWNER, change=OrderChange(note="x")),
    "cancel": lambda o: services.orders().cancel_order(order_id=o.id, actor=OWNER),
    "expire": end,
}


def test_the_customer_is_told_what_to_do_and_the_order_stays_pending() -> None:
    order, payment = unconfirmed()
    assert order.status == OrderStatus.PENDING
    assert order.payment is not None
    assert (order.payment.status, order.payment.next_action) == (PaymentStatus.REQUIRES_ACTION, ACTION)
    assert services.orders().settle_open_orders() == 0
    seen = services.orders().get_order(order_id=order.id, actor=OWNER)
    assert seen.payment is not None
    assert seen.payment.next_action is None
    again = services.orders().pay_order(
        order_id=order.id, payment_id=payment.id, actor=OWNER, method="card", token="tok_3ds"
    )
    assert again == order
    assert books() == (State.REQUIRES_ACTION, 1)
    assert published() == ["order.created"]
    audit()


@pytest.mark.parametrize("told_by", ["message", "reconciliation", "the same payment"])
def test_a_confirmed_payment_is_captured(told_by: str) -> None:
    order, payment = unconfirmed()
    if told_by == "message":
        confirm(payment.id)
    else:
        SandboxCharge.objects.update(state=State.AUTHORISED)
    if told_by == "reconciliation":
        assert services.orders().settle_open_orders() == 1
    if told_by == "the same payment":
        again = services.orders().pay_order(
            order_id=order.id, payment_id=payment.id, actor=OWNER, method="card", token="tok_3ds"
        )
        assert again.status == OrderStatus.PAID
    assert status_of(order) == OrderStatus.PAID
    assert books() == (State.CAPTURED, 1)
    assert published() == ["order.created", "order.paid"]
    deliver_events()
    audit()


def test_a_payment_that_the_customer_refuses_fails_and_another_succeeds() -> None:
    order, payment = unconfirmed()
    confirm(payment.id, "declined")
    payment.refresh_from_db()
    assert (payment.status, payment.failure_code) == (PaymentStatus.FAILED, "not_confirmed")
    assert status_of(order) == OrderStatus.PENDING
    assert published() == ["order.created", "payment.failed"]
    assert pay(order).status == OrderStatus.PAID
    audit()


@pytest.mark.parametrize("how", GIVES_UP)
@pytest.mark.parametrize("confirmed", ["never", "before it is voided", "after it is voided"])
def test_what_gives_an_unconfirmed_payment_up_voids_it(how: str, confirmed: str) -> None:
    order, payment = unconfirmed()
    GIVES_UP[how](order)
    payment.refresh_from_db()
    assert (payment.status, payment.failure_code) == (PaymentStatus.FAILED, "abandoned")
    assert published()[:2] == ["order.created", "payment.failed"]
    after = status_of(order)
    if confirmed == "before it is voided":
        confirm(payment.id)
    else:
        assert services.orders().settle_open_orders() == 1
    if confirmed == "after it is voided":
        confirm(payment.id)
    assert services.orders().settle_open_orders() == 0
    assert SandboxCharge.objects.get(pk=str(payment.id)).state == State.VOIDED
    assert status_of(order) == after
    assert Payment.objects.filter(status="succeeded").count() == (how == "pay")
    with pytest.raises(PaymentDeclined):
        services.orders().pay_order(
            order_id=order.id, payment_id=payment.id, actor=OWNER, method="card", token="tok_3ds"
        )
    deliver_events()
    audit()


def test_a_message_twice_or_late_changes_nothing_more() -> None:
    order, payment = unconfirmed()
    early, late = notice(payment.id), notice(payment.id, "declined")
    for body, headers in (early, early, late):
        services.orders().handle_provider_message(provider="sandbox", body=body, headers=headers)
    assert status_of(order) == OrderStatus.PAID
    services.orders().refund_order(order_id=order.id, actor=SYSTEM)
    before = everything_stored()
    for body, headers in (late, early):
        services.orders().handle_provider_message(provider="sandbox", body=body, headers=headers)
    assert everything_stored() == before
    assert published() == ["order.created", "order.paid", "order.refunded"]


def test_stock_that_has_gone_meanwhile_voids_the_payment_and_cancels() -> None:
    order, payment = unconfirmed()
    services.products().release_reservation(order_id=order.id)
    confirm(payment.id)
    assert status_of(order) == OrderStatus.CANCELLED
    assert books() == (State.VOIDED, 1)
    payment.refresh_from_db()
    assert payment.failure_code == "stock_lost"


def test_a_confirmed_payment_waits_for_a_products_service_that_is_away() -> None:
    order, payment = unconfirmed()
    away = patch.object(type(services.products()), "extend_reservation", side_effect=OperationalError)
    with away, pytest.raises(OperationalError):
        confirm(payment.id)
    payment.refresh_from_db()
    assert payment.status == PaymentStatus.REQUIRES_ACTION
    assert services.orders().settle_open_orders() == 1
    assert status_of(order) == OrderStatus.PAID


@pytest.mark.parametrize("is_captured", [False, True])
def test_a_capture_whose_answer_is_lost_is_found_out(is_captured: bool) -> None:
    order = place(USER, (make_product(), 1))
    capture = SandboxProvider.capture

    def silent(provider: SandboxProvider, *, idempotency_key: str, transaction_id: str) -> None:
        if is_captured:
            capture(provider, idempotency_key=idempotency_key, transaction_id=transaction_id)
        raise NoAnswer

    with patch.object(SandboxProvider, "capture", silent), pytest.raises(PaymentUnknown):
        pay(order)
    payment = Payment.objects.get()
    assert (payment.status, payment.transaction_id) == ("unknown", SandboxCharge.objects.get().transaction_id)
    assert services.orders().settle_open_orders() == 1
    assert status_of(order) == OrderStatus.PAID
    assert books() == (State.CAPTURED, 1)
    audit()


def test_a_message_that_overtakes_its_request_leaves_the_payment_to_it() -> None:
    order = place(USER, (make_product(), 1))
    capture, seen = SandboxProvider.capture, []

    def overtaken(provider: SandboxProvider, *, idempotency_key: str, transaction_id: str) -> Transaction:
        seen.append(idempotency_key)
        confirm(idempotency_key)
        return capture(provider, idempotency_key=idempotency_key, transaction_id=transaction_id)

    with patch.object(SandboxProvider, "capture", overtaken):
        assert pay(order).status == OrderStatus.PAID
    assert seen == [str(Payment.objects.get().id)]
    assert published() == ["order.created", "order.paid"]


def test_a_message_for_which_the_provider_does_not_stand_is_to_be_sent_again() -> None:
    order, payment = unconfirmed()
    with patch.object(SandboxProvider, "find", side_effect=NoAnswer), pytest.raises(PaymentUnknown):
        confirm(payment.id)
    assert status_of(order) == OrderStatus.PENDING
    confirm(payment.id)
    assert status_of(order) == OrderStatus.PAID


def test_an_answer_with_a_secret_is_not_kept(log_in: Callable[..., LoggedIn]) -> None:
    customer = log_in()
    order = place(customer.user.id, (make_product(), 1))
    url, body, key = f"/api/v1/orders/{order.id}/pay", {"method": "card", "token": "tok_3ds"}, {"Idempotency-Key": "k"}
    first, again = (customer.post(url, body, headers=key) for _ in range(2))
    assert (first.status_code, first.json()["status"]) == (200, "pending")
    assert first.json()["payment"]["next_action"] == {
        "type": "confirm_by_webhook", "url": "/api/v1/payments/webhooks/sandbox", "client_secret": None,
    }  # fmt: skip
    assert again.json() == first.json()
    assert "Idempotent-Replayed" not in again
    assert IdempotencyKey.objects.using(alias_of("orders")).get().body is None
    confirm(Payment.objects.get().id)
    paid = customer.post(url, body, headers=key)
    assert (paid.json()["status"], paid.json()["payment"]["next_action"]) == ("paid", None)
    assert books() == (State.CAPTURED, 1)


def test_a_message_over_rest(api: APIClient) -> None:
    order, payment = unconfirmed()
    body, headers = notice(payment.id)
    answer = api.post(f"{URL}/sandbox", body, content_type="application/json", headers=headers)
    assert (answer.status_code, answer.content) == (200, b"")
    assert status_of(order) == OrderStatus.PAID


def test_a_message_about_a_payment_we_do_not_know_changes_nothing(api: APIClient) -> None:
    body, headers = notice(new_id())
    before = everything_stored()
    answer = api.post(f"{URL}/sandbox", body, content_type="application/json", headers=headers)
    assert answer.status_code == 200
    assert everything_stored() == before


@pytest.mark.parametrize(
    "fault", ["unsigned", "forged", "other body", "stale", "early", "no text", "nonsense", "empty", "too deep"]
)
def test_what_the_provider_has_not_sent_is_refused(api: APIClient, fault: str) -> None:
    _, payment = unconfirmed()
    at = {"stale": -400, "early": 400}.get(fault, 0)
    signed_at = datetime.now(UTC) + timedelta(seconds=at)
    body, headers = notice(payment.id, at=signed_at)
    deep = "[" * 100_000
    deeply_signed = Webhook(webhook_secret()).sign(headers["webhook-id"], signed_at, deep)
    changed = {
        "unsigned": (body, {}),
        "forged": (body, {**headers, "webhook-signature": "v1,AAAA"}),
        "other body": (notice(new_id())[0], headers),
        "no text": (b"\xff\xfe", headers),
        "nonsense": (body, {**headers, "webhook-signature": ",,é", "webhook-timestamp": "nan"}),
        "empty": (b"", headers),
        "too deep": (deep.encode(), {**headers, "webhook-signature": deeply_signed}),
    }
    body, headers = changed.get(fault, (body, headers))
    before = everything_stored()
    answer = api.post(f"{URL}/sandbox", body, content_type="application/json", headers=headers)
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (400, "invalid_signature")
    assert everything_stored() == before


@pytest.mark.parametrize("provider", ["stripe", "nobody"])
def test_another_provider_is_unknown(api: APIClient, provider: str) -> None:
    body, headers = notice(new_id())
    answer = api.post(f"{URL}/{provider}", body, content_type="application/json", headers=headers)
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (404, "unknown_provider")
