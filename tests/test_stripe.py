"""Payments through Stripe's own library, against a server on this machine that speaks Stripe's API."""

import json
import logging
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
import stripe
from django.utils import timezone
from pytest_django import Settings
from rest_framework.test import APIClient

from apps.common.ids import new_id
from apps.orders.interface import (
    SYSTEM,
    Actor,
    InsufficientFunds,
    NextAction,
    Order,
    OrderBusy,
    OrderStatus,
    PaymentDeclined,
    PaymentUnknown,
    UnknownPaymentMethod,
)
from apps.orders.models import Payment, Refund
from apps.orders.payments import stripe as provider
from apps.orders.payments.provider import Declined
from apps.orders.payments.stripe import from_units, to_units
from apps.orders.tests.factories import make_product, pay, place
from config import services
from tests.flow import audit, deliver_events, everything_stored, let_pass
from tests.stripe_server import SECRET_KEY, Books, serve

pytestmark = pytest.mark.django_db

USER = UUID("01938d5e-0000-7000-8000-000000000001")
OWNER = Actor(user_id=USER)
WEBHOOK_SECRET = "whsec_of_this_machine"
CREATE, CONFIRM = "POST /v1/payment_intents", "POST /v1/payment_intents/ID/confirm"
CAPTURE, CANCEL, READ = (
    "POST /v1/payment_intents/ID/capture",
    "POST /v1/payment_intents/ID/cancel",
    "GET /v1/payment_intents/ID",
)
REFUND, LIST = "POST /v1/refunds", "GET /v1/refunds"


@pytest.fixture
def books(settings: Settings) -> Iterator[Books]:
    """A shop that takes payments through Stripe."""
    with serve() as (address, books):
        settings.PAYMENT_PROVIDER = "stripe"
        settings.STRIPE_API_BASE = address
        settings.STRIPE_SECRET_KEY = SECRET_KEY
        settings.STRIPE_WEBHOOK_SECRET = WEBHOOK_SECRET
        services.orders.cache_clear()
        yield books
        services.orders.cache_clear()


@pytest.fixture
def order(books: Books) -> Order:
    return place(USER, (make_product(price="19.99"), 2))


def status_of(order: Order) -> str:
    return services.orders().get_order(order_id=order.id, actor=OWNER).status


def intents(books: Books) -> list[str]:
    return [intent["status"] for intent in books.intents.values()]


def settle(minutes: float = 2) -> int:
    let_pass(timedelta(minutes=minutes))
    return services.orders().settle_open_orders()


def test_a_card_is_authorised_and_then_captured(books: Books, order: Order) -> None:
    paid = pay(order, "pm_card_visa")
    assert paid.status == OrderStatus.PAID
    assert books.calls() == [CREATE, CONFIRM, CAPTURE]
    payment = Payment.objects.get()
    key = str(payment.id)
    assert [request.key for request in books.requests] == [key, f"{key}-confirm", f"{key}-capture"]
    assert books.requests[0].params == {
        "amount": "3998",
        "currency": "usd",
        "capture_method": "manual",
        "allowed_payment_method_types[0]": "card",
        "metadata[payment_id]": key,
    }
    assert books.requests[1].params == {"payment_method": "pm_card_visa", "use_stripe_sdk": "true"}
    assert (payment.provider, payment.transaction_id, intents(books)) == ("stripe", "pi_1", ["succeeded"])
    deliver_events()
    audit()


def test_a_token_of_a_card_becomes_a_payment_method(books: Books, order: Order) -> None:
    pay(order, "tok_visa")
    assert books.requests[1].params == {
        "payment_method_data[type]": "card",
        "payment_method_data[card][token]": "tok_visa",
        "use_stripe_sdk": "true",
    }


@pytest.mark.parametrize(
    ("token", "error", "code", "sentence"),
    [
        ("pm_declined", PaymentDeclined, "generic_decline", "Stripe says card_declined."),
        ("pm_poor", InsufficientFunds, "insufficient_funds", "Stripe says card_declined."),
        ("pm_unknown", PaymentDeclined, "resource_missing", "The payment provider refused the request."),
        ("4242424242424242", PaymentDeclined, "unknown_token", "The payment token is unknown."),
    ],
)
def test_a_refusal_has_its_reason(
    books: Books, order: Order, token: str, error: type[Exception], code: str, sentence: str
) -> None:
    with pytest.raises(error, match=sentence):
        pay(order, token)
    payment = Payment.objects.get()
    assert (payment.status, payment.failure_code, payment.failure_detail) == ("failed", code, sentence)
    assert pay(order, "pm_card_visa").status == OrderStatus.PAID
    assert intents(books).count("succeeded") == 1


def test_only_cards_are_offered(books: Books, order: Order) -> None:
    with pytest.raises(UnknownPaymentMethod):
        services.orders().pay_order(
            order_id=order.id, payment_id=new_id(), actor=OWNER, method="bank_transfer", token="pm_card_visa"
        )
    assert books.requests == []


def test_too_little_for_a_card_is_declined(books: Books) -> None:
    order = place(USER, (make_product(price="0.10"), 1))
    with pytest.raises(PaymentDeclined):
        pay(order, "pm_card_visa")
    assert intents(books) == []


@pytest.mark.parametrize("how", ["lost", "unheard", "500", "409", "429"])
@pytest.mark.parametrize("step", ["payment_intents", "confirm", "capture"])
def test_whatever_is_not_answered_is_found_out(books: Books, order: Order, step: str, how: str) -> None:
    books.faults.append((step, how))
    with pytest.raises(PaymentUnknown):
        pay(order, "pm_card_visa")
    assert Payment.objects.get().status == "unknown"
    with pytest.raises(OrderBusy):
        pay(order, "pm_card_visa")
    assert settle() == 1
    # What was authorised is captured; where nobody was asked for money, nobody ever will be.
    is_paid = step == "capture" or (step, how) == ("confirm", "unheard")
    assert status_of(order) == ("paid" if is_paid else "pending")
    assert intents(books) == (
        ["succeeded"] if is_paid else [] if (step, how) == ("payment_intents", "500") else ["canceled"]
    )
    assert settle(90) == 0
    if not is_paid:
        assert pay(order, "pm_card_visa").status == OrderStatus.PAID
    assert intents(books).count("succeeded") == 1
    deliver_events()
    audit()


def test_a_server_that_hangs_is_not_waited_for(books: Books, order: Order, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provider, "TIMEOUT_SECONDS", 1)
    books.faults.append(("confirm", "late"))
    with pytest.raises(PaymentUnknown):
        pay(order, "pm_card_visa")
    assert settle() == 1
    assert (status_of(order), intents(books)) == ("paid", ["succeeded"])


def test_a_server_that_is_away_settles_nothing(books: Books, order: Order, settings: Settings) -> None:
    address, settings.STRIPE_API_BASE = settings.STRIPE_API_BASE, "http://127.0.0.1:9"
    with pytest.raises(PaymentUnknown):
        pay(order, "pm_card_visa")
    assert settle(90) == 0
    assert Payment.objects.get().status == "unknown"
    settings.STRIPE_API_BASE = address
    assert settle(90) == 1
    assert (status_of(order), intents(books)) == ("pending", ["canceled"])


def test_a_refusal_that_was_not_heard_is_heard_later(books: Books, order: Order) -> None:
    books.faults.append(("confirm", "unheard"))
    with pytest.raises(PaymentUnknown):
        pay(order, "pm_poor")
    assert settle(0) == 1
    assert (Payment.objects.get().failure_code, intents(books)) == ("insufficient_funds", ["canceled"])
    with pytest.raises(InsufficientFunds):
        services.orders().pay_order(
            order_id=order.id, payment_id=Payment.objects.get().id, actor=OWNER, method="card", token="pm_poor"
        )


def test_a_bank_that_takes_its_time_is_waited_for(books: Books, order: Order) -> None:
    with pytest.raises(PaymentUnknown):
        pay(order, "pm_slow")
    assert settle(90) == 0
    books.intents["pi_1"]["status"] = "requires_capture"
    assert settle(90) == 1
    assert status_of(order) == "paid"


def test_a_capture_that_was_made_another_day_is_recognised(books: Books, order: Order) -> None:
    books.faults.append(("capture", "unheard"))
    with pytest.raises(PaymentUnknown):
        pay(order, "pm_card_visa")
    books.answered.clear()
    captured = services.orders()._payments.capture(  # type: ignore[attr-defined]
        idempotency_key=str(Payment.objects.get().id), transaction_id="pi_1"
    )
    assert captured.state == "captured"
    assert settle(0) == 1
    assert (status_of(order), intents(books)) == ("paid", ["succeeded"])


@pytest.mark.parametrize("told_by", ["message", "reconciliation"])
@pytest.mark.parametrize("approved", [True, False])
def test_the_customer_confirms(books: Books, order: Order, api: APIClient, told_by: str, approved: bool) -> None:
    asked = pay(order, "pm_3ds")
    assert asked.payment is not None
    assert (asked.status, asked.payment.status) == ("pending", "requires_action")
    assert asked.payment.next_action == NextAction(type="use_stripe_sdk", client_secret="pi_1_secret")
    assert settle(5) == 0
    books.confirm_by_customer(approved=approved)
    if told_by == "message":
        assert tell(api, books.intents["pi_1"]).status_code == 200
    else:
        assert settle(5) == 1
    assert (status_of(order), intents(books)) == (("paid", ["succeeded"]) if approved else ("pending", ["canceled"]))


def test_a_confirmation_after_the_order_ended_is_voided(books: Books, order: Order, api: APIClient) -> None:
    pay(order, "pm_3ds")
    services.orders().cancel_order(order_id=order.id, actor=OWNER)
    books.confirm_by_customer(approved=True)
    assert tell(api, books.intents["pi_1"]).status_code == 200
    assert (status_of(order), intents(books)) == ("cancelled", ["canceled"])
    assert CAPTURE not in books.calls()


def tell(api: APIClient, thing: dict[str, Any], *, at: int | None = None, secret: str = WEBHOOK_SECRET) -> Any:  # noqa: ANN401
    """Stripe tells us of something; the answer."""
    body = json.dumps({"id": "evt_1", "object": "event", "type": "x", "data": {"object": thing}})
    signature = stripe.WebhookSignature.generate_signature_header(body, secret, at)
    return api.post(
        "/api/v1/payments/webhooks/stripe",
        body.encode(),
        content_type="application/json",
        headers={"Stripe-Signature": signature},
    )


def test_messages_that_come_again_late_or_in_another_order_change_nothing(
    books: Books, order: Order, api: APIClient
) -> None:
    pay(order, "pm_3ds")
    asked = {**books.intents["pi_1"]}
    books.confirm_by_customer(approved=True)
    authorised = {**books.intents["pi_1"]}
    assert tell(api, authorised).status_code == 200
    assert status_of(order) == "paid"
    before, calls = everything_stored(), len(books.requests)
    for late in (asked, authorised, books.intents["pi_1"]):
        assert tell(api, late).status_code == 200
    assert everything_stored() == before
    assert len(books.requests) == calls


def test_messages_about_others_change_nothing(books: Books, api: APIClient) -> None:
    before = everything_stored()
    for thing in (
        {"object": "payment_intent", "metadata": {"payment_id": str(new_id())}},
        {"object": "payment_intent", "metadata": {}},
        {"object": "payment_intent", "metadata": {"payment_id": "x"}},
        {"object": "refund", "metadata": {"refund_id": str(new_id())}},
        {"object": "customer"},
    ):
        assert tell(api, thing).status_code == 200
    assert everything_stored() == before
    assert books.requests == []


@pytest.mark.parametrize("fault", ["other secret", "stale", "unsigned", "nonsense"])
def test_forged_messages_are_refused(books: Books, order: Order, api: APIClient, fault: str) -> None:
    pay(order, "pm_3ds")
    books.confirm_by_customer(approved=True)
    intent, before = books.intents["pi_1"], everything_stored()
    if fault == "other secret":
        answer = tell(api, intent, secret="whsec_other")
    elif fault == "stale":
        answer = tell(api, intent, at=int(timezone.now().timestamp()) - 301)
    else:
        headers = {"Stripe-Signature": "t=1,v1=é"} if fault == "nonsense" else {}
        answer = api.post("/api/v1/payments/webhooks/stripe", b"{}", content_type="application/json", headers=headers)
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (400, "invalid_signature")
    assert everything_stored() == before


def refund(order: Order, amount: str | None = None, *, refund_id: UUID | None = None) -> Order:
    wish = Decimal(amount) if amount else None
    return services.orders().refund_order(order_id=order.id, actor=SYSTEM, amount=wish, refund_id=refund_id)


def test_refunds_come_in_parts(books: Books, order: Order) -> None:
    pay(order, "pm_card_visa")
    assert refund(order, "10.00").status == "paid"
    assert refund(order).status == "refunded"
    first, second = Refund.objects.order_by("created_at")
    made = [request for request in books.requests if request.path == "/v1/refunds"]
    assert [request.key for request in made] == [str(first.id), str(second.id)]
    assert made[0].params == {"payment_intent": "pi_1", "amount": "1000", "metadata[refund_id]": str(first.id)}
    assert books.intents["pi_1"]["latest_charge"]["amount_refunded"] == 3998
    assert (first.transaction_id, second.transaction_id) == ("re_1", "re_2")
    deliver_events()
    audit()


@pytest.mark.parametrize("how", ["lost", "unheard", "409"])
def test_a_refund_that_is_not_answered_is_made_once(books: Books, order: Order, how: str) -> None:
    pay(order, "pm_card_visa")
    books.faults.append(("refunds", how))
    with pytest.raises(PaymentUnknown):
        refund(order, "10.00")
    assert services.orders().settle_open_orders() == 1
    assert (Refund.objects.get().status, len(books.refunds)) == ("succeeded", 1)
    assert books.intents["pi_1"]["latest_charge"]["amount_refunded"] == 1000


@pytest.mark.parametrize("who", ["the same request", "reconciliation"])
def test_a_refund_that_stripe_made_in_spite_of_its_fault_is_found(books: Books, order: Order, who: str) -> None:
    pay(order, "pm_card_visa")
    books.faults.append(("refunds", "500 after all"))
    wish: dict[str, Any] = {"order_id": order.id, "actor": SYSTEM, "refund_id": new_id()}
    with pytest.raises(PaymentUnknown):
        services.orders().refund_order(**wish)
    if who == "reconciliation":
        assert services.orders().settle_open_orders() == 1
    else:
        assert services.orders().refund_order(**wish).status == "refunded"
    assert (Refund.objects.get().status, len(books.refunds)) == ("succeeded", 1)
    assert books.intents["pi_1"]["latest_charge"]["amount_refunded"] == 3998


def test_a_refund_that_stripe_cannot_make_can_be_asked_for_anew(books: Books, order: Order) -> None:
    pay(order, "pm_card_visa")
    books.faults.append(("refunds", "500"))
    with pytest.raises(PaymentUnknown):
        refund(order)
    assert services.orders().settle_open_orders() == 1
    assert Refund.objects.get().failure_code == "provider_fault"
    assert refund(order).status == "refunded"
    assert len(books.refunds) == 1


def test_a_refund_that_comes_again_is_looked_up_first(books: Books, order: Order) -> None:
    pay(order, "pm_card_visa")
    refund_id = new_id()
    books.faults.append(("refunds", "muddled"))
    with pytest.raises(PaymentUnknown):
        refund(order, "10.00", refund_id=refund_id)
    # Stripe would repeat its fault, as if nothing had been paid back.
    refund(order, "10.00", refund_id=refund_id)
    assert (Refund.objects.get().status, Payment.objects.get().refunded_amount) == ("succeeded", Decimal(10))
    assert books.intents["pi_1"]["latest_charge"]["amount_refunded"] == 1000


def test_a_refund_that_comes_again_another_day_is_made_once(books: Books, order: Order) -> None:
    pay(order, "pm_card_visa")
    refund_id = new_id()
    books.refund_status = "pending"
    for _ in range(2):
        with pytest.raises(PaymentUnknown):
            refund(order, "10.00", refund_id=refund_id)
        # By then Stripe has forgotten the key.
        books.answered.clear()
    assert (Refund.objects.get().status, Payment.objects.get().refunded_amount) == ("unknown", Decimal(10))
    assert books.intents["pi_1"]["latest_charge"]["amount_refunded"] == 1000
    books.refunds["re_1"].update(status="failed", failure_reason="lost_or_stolen_card")
    with pytest.raises(PaymentDeclined):
        refund(order, "10.00", refund_id=refund_id)
    assert (Refund.objects.get().failure_code, Payment.objects.get().refunded_amount) == (
        "lost_or_stolen_card",
        Decimal(0),
    )


@pytest.mark.parametrize(("ends", "status"), [("succeeded", "refunded"), ("failed", "paid"), ("canceled", "paid")])
def test_a_pending_refund_is_looked_up(books: Books, order: Order, api: APIClient, ends: str, status: str) -> None:
    pay(order, "pm_card_visa")
    books.refund_status = "pending"
    with pytest.raises(PaymentUnknown):
        refund(order)
    assert services.orders().settle_open_orders() == 0
    books.refunds["re_1"]["status"] = ends
    assert tell(api, books.refunds["re_1"]).status_code == 200
    assert status_of(order) == status
    assert Refund.objects.get().status == ("succeeded" if ends == "succeeded" else "failed")
    assert len(books.refunds) == 1


def test_a_wrong_key_decides_nothing_and_is_not_told(
    books: Books, order: Order, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    settings.STRIPE_SECRET_KEY = "sk_live_very_secret"
    with caplog.at_level(logging.DEBUG), pytest.raises(PaymentUnknown):
        pay(order, "pm_card_visa")
    assert "Stripe does not accept STRIPE_SECRET_KEY" in caplog.text
    assert "very_secret" not in caplog.text
    assert intents(books) == []


@pytest.mark.parametrize(
    ("amount", "currency", "units"),
    [
        ("19.99", "USD", 1999), ("500", "JPY", 500), ("1234", "KRW", 1234), ("5.120", "KWD", 5120), ("5", "ISK", 500),
        ("5", "UGX", 500), ("7", "MGA", 7), ("10.45", "HUF", 1045), ("8.50", "TWD", 850), ("0.01", "EUR", 1),
    ],
)  # fmt: skip
def test_amounts_are_counted_as_stripe_counts_them(amount: str, currency: str, units: int) -> None:
    assert to_units(Decimal(amount), currency) == units
    assert from_units(units, currency.lower()) == Decimal(amount)


@pytest.mark.parametrize(("amount", "currency"), [("5.124", "KWD"), ("7.20", "MGA"), ("1.000", "IQD"), ("1.5", "ISK")])
def test_what_stripe_cannot_count_is_declined(amount: str, currency: str) -> None:
    with pytest.raises(Declined, match=f"{amount} {currency}"):
        to_units(Decimal(amount), currency)
