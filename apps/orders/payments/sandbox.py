"""A provider that moves no money: for development, demonstrations and tests.

It keeps its own books, apart from the shop's, so that reconciliation has somebody to ask.
"""

from decimal import Decimal

from django.db import IntegrityError

from apps.common.databases import atomic
from apps.common.ids import new_id
from apps.orders.models import SandboxCharge
from apps.orders.payments.provider import Charge, Declined, NoAnswer, PaymentProvider

_CHARGED = frozenset({"tok_visa", "tok_mastercard", "tok_amex", "tok_alipay", "tok_paypal"})
_DECLINED = {
    "tok_declined": ("card_declined", "The card was declined."),
    "tok_chargeDeclined": ("card_declined", "The card was declined."),
    "tok_insufficient_funds": ("insufficient_funds", "The card has insufficient funds."),
    "tok_chargeDeclinedInsufficientFunds": ("insufficient_funds", "The card has insufficient funds."),
    "tok_expired": ("expired_card", "The card has expired."),
    "tok_chargeDeclinedExpiredCard": ("expired_card", "The card has expired."),
}
# The charge is made, or is not, and either way nobody hears of it.
_TIMEOUT_CHARGED = "tok_timeout"
_TIMEOUT_LOST = "tok_timeout_lost"


class SandboxProvider(PaymentProvider):
    """Answers by token; docs/payments.md lists them. An unknown token is declined."""

    name = "sandbox"
    methods = frozenset({"card", "wallet", "bank_transfer"})

    def charge(self, *, idempotency_key: str, amount: Decimal, currency: str, method: str, token: str) -> Charge:
        del method  # one answer whatever the method
        if token in _DECLINED:
            raise Declined(*_DECLINED[token])
        if token == _TIMEOUT_LOST:
            raise NoAnswer
        if token not in _CHARGED | {_TIMEOUT_CHARGED}:
            raise Declined("unknown_token", "The payment token is unknown.")
        charge = self._book(idempotency_key, amount, currency)
        if token == _TIMEOUT_CHARGED:
            raise NoAnswer
        return charge

    def find(self, *, idempotency_key: str) -> Charge | None:
        row = SandboxCharge.objects.filter(pk=idempotency_key).first()
        return Charge(transaction_id=row.transaction_id, refunded=row.refunded) if row else None

    def refund(self, *, idempotency_key: str, transaction_id: str) -> None:
        charge = SandboxCharge.objects.filter(pk=idempotency_key, transaction_id=transaction_id)
        if not charge.update(refunded=True):
            raise Declined("no_such_charge", "The provider knows no such charge.")

    def _book(self, idempotency_key: str, amount: Decimal, currency: str) -> Charge:
        try:
            with atomic("orders"):
                row = SandboxCharge.objects.create(
                    idempotency_key=idempotency_key,
                    amount=amount,
                    currency=currency,
                    transaction_id=f"sandbox_{new_id().hex}",
                )
        except IntegrityError:
            row = SandboxCharge.objects.get(pk=idempotency_key)
        return Charge(transaction_id=row.transaction_id, refunded=row.refunded)
