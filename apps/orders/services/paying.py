"""Paying and paying back.

The provider is asked outside of any transaction. Before, a row says that it will be; after, a second transaction says
what came of it. A process that dies in between leaves an open row, and `settle_open_orders` asks the provider.
"""

import logging
from contextlib import suppress
from datetime import timedelta
from uuid import UUID

from django.db import IntegrityError
from django.db.models import F
from django.utils import timezone

from apps.common.databases import atomic
from apps.common.errors import DomainError, Problem
from apps.orders.interface import (
    SYSTEM,
    Actor,
    InsufficientFunds,
    InvalidTransition,
    Order,
    OrderBusy,
    OrderNotFound,
    OrderStatus,
    PaymentDeclined,
    PaymentStatus,
    PaymentUnknown,
    UnknownPaymentMethod,
)
from apps.orders.models import NEVER_ARRIVED, OPEN_PAYMENTS
from apps.orders.models import Payment as PaymentRow
from apps.orders.payments.provider import TIMEOUT_SECONDS, Charge, Declined, NoAnswer, PaymentProvider
from apps.orders.services.rows import check_idle, lock, move, require_staff, to_order, visible_to
from apps.orders.states import Action, target
from apps.products.interface import ProductService, ReservationClosed, ReservationNotFound

logger = logging.getLogger(__name__)

# Once a payment has begun, its stock must not be given away while the outcome is being found out.
_HELD_WHILE_PAYING = timedelta(days=7)
# A request that still runs settles its own payment; one that is older than that is gone.
_ASK_AFTER = timedelta(seconds=10)
_GIVE_UP_AFTER = timedelta(seconds=3 * TIMEOUT_SECONDS)
# What became of a payment that was given up, once it is certain.
_NEVER_CHARGED, _CHARGED_LATE = "never_charged", "charged_late"
# By then a charge has turned up at the provider, or never will.
_CERTAIN_AFTER = timedelta(hours=1)
_NOT_ASKED, _STOCK_GONE = "not_asked", "stock_lost"
_BATCH = 100
_STOCK_LOST = "The stock was given back before the order was paid."
_UNKNOWN = "The payment provider did not answer. What became of the payment is being found out; look again in a minute."


class Paying:
    """The part of the orders service that moves money."""

    _products: ProductService
    _payments: PaymentProvider

    def pay_order(self, *, order_id: UUID, payment_id: UUID, actor: Actor, method: str, token: str) -> Order:
        if method not in self._payments.methods:
            offered = ", ".join(sorted(self._payments.methods))
            raise UnknownPaymentMethod(Problem(f"Payment is by {offered}.", attr="method"))
        before = PaymentRow.objects.filter(pk=payment_id, order_id=order_id).first()
        if before is not None and before.failure_code != _NOT_ASKED:
            return self._told_again(before, actor)
        payment = self._open_payment(order_id, payment_id, actor, method, again=before is not None)
        self._hold_stock(payment)
        try:
            charge = self._payments.charge(
                idempotency_key=str(payment.id),
                amount=payment.amount,
                currency=payment.currency,
                method=method,
                token=token,
            )
        except Declined as refusal:
            self._fail(payment, refusal.code, refusal.detail)
            raise _to_error(refusal.code, refusal.detail) from refusal
        except NoAnswer as silence:
            raise PaymentUnknown(_UNKNOWN) from silence
        return self._succeed(payment, charge.transaction_id, actor)

    def cancel_order(self, *, order_id: UUID, actor: Actor, reason: str = "") -> Order:
        return self._end(order_id, Action.CANCEL, actor, reason)

    def refund_order(self, *, order_id: UUID, actor: Actor, reason: str = "") -> Order:
        require_staff(actor)
        return self._end(order_id, Action.REFUND, actor, reason)

    def _settle_payments(self) -> int:
        """Find out what became of payments and refunds that were left open; returns how many were settled."""
        now = timezone.now()
        ours = PaymentRow.objects.filter(provider=self._payments.name, updated_at__lt=now - _ASK_AFTER)
        overdue, given_up = ours.filter(status__in=OPEN_PAYMENTS), ours.filter(failure_code=NEVER_ARRIVED)
        # Those come first that were asked about least recently: one that is asked in vain must not hold up the rest.
        by_turn = F("asked_at").asc(nulls_first=True)
        settled = 0
        for payment in [*overdue.order_by(by_turn)[:_BATCH], *given_up.order_by(by_turn)[:_BATCH]]:
            PaymentRow.objects.filter(pk=payment.pk).update(asked_at=now)
            try:
                settled += self._settle(payment, may_give_up=payment.updated_at < now - _GIVE_UP_AFTER)
            except (NoAnswer, Declined):
                logger.warning("The payment provider could not settle payment %s; it is asked again", payment.id)
            except Exception:
                # One payment that cannot be settled must not keep the others waiting.
                logger.exception("Settling payment %s failed", payment.id)
        return settled

    def _settle(self, payment: PaymentRow, *, may_give_up: bool) -> bool:
        if payment.status == PaymentStatus.REFUNDING:
            self._pay_back(payment)
            return True
        charge = self._payments.find(idempotency_key=str(payment.id))
        if payment.status == PaymentStatus.FAILED:
            return self._return_stray(payment, charge)
        if charge is not None:
            self._succeed(payment, charge.transaction_id, SYSTEM)
            return True
        if may_give_up:
            self._fail(payment, NEVER_ARRIVED, "The payment never reached the provider.")
        return may_give_up

    def _hold_stock(self, payment: PaymentRow) -> None:
        """Make sure that what is about to be paid for stays there; an order whose stock is gone is cancelled.

        The payment is open already: until it is settled, nobody changes or ends the order.
        """
        try:
            self._products.extend_reservation(order_id=payment.order_id, expires_at=timezone.now() + _HELD_WHILE_PAYING)
        except (ReservationClosed, ReservationNotFound):
            if not self._fail(payment, _STOCK_GONE, _STOCK_LOST, then_cancel=True):
                payment.refresh_from_db()
            raise _to_error(payment.failure_code or _STOCK_GONE, payment.failure_detail or _STOCK_LOST) from None
        except Exception:
            # Nothing was asked of the provider, so the order need not wait for its answer.
            self._fail(payment, _NOT_ASKED, "The payment was not attempted.")
            raise

    def _open_payment(self, order_id: UUID, payment_id: UUID, actor: Actor, method: str, *, again: bool) -> PaymentRow:
        """Say that the provider will be asked. The unique row lets one payment of an order through at a time."""
        try:
            with atomic("orders"):
                row = lock(order_id, actor)
                target(Action.PAY, OrderStatus(row.status))
                check_idle(row)
                payment = PaymentRow(
                    id=payment_id,
                    order=row,
                    provider=self._payments.name,
                    method=method,
                    amount=row.total,
                    currency=row.currency,
                )
                # A payment that was never asked for is opened anew, under its old id.
                payment.save(force_insert=not again, force_update=again)
                return payment
        except IntegrityError:
            raise OrderBusy("The order is being paid. Ask again in a moment.") from None

    def _succeed(self, payment: PaymentRow, transaction_id: str, actor: Actor) -> Order:
        with atomic("orders"):
            row = lock(payment.order_id, SYSTEM)
            open_payment = PaymentRow.objects.filter(pk=payment.pk, status=PaymentStatus.PROCESSING)
            now = timezone.now()
            won = open_payment.update(
                status=PaymentStatus.SUCCEEDED, transaction_id=transaction_id, paid_at=now, updated_at=now
            )
            if won:
                return move(row, Action.PAY, actor)
        return self._succeed_late(payment, transaction_id)

    def _succeed_late(self, payment: PaymentRow, transaction_id: str) -> Order:
        """A reconciliation was faster: it knows of the charge, or it gave up on it, and then the charge goes back."""
        payment.refresh_from_db()
        if payment.status == PaymentStatus.FAILED:
            # If the provider does not answer, `settle_open_orders` finds the charge.
            with suppress(NoAnswer, Declined):
                self._return_stray(payment, Charge(transaction_id=transaction_id))
            raise _to_error(payment.failure_code, payment.failure_detail)
        return to_order(payment.order)

    def _return_stray(self, payment: PaymentRow, charge: Charge | None) -> bool:
        """Give back a charge that came after its payment was given up; whether there was one.

        The payment is looked at until that has happened, or it is certain that no charge will come.
        """
        row = PaymentRow.objects.filter(pk=payment.pk)
        if charge is not None:
            if not charge.refunded:
                self._payments.refund(idempotency_key=str(payment.id), transaction_id=charge.transaction_id)
            row.update(failure_code=_CHARGED_LATE)
        elif payment.updated_at < timezone.now() - _CERTAIN_AFTER:
            row.update(failure_code=_NEVER_CHARGED)
        return charge is not None

    def _fail(self, payment: PaymentRow, code: str, detail: str, *, then_cancel: bool = False) -> bool:
        with atomic("orders"):
            row = lock(payment.order_id, SYSTEM)
            open_payment = PaymentRow.objects.filter(pk=payment.pk, status=PaymentStatus.PROCESSING)
            won = open_payment.update(
                status=PaymentStatus.FAILED, failure_code=code, failure_detail=detail, updated_at=timezone.now()
            )
            if won:
                move(row, Action.FAIL_PAYMENT, SYSTEM, detail)
                if then_cancel:
                    move(row, Action.CANCEL, SYSTEM, detail)
            return bool(won)

    def _told_again(self, payment: PaymentRow, actor: Actor) -> Order:
        """The answer to a payment that was asked for before."""
        row = visible_to(actor).filter(pk=payment.order_id).first()
        if row is None:
            raise OrderNotFound("There is no such order.")
        if payment.status == PaymentStatus.FAILED:
            raise _to_error(payment.failure_code, payment.failure_detail)
        if payment.status == PaymentStatus.PROCESSING:
            raise PaymentUnknown(_UNKNOWN)
        return to_order(row)

    def _end(self, order_id: UUID, action: Action, actor: Actor, reason: str) -> Order:
        """Cancel or refund; what was paid is paid back first."""
        with atomic("orders"):
            row = lock(order_id, actor)
            end = target(action, OrderStatus(row.status))
            check_idle(row)
            payment = row.payments.filter(status=PaymentStatus.SUCCEEDED).first()
            if payment is None:
                return move(row, action, actor, reason)
            payment.status = PaymentStatus.REFUNDING
            payment.refund_to = end
            payment.refund_actor_id = actor.user_id
            payment.refund_reason = reason[:300]
            payment.save()
        try:
            return self._pay_back(payment)
        except NoAnswer as silence:
            raise PaymentUnknown("The payment provider did not answer. The refund will be completed.") from silence
        except Declined as refusal:
            raise _to_error(refusal.code, refusal.detail) from refusal

    def _keep_payment(self, payment: PaymentRow, detail: str) -> None:
        with atomic("orders"):
            row = lock(payment.order_id, SYSTEM)
            open_refund = PaymentRow.objects.filter(pk=payment.pk, status=PaymentStatus.REFUNDING)
            if open_refund.update(
                status=PaymentStatus.SUCCEEDED,
                refund_to="",
                refund_actor_id=None,
                refund_reason="",
                updated_at=timezone.now(),
            ):
                move(row, Action.FAIL_REFUND, SYSTEM, detail)

    def _pay_back(self, payment: PaymentRow) -> Order:
        """Have the provider give the money back; if it will not, the order is as it was."""
        try:
            self._payments.refund(idempotency_key=str(payment.id), transaction_id=payment.transaction_id)
        except Declined as refusal:
            self._keep_payment(payment, refusal.detail)
            raise
        with atomic("orders"):
            row = lock(payment.order_id, SYSTEM)
            open_refund = PaymentRow.objects.filter(pk=payment.pk, status=PaymentStatus.REFUNDING)
            now = timezone.now()
            if not open_refund.update(status=PaymentStatus.REFUNDED, refunded_at=now, updated_at=now):
                return to_order(row)
            action = Action.CANCEL if payment.refund_to == OrderStatus.CANCELLED else Action.REFUND
            return move(row, action, Actor(user_id=payment.refund_actor_id), payment.refund_reason)


def _to_error(code: str, detail: str) -> DomainError:
    if code == _STOCK_GONE:
        return InvalidTransition(f"{detail} The order was cancelled.")
    return InsufficientFunds(detail) if code == "insufficient_funds" else PaymentDeclined(detail)
