"""A provider that moves no money: for development, demonstrations and tests.

It keeps its own books, apart from the shop's, so that reconciliation has somebody to ask.
"""

from collections.abc import Mapping
from decimal import Decimal
from uuid import UUID

from django.conf import settings
from django.db import IntegrityError
from django.utils.crypto import salted_hmac
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from apps.common.databases import atomic
from apps.common.ids import new_id
from apps.orders.interface import InvalidSignature, NextAction
from apps.orders.models import SandboxCharge, SandboxRefund
from apps.orders.payments.provider import (
    Declined,
    NoAnswer,
    Notice,
    PaymentProvider,
    RefundReceipt,
    Transaction,
    TransactionState,
)

_AUTHORISED = frozenset({"tok_visa", "tok_mastercard", "tok_amex", "tok_alipay", "tok_paypal"})
_DECLINED = {
    "tok_declined": ("card_declined", "The card was declined."),
    "tok_chargeDeclined": ("card_declined", "The card was declined."),
    "tok_insufficient_funds": ("insufficient_funds", "The card has insufficient funds."),
    "tok_chargeDeclinedInsufficientFunds": ("insufficient_funds", "The card has insufficient funds."),
    "tok_expired": ("expired_card", "The card has expired."),
    "tok_chargeDeclinedExpiredCard": ("expired_card", "The card has expired."),
}
_CONFIRMED = "tok_3ds"
# The authorisation is given, or is not, and either way nobody hears of it.
_TIMEOUT_AUTHORISED = "tok_timeout"
_TIMEOUT_LOST = "tok_timeout_lost"
_CONFIRM_AT = "/api/v1/payments/webhooks/sandbox"
_State = SandboxCharge.State
_OUTCOMES = {"approved": _State.AUTHORISED, "declined": _State.VOIDED}


class SandboxProvider(PaymentProvider):
    """Answers by token; docs/payments.md lists them. An unknown token is declined."""

    name = "sandbox"
    methods = frozenset({"card", "wallet", "bank_transfer"})

    def authorise(
        self, *, idempotency_key: str, amount: Decimal, currency: str, method: str, token: str
    ) -> Transaction:
        del method  # one answer whatever the method
        if token in _DECLINED:
            raise Declined(*_DECLINED[token])
        if token == _TIMEOUT_LOST:
            raise NoAnswer
        if token not in _AUTHORISED | {_TIMEOUT_AUTHORISED, _CONFIRMED}:
            raise Declined("unknown_token", "The payment token is unknown.")
        state = _State.REQUIRES_ACTION if token == _CONFIRMED else _State.AUTHORISED
        transaction = self._book(idempotency_key, amount, currency, state)
        if token == _TIMEOUT_AUTHORISED:
            raise NoAnswer
        return transaction

    def capture(self, *, idempotency_key: str, transaction_id: str) -> Transaction:
        charge = SandboxCharge.objects.filter(pk=idempotency_key, transaction_id=transaction_id)
        if not charge.filter(state__in=(_State.AUTHORISED, _State.CAPTURED)).update(state=_State.CAPTURED):
            raise Declined("not_authorised", "The payment is not authorised.")
        return Transaction(id=transaction_id, state=TransactionState.CAPTURED)

    def void(self, *, idempotency_key: str, transaction_id: str) -> None:
        charge = SandboxCharge.objects.filter(pk=idempotency_key, transaction_id=transaction_id)
        if not charge.exclude(state=_State.CAPTURED).update(state=_State.VOIDED):
            raise Declined("already_captured", "The payment was captured before.")

    def find(self, *, idempotency_key: str, transaction_id: str, amount: Decimal, currency: str) -> Transaction | None:
        del transaction_id, amount, currency  # the key says it all
        row = SandboxCharge.objects.filter(pk=idempotency_key).first()
        return _to_transaction(row) if row else None

    def refund(self, *, idempotency_key: str, transaction_id: str, amount: Decimal, currency: str) -> RefundReceipt:
        with atomic("orders"):
            charge = SandboxCharge.objects.select_for_update().filter(transaction_id=transaction_id).first()
            if before := SandboxRefund.objects.filter(pk=idempotency_key).first():
                return RefundReceipt(id=before.transaction_id)
            if charge is None or charge.state != _State.CAPTURED or charge.currency != currency:
                raise Declined("no_such_charge", "The provider knows no such charge.")
            if charge.refunded_amount + amount > charge.amount:
                raise Declined("refund_too_large", "More would be refunded than was charged.")
            row = SandboxRefund.objects.create(
                idempotency_key=idempotency_key,
                charge=charge,
                amount=amount,
                transaction_id=f"sandbox_refund_{new_id().hex}",
            )
            charge.refunded_amount += amount
            charge.save(update_fields=["refunded_amount"])
        return RefundReceipt(id=row.transaction_id)

    def find_refund(self, *, idempotency_key: str, transaction_id: str) -> RefundReceipt | None:
        row = SandboxRefund.objects.filter(pk=idempotency_key, charge__transaction_id=transaction_id).first()
        return RefundReceipt(id=row.transaction_id) if row else None

    def parse_webhook(self, *, body: bytes, headers: Mapping[str, str]) -> Notice | None:
        """Here the message itself plays the customer, who confirms the payment or does not."""
        try:
            message = Webhook(webhook_secret()).verify(body, dict(headers))
            payment_id, state = UUID(message["payment_id"]), _OUTCOMES[message["outcome"]]
        except WebhookVerificationError as error:
            raise InvalidSignature(f"The message is not signed as it should be: {error}.") from error
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise InvalidSignature(
                'The message must be signed, and be {"payment_id": "…", "outcome": "approved" or "declined"}.'
            ) from error
        SandboxCharge.objects.filter(pk=str(payment_id), state=_State.REQUIRES_ACTION).update(state=state)
        return Notice(payment_id=payment_id)

    def _book(self, idempotency_key: str, amount: Decimal, currency: str, state: str) -> Transaction:
        try:
            with atomic("orders"):
                row = SandboxCharge.objects.create(
                    idempotency_key=idempotency_key,
                    amount=amount,
                    currency=currency,
                    transaction_id=f"sandbox_{new_id().hex}",
                    state=state,
                )
        except IntegrityError:
            row = SandboxCharge.objects.get(pk=idempotency_key)
        return _to_transaction(row)


def webhook_secret() -> bytes | str:
    """What the sandbox's messages are signed with."""
    return settings.PAYMENT_WEBHOOK_SECRET or salted_hmac("sandbox webhooks", "", algorithm="sha256").digest()


def _to_transaction(row: SandboxCharge) -> Transaction:
    asks = row.state == _State.REQUIRES_ACTION
    return Transaction(
        id=row.transaction_id,
        state=TransactionState(row.state),
        next_action=NextAction(type="confirm_by_webhook", url=_CONFIRM_AT) if asks else None,
        refunded=row.refunded_amount,
    )
