"""Payments and refunds, as the sandbox plays them."""

import base64
import hashlib
import hmac
import time

from tests.blackbox.matching import ID, TIME, check, has
from tests.blackbox.scenarios.orders import payment_of
from tests.blackbox.stage import NOBODY, PAID, Stage

_DECLINED = {
    "tok_declined": "payment_declined",
    "tok_chargeDeclined": "payment_declined",
    "tok_expired": "payment_declined",
    "tok_chargeDeclinedExpiredCard": "payment_declined",
    "tok_insufficient_funds": "insufficient_funds",
    "tok_chargeDeclinedInsufficientFunds": "insufficient_funds",
    "tok_unheard_of": "payment_declined",
}
_CONFIRM = {"type": "confirm_by_webhook", "url": "/api/v1/payments/webhooks/sandbox", "client_secret": None}


def payments_that_are_accepted(stage: Stage) -> None:
    tokens = ("tok_visa", "tok_mastercard", "tok_amex", "tok_alipay", "tok_paypal")
    methods = ("card", "card", "card", "wallet", "bank_transfer")
    for token, method in zip(tokens, methods, strict=True):
        order = stage.order()
        paid = stage.customer.post(f"orders/{order}/pay", {"method": method, "token": token})
        paid.said(200, has(id=order, status="paid", payment=payment_of("10.00", method=method)))
        stage.customer.get(f"orders/{order}").said(200, paid.body)
    stage.customer.post(f"orders/{order}/pay", PAID).refused(409, "invalid_transition")


def payments_that_are_declined(stage: Stage) -> None:
    order = stage.order()
    path = f"orders/{order}/pay"
    for token, code in _DECLINED.items():
        stage.customer.post(path, {"method": "card", "token": token}).refused(402, code)
    failed = payment_of("10.00", "failed", transaction_id="", paid_at=None)
    stage.customer.get(f"orders/{order}").said(200, has(status="pending", payment=failed))
    stage.customer.post(path, {"method": "shells", "token": "tok_visa"}).refused(
        400, "unknown_payment_method", "method"
    )
    stage.customer.post(path, {}).refused_for(400, [("required", "method"), ("required", "token")])
    stage.customer.post(path, {**PAID, "amount": "1.00"}).refused(400, "unknown_field", "amount")
    for caller in (stage.other, stage.clerk, stage.admin):
        caller.post(path, PAID).refused(404, "order_not_found")
    stage.guest.post(path, PAID).refused(401, "not_authenticated")
    stage.customer.post(path, PAID).said(200, has(status="paid", payment=payment_of("10.00")))
    told = [entry["action"] for entry in stage.customer.get(f"orders/{order}/timeline").body]
    check(["place", *["fail_payment"] * len(_DECLINED), "pay"], told, "the timeline")


def a_payment_is_made_once_for_its_key(stage: Stage) -> None:
    order = stage.order()
    path, header = f"orders/{order}/pay", {"Idempotency-Key": stage.name("key-")}
    declined = {"method": "card", "token": "tok_declined"}
    for replayed in (None, "true"):
        answer = stage.customer.post(path, declined, headers=header).refused(402, "payment_declined")
        answer.said(402, idempotent_replayed=replayed)
    stage.customer.post(path, PAID, headers=header).refused(422, "idempotency_key_reused")
    header = {"Idempotency-Key": stage.name("key-")}
    first = stage.customer.post(path, PAID, headers=header).said(200, has(status="paid"), idempotent_replayed=None)
    stage.customer.post(path, PAID, headers=header).said(200, first.body, idempotent_replayed="true")
    stage.customer.post(f"orders/{stage.order()}/pay", PAID, headers=header).refused(422, "idempotency_key_reused")
    stage.customer.post(path, PAID).refused(409, "invalid_transition")


def a_payment_that_must_be_confirmed(stage: Stage) -> None:
    """What is to be done is told to the payer only, and not kept; another payment may be made instead.

    How the customer confirms is not played: over REST nobody learns the payment's id.
    """
    order = stage.order()
    path, header = f"orders/{order}/pay", {"Idempotency-Key": stage.name("key-")}
    body = {"method": "card", "token": "tok_3ds"}
    asked = payment_of("10.00", "requires_action", next_action=_CONFIRM, paid_at=None)
    for _ in range(2):
        answer = stage.customer.post(path, body, headers=header)
        answer.said(200, has(id=order, status="pending", payment=asked), idempotent_replayed=None)
    seen = has(status="pending", payment={**asked, "next_action": None})
    for caller in (stage.customer, stage.clerk):
        caller.get(f"orders/{order}").said(200, seen)
    stage.customer.post(path, PAID).said(200, has(status="paid", payment=payment_of("10.00")))
    stage.customer.post(path, body, headers=header).refused(402, "payment_declined")
    given_up = stage.order()
    stage.customer.post(f"orders/{given_up}/pay", body).said(200, has(status="pending"))
    failed = has(method="card", status="failed", paid_at=None)
    stage.customer.delete(f"orders/{given_up}").said(200, has(status="cancelled", payment=failed))


def a_provider_that_does_not_answer(stage: Stage) -> None:
    """Neither yes nor no; it is found out a few seconds later."""
    order = stage.order()
    path, header = f"orders/{order}/pay", {"Idempotency-Key": stage.name("key-")}
    body = {"method": "card", "token": "tok_timeout"}
    silent = stage.customer.post(path, body, headers=header)
    silent.refused(503, "payment_outcome_unknown").said(503, retry_after="60")
    unknown = payment_of("10.00", "unknown", transaction_id="", paid_at=None)
    stage.customer.get(f"orders/{order}").said(200, has(status="pending", payment=unknown))
    busy = stage.customer.post(path, PAID).refused(409, "order_busy")
    busy.said(409, retry_after="1")
    paid = stage.eventually(lambda: stage.customer.get(f"orders/{order}"), lambda answer: answer["status"] == "paid")
    paid.said(200, has(payment=payment_of("10.00")))
    stage.customer.post(path, body, headers=header).said(200, has(status="paid"))


def refunds_in_parts(stage: Stage) -> None:
    one, two = stage.product(price="10.00", stock=10), stage.product(price="5.00", stock=10)
    order = stage.paid((one, 2), (two, 1))
    path = f"orders/{order}/refund"
    part = {"reason": "broken", "items": [{"product_id": one, "quantity": 1}]}
    header = {"Idempotency-Key": stage.name("key-")}
    for caller in (stage.customer, stage.other, stage.catalog):
        caller.post(path, part).refused(403, "permission_denied")
    partly = payment_of("25.00", "partially_refunded", refunded_amount="10.00")
    first = stage.clerk.post(path, part, headers=header)
    first.said(200, has(id=order, status="paid", payment=partly), idempotent_replayed=None)
    stage.clerk.post(path, part, headers=header).said(200, first.body, idempotent_replayed="true")
    stage.clerk.post(path, {"amount": "1.00"}, headers=header).refused(422, "idempotency_key_reused")
    # Not shipped yet, so it goes back on the shelf.
    stage.eventually(lambda: stage.guest.get(f"products/{one}"), lambda answer: answer["stock"] == 9)
    partly = {**partly, "refunded_amount": "12.50"}
    stage.clerk.post(path, {"amount": 2.5}).said(200, has(status="paid", payment=partly))
    _refused_refunds(stage, path, one)
    whole = payment_of("25.00", "refunded", refunded_amount="25.00")
    stage.clerk.post(path, {"restock": None}).said(200, has(status="refunded", payment=whole))
    stage.clerk.post(path).refused(409, "invalid_transition")
    made = {"id": ID, "currency": "USD", "status": "succeeded", "failure_detail": "", "created_at": TIME, "reason": ""}
    made = {**made, "refunded_at": TIME}
    goods = [{"product_id": one, "quantity": 1}]
    refunds = [
        {**made, "amount": "10.00", "items": goods, "restock": True, "reason": "broken"},
        {**made, "amount": "2.50", "items": [], "restock": False},
        has(**made, amount="12.50"),
    ]
    for caller in (stage.customer, stage.clerk):
        caller.get(f"orders/{order}/refunds").said(200, refunds)
    stage.other.get(f"orders/{order}/refunds").refused(404, "order_not_found")


def _refused_refunds(stage: Stage, path: str, one: str) -> None:
    stage.clerk.post(path, {"amount": "12.51"}).refused(409, "refund_too_large", "amount")
    stage.clerk.post(path, {"amount": "0.00"}).refused(400, "invalid_refund", "amount")
    stage.clerk.post(path, {"amount": "0.001"}).refused(400, "invalid_refund", "amount")
    stage.clerk.post(path, {"amount": -1}).refused(400, "min_value", "amount")
    too_many = {"items": [{"product_id": one, "quantity": 2}]}
    stage.clerk.post(path, too_many).refused(409, "refund_too_large", f"items.{one}")
    unknown = {"items": [{"product_id": NOBODY, "quantity": 1}]}
    stage.clerk.post(path, unknown).refused(400, "unknown_line", f"items.{NOBODY}")
    stage.clerk.post(path, {"amount": "1.00", "restock": True}).refused(400, "invalid_refund", "restock")


def refunds_after_shipping(stage: Stage) -> None:
    """The goods are on their way, so they do not come back by themselves."""
    key = stage.product(stock=10)
    order = stage.shipped((key, 4))
    level = {"product_id": key, "on_hand": 6, "reserved": 0, "available": 6}
    stage.eventually(lambda: stage.catalog.get(f"products/{key}/stock"), lambda answer: answer.body == level)
    back = {"items": [{"product_id": key, "quantity": 1}], "restock": True}
    stage.clerk.post(f"orders/{order}/refund", back).said(200, has(status="shipped"))
    level = {"product_id": key, "on_hand": 7, "reserved": 0, "available": 7}
    stage.eventually(lambda: stage.catalog.get(f"products/{key}/stock"), lambda answer: answer.body == level)
    stage.clerk.post(f"orders/{order}/deliver").said(200, has(status="delivered"))
    stage.clerk.post(f"orders/{order}/refund").said(200, has(status="refunded"))
    stage.eventually(lambda: stage.clerk.get(f"orders/{order}/refunds"), lambda answer: len(answer.body) == 2)
    stage.catalog.get(f"products/{key}/stock").said(200, level)


def what_a_provider_tells(stage: Stage) -> None:
    """Nothing is believed that is not signed as it should be."""
    body = f'{{"payment_id": "{NOBODY}", "outcome": "approved"}}'.encode()
    path = "payments/webhooks/sandbox"
    now = str(int(time.time()))
    forged = hmac.new(b"a secret of our own", b"msg_1." + now.encode() + b"." + body, hashlib.sha256).digest()
    signed = {"webhook-id": "msg_1", "webhook-timestamp": now}
    for headers in (
        {},
        {**signed, "webhook-signature": f"v1,{base64.b64encode(forged).decode()}"},
        {**signed, "webhook-signature": "v1,garbage"},
        {**signed, "webhook-timestamp": "1", "webhook-signature": "v1,garbage"},
    ):
        kind = {"Content-Type": "application/json", **headers}
        stage.guest.post(path, content=body, headers=kind).refused(400, "invalid_signature")
    stage.guest.post(path, content=b"{").refused(400, "invalid_signature")
    stage.guest.post("payments/webhooks/nobody", {}).refused(404, "unknown_provider")


SCENARIOS = (
    payments_that_are_accepted,
    payments_that_are_declined,
    a_payment_is_made_once_for_its_key,
    a_payment_that_must_be_confirmed,
    a_provider_that_does_not_answer,
    refunds_in_parts,
    refunds_after_shipping,
    what_a_provider_tells,
)
