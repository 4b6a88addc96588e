"""Finding out what became of payments and refunds that were left open, and what their customers have done since."""

import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import TypeVar

from django.db.models import F, Q, QuerySet
from django.db.models.functions import Now

from apps.common.databases import later
from apps.common.errors import DomainError, PaymentRefused
from apps.orders.interface import SYSTEM, PaymentStatus, PaymentUnknown, UnknownProvider
from apps.orders.models import ABANDONED, NEVER_ARRIVED, OPEN_REFUNDS, UNSETTLED_PAYMENTS
from apps.orders.models import Payment as PaymentRow
from apps.orders.models import Refund as RefundRow
from apps.orders.payments.provider import TIMEOUT_SECONDS, Declined, NoAnswer, Transaction, TransactionState
from apps.orders.services.paying import NEVER_CHARGED, Paying
from apps.orders.services.refunding import Refunding

logger = logging.getLogger(__name__)

# A request that still runs settles its own payment; one that is older than that is gone.
_ASK_AFTER = timedelta(seconds=10)
_GIVE_UP_AFTER = timedelta(seconds=3 * TIMEOUT_SECONDS)
_BATCH = 100
_SETTLED = (PaymentStatus.SUCCEEDED, PaymentStatus.PARTIALLY_REFUNDED, PaymentStatus.REFUNDED)
_Row = TypeVar("_Row", PaymentRow, RefundRow)


class Settling(Paying, Refunding):
    """The part of the orders service that asks the provider again."""

    def handle_provider_message(self, *, provider: str, body: bytes, headers: Mapping[str, str]) -> None:
        if provider != self._payments.name:
            raise UnknownProvider("This shop has no such payment provider.")
        notice = self._payments.parse_webhook(body=body, headers=headers)
        if notice is None:
            return
        payments = PaymentRow.objects.filter(_is_left(), provider=provider).exclude(status__in=_SETTLED)
        payment = payments.filter(pk=notice.payment_id).first() if notice.payment_id else None
        refund = _open_refunds(provider).filter(pk=notice.refund_id).first() if notice.refund_id else None
        try:
            if payment is not None:
                self._settle_payment(payment, may_give_up=False)
            if refund is not None:
                self._settle_refund(refund)
        except Declined:
            logger.info("The payment provider refused what it gave notice of: %s", notice)
        except NoAnswer as silence:
            raise PaymentUnknown("The payment provider did not say what became of it.") from silence

    def _settle_payments(self) -> int:
        """Settle payments and refunds that were left open; returns how many."""
        ours = PaymentRow.objects.filter(provider=self._payments.name)
        unsettled = ours.filter(_is_left(), status__in=UNSETTLED_PAYMENTS)
        given_up = ours.filter(failure_code__in=[NEVER_ARRIVED, ABANDONED])
        refunds = _open_refunds(self._payments.name)
        settle = partial(self._settle_payment, may_give_up=True)
        return _each(unsettled, settle) + _each(given_up, settle) + _each(refunds, self._settle_refund)

    def _settle_payment(self, payment: PaymentRow, *, may_give_up: bool) -> bool:
        """Ask the provider what became of a payment, and make it so; whether that changed anything.

        Raises:
            NoAnswer, Declined: it is as it was.
        """
        try:
            found = self._find(payment)
        except Declined as refusal:
            if payment.status == PaymentStatus.FAILED:
                return self._close(payment, NEVER_CHARGED)
            return self._fail(payment, refusal.code, refusal.detail)
        if payment.status == PaymentStatus.FAILED:
            return self._return_stray(payment, found)
        if payment.status == PaymentStatus.REQUIRES_ACTION:
            return self._settle_confirmation(payment, found)
        return self._settle_open(payment, found, may_give_up=may_give_up)

    def _settle_open(self, payment: PaymentRow, found: Transaction | None, *, may_give_up: bool) -> bool:
        if found is None or found.state == TransactionState.CREATED:
            return may_give_up and _is_old(payment) and self._give_up(payment, found)
        try:
            self._carry_through(payment, found, SYSTEM)
        except Declined as refusal:
            return self._fail(payment, refusal.code, refusal.detail)
        except PaymentRefused:
            # Somebody else has ended it meanwhile.
            return False
        return True

    def _give_up(self, payment: PaymentRow, found: Transaction | None) -> bool:
        """End a payment for which nobody was asked for money. Where the provider knows of none, one may still turn up:
        it is looked for until that is certain.
        """
        if found is not None:
            self._void(payment, found)
        code = NEVER_ARRIVED if found is None else NEVER_CHARGED
        return self._fail(payment, code, "The payment never reached the provider.")

    def _settle_refund(self, refund: RefundRow) -> bool:
        """Ask what became of a refund, or for it again; whether that is known now."""
        with suppress(DomainError):
            self._pay_back(refund, is_known=True)
        refund.refresh_from_db()
        return refund.status not in OPEN_REFUNDS


def _is_left() -> Q:
    """Nobody is asking the provider just now. A message may come before the very request that caused it is through."""
    return ~Q(status=PaymentStatus.PROCESSING) | Q(updated_at__lt=later(-_ASK_AFTER))


def _is_old(payment: PaymentRow) -> bool:
    """Whoever began it is gone, and so is what they asked of the provider."""
    return PaymentRow.objects.filter(pk=payment.pk, updated_at__lt=later(-_GIVE_UP_AFTER)).exists()


def _open_refunds(provider: str) -> QuerySet[RefundRow]:
    ours = RefundRow.objects.filter(_is_left(), status__in=OPEN_REFUNDS, payment__provider=provider)
    return ours.select_related("payment")


def _each(rows: QuerySet[_Row], settle: Callable[[_Row], bool]) -> int:
    """Settle a batch of rows, and note that they were asked about; returns how many were settled.

    Those come first that were asked about least recently: one that is asked in vain must not hold up the rest.
    """
    settled = 0
    for row in rows.order_by(F("asked_at").asc(nulls_first=True))[:_BATCH]:
        rows.model.objects.filter(pk=row.pk).update(asked_at=Now())
        try:
            settled += settle(row)
        except (NoAnswer, Declined):
            logger.warning("The payment provider could not settle %s; it is asked again", row.pk)
        except Exception:
            # One that cannot be settled must not keep the others waiting.
            logger.exception("Settling %s failed", row.pk)
    return settled
