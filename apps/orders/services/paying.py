"""Paying.

The provider is asked outside of any transaction. Before, a row says that it will be; after, a second transaction says
what came of it. A process that dies in between leaves an open row, and `settle_open_orders` asks the provider.

Only the provider's last step, capturing, moves money, and it is taken for a payment that is still open. What was
authorised for one that is not is voided; what was captured all the same is given back.
"""

from contextlib import suppress
from datetime import timedelta
from uuid import UUID

from django.db import IntegrityError
from django.db.models import QuerySet
from django.db.models.functions import Now
from django.utils import timezone

from apps.common.databases import atomic, later
from apps.common.errors import DomainError, PaymentRefused, Problem
from apps.orders import metrics
from apps.orders.interface import (
    SYSTEM,
    Actor,
    InsufficientFunds,
    InvalidTransition,
    NextAction,
    Order,
    OrderBusy,
    OrderStatus,
    PaymentDeclined,
    PaymentStatus,
    PaymentUnknown,
    UnknownPaymentMethod,
)
from apps.orders.models import ABANDONED, NEVER_ARRIVED, OPEN_PAYMENTS, UNSETTLED_PAYMENTS
from apps.orders.models import Payment as PaymentRow
from apps.orders.payments.provider import Declined, NoAnswer, PaymentProvider, Transaction, TransactionState
from apps.orders.services.rows import abandon_unconfirmed, check_idle, find, lock, move, to_order
from apps.orders.states import Action, target
from apps.products.interface import ProductService, ReservationClosed, ReservationNotFound

# Once a payment has begun, its stock must not be given away while the outcome is being found out.
_HELD_WHILE_PAYING = timedelta(days=7)
# By then a transaction has turned up at the provider, or never will.
_CERTAIN_AFTER = timedelta(hours=1)
# What became of a payment that was given up, once it is certain.
NEVER_CHARGED, _CHARGED_LATE = "never_charged", "charged_late"
_NOT_ASKED, _STOCK_GONE, _NOT_CONFIRMED = "not_asked", "stock_lost", "not_confirmed"
_STOCK_LOST = "The stock was given back before the order was paid."
_UNKNOWN = "The payment provider did not answer. What became of the payment is being found out; look again in a minute."


class Paying:
    """The part of the orders service that takes money."""

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
            transaction = self._payments.authorise(
                idempotency_key=str(payment.id),
                amount=payment.amount,
                currency=payment.currency,
                method=method,
                token=token,
            )
            return self._carry_through(payment, transaction, actor)
        except Declined as refusal:
            self._fail(payment, refusal.code, refusal.detail)
            raise to_error(refusal.code, refusal.detail) from refusal
        except NoAnswer as silence:
            if _open(payment).update(status=PaymentStatus.UNKNOWN, updated_at=Now()):
                metrics.count_payment(PaymentStatus.UNKNOWN)
            raise PaymentUnknown(_UNKNOWN) from silence

    def _find(self, payment: PaymentRow) -> Transaction | None:
        return self._payments.find(
            idempotency_key=str(payment.id),
            transaction_id=payment.transaction_id,
            amount=payment.amount,
            currency=payment.currency,
        )

    def _settle_confirmation(self, payment: PaymentRow, found: Transaction | None) -> bool:
        """Go on with a payment that its customer has confirmed, or refused to."""
        if found is not None and found.state == TransactionState.REQUIRES_ACTION:
            return False
        if found is None or found.state in (TransactionState.CREATED, TransactionState.VOIDED):
            return self._fail(payment, _NOT_CONFIRMED, "The payment was not confirmed.")
        if not _claim(payment):
            return False
        try:
            self._hold_stock(payment)
            self._carry_through(payment, found, SYSTEM)
        except Declined as refusal:
            self._fail(payment, refusal.code, refusal.detail)
        except (PaymentRefused, InvalidTransition):
            # It was given up, or the stock has gone: nothing stays held at the provider.
            self._return_stray(payment, found)
        return True

    def _carry_through(self, payment: PaymentRow, found: Transaction, actor: Actor) -> Order:
        """Take an open payment as far as it goes.

        Raises:
            Declined, NoAnswer.
        """
        if found.state == TransactionState.REQUIRES_ACTION:
            return self._await_customer(payment, found)
        if found.state == TransactionState.VOIDED:
            raise Declined(_NOT_CONFIRMED, "The payment was not confirmed.")
        if found.state == TransactionState.AUTHORISED:
            # Nothing is captured whose transaction is not on record, nor for a payment that was given up.
            if not _open(payment).update(transaction_id=found.id):
                return self._come_late(payment, found)
            found = self._payments.capture(idempotency_key=str(payment.id), transaction_id=found.id)
        return self._succeed(payment, found, actor)

    def _await_customer(self, payment: PaymentRow, found: Transaction) -> Order:
        waiting = _open(payment).update(status=PaymentStatus.REQUIRES_ACTION, transaction_id=found.id, updated_at=Now())
        if not waiting:
            return self._come_late(payment, found)
        metrics.count_payment(PaymentStatus.REQUIRES_ACTION)
        return to_order(payment.order, next_action=found.next_action)

    def _succeed(self, payment: PaymentRow, found: Transaction, actor: Actor) -> Order:
        with atomic("orders"):
            row = lock(payment.order_id, SYSTEM)
            won = _open(payment).update(
                status=PaymentStatus.SUCCEEDED, transaction_id=found.id, paid_at=timezone.now(), updated_at=Now()
            )
            if won:
                metrics.count_payment(PaymentStatus.SUCCEEDED)
                return move(row, Action.PAY, actor)
        return self._come_late(payment, found)

    def _come_late(self, payment: PaymentRow, found: Transaction) -> Order:
        """A reconciliation was faster: it has carried the payment through, or given it up; then nothing is kept."""
        payment.refresh_from_db()
        if payment.status == PaymentStatus.FAILED:
            # If the provider does not answer, `settle_open_orders` finds the transaction.
            with suppress(NoAnswer, Declined):
                self._return_stray(payment, found)
            raise to_error(payment.failure_code, payment.failure_detail)
        return to_order(payment.order)

    def _return_stray(self, payment: PaymentRow, found: Transaction | None) -> bool:
        """Void or give back what the provider has for a payment that has failed; whether there was something.

        The payment is looked at until that has happened, or it is certain that nothing will come.

        Raises:
            NoAnswer, Declined: it is looked at again.
        """
        if found is None:
            _given_up(payment).filter(updated_at__lt=later(-_CERTAIN_AFTER)).update(failure_code=NEVER_CHARGED)
            return False
        if found.state == TransactionState.CAPTURED:
            self._give_back(payment, found)
            return self._close(payment, _CHARGED_LATE)
        if found.state != TransactionState.VOIDED:
            self._void(payment, found)
        return self._close(payment, NEVER_CHARGED)

    def _give_back(self, payment: PaymentRow, found: Transaction) -> None:
        if found.refunded < payment.amount:
            self._payments.refund(
                idempotency_key=f"{payment.id}-return",
                transaction_id=found.id,
                amount=payment.amount - found.refunded,
                currency=payment.currency,
            )

    def _void(self, payment: PaymentRow, found: Transaction) -> None:
        self._payments.void(idempotency_key=str(payment.id), transaction_id=found.id)

    def _close(self, payment: PaymentRow, code: str) -> bool:
        """Look no longer for what became of a payment that was given up."""
        return bool(_given_up(payment).update(failure_code=code))

    def _hold_stock(self, payment: PaymentRow) -> None:
        """Make sure that what is about to be paid for stays there; an order whose stock is gone is cancelled.

        The payment is open already: until it is settled, nobody changes or ends the order.
        """
        try:
            self._products.extend_reservation(order_id=payment.order_id, hold_for=_HELD_WHILE_PAYING)
        except (ReservationClosed, ReservationNotFound):
            if not self._fail(payment, _STOCK_GONE, _STOCK_LOST, then_cancel=True):
                payment.refresh_from_db()
            raise to_error(payment.failure_code or _STOCK_GONE, payment.failure_detail or _STOCK_LOST) from None
        except Exception:
            if payment.transaction_id:
                # The customer has confirmed it: it is tried again.
                _open(payment).update(status=PaymentStatus.REQUIRES_ACTION)
            else:
                # Nothing was asked of the provider, so the order need not wait for its answer.
                self._fail(payment, _NOT_ASKED, "The payment was not attempted.")
            raise

    def _open_payment(self, order_id: UUID, payment_id: UUID, actor: Actor, method: str, *, again: bool) -> PaymentRow:
        """Say that the provider will be asked. The unique row lets one payment of an order through at a time."""
        try:
            with atomic("orders"):
                row = lock(order_id, actor)
                target(Action.PAY, OrderStatus(row.status))
                abandon_unconfirmed(row, check_idle(row))
                payment = PaymentRow(
                    id=payment_id,
                    order=row,
                    provider=self._payments.name,
                    method=method,
                    amount=row.total,
                    currency=row.currency,
                    updated_at=Now(),
                )
                # A payment that was never asked for is opened anew, under its old id.
                payment.save(force_insert=not again, force_update=again)
                return payment
        except IntegrityError:
            raise OrderBusy("The order is being paid. Ask again in a moment.") from None

    def _fail(self, payment: PaymentRow, code: str, detail: str, *, then_cancel: bool = False) -> bool:
        with atomic("orders"):
            row = lock(payment.order_id, SYSTEM)
            won = PaymentRow.objects.filter(pk=payment.pk, status__in=UNSETTLED_PAYMENTS).update(
                status=PaymentStatus.FAILED,
                failure_code=code[:64],
                failure_detail=detail[:300],
                updated_at=Now(),
            )
            if won:
                metrics.count_payment(PaymentStatus.FAILED, code)
                move(row, Action.FAIL_PAYMENT, SYSTEM, detail)
                if then_cancel:
                    move(row, Action.CANCEL, SYSTEM, detail)
            return bool(won)

    def _told_again(self, payment: PaymentRow, actor: Actor) -> Order:
        """The answer to a payment that was asked for before."""
        find(payment.order_id, actor)
        next_action = None
        if payment.status == PaymentStatus.REQUIRES_ACTION:
            next_action = self._ask_again(payment)
            payment.refresh_from_db()
        if payment.status == PaymentStatus.FAILED:
            raise to_error(payment.failure_code, payment.failure_detail)
        if payment.status in OPEN_PAYMENTS:
            raise PaymentUnknown(_UNKNOWN)
        return to_order(payment.order, next_action=next_action)

    def _ask_again(self, payment: PaymentRow) -> NextAction | None:
        """What the customer must do; nothing if that is done: then the payment goes on at once."""
        try:
            found = self._find(payment)
            self._settle_confirmation(payment, found)
        except Declined as refusal:
            self._fail(payment, refusal.code, refusal.detail)
        except NoAnswer as silence:
            raise PaymentUnknown(_UNKNOWN) from silence
        else:
            return found.next_action if found else None
        return None


def to_error(code: str, detail: str) -> DomainError:
    """The refusal of a payment or refund, as the interface knows it."""
    if code == _STOCK_GONE:
        return InvalidTransition(f"{detail} The order was cancelled.")
    return InsufficientFunds(detail) if code == "insufficient_funds" else PaymentDeclined(detail)


def _open(payment: PaymentRow) -> QuerySet[PaymentRow]:
    """The row, as long as its outcome is to be found: whoever updates it first decides."""
    return PaymentRow.objects.filter(pk=payment.pk, status__in=OPEN_PAYMENTS)


def _given_up(payment: PaymentRow) -> QuerySet[PaymentRow]:
    """The row, as long as it is looked for what became of it at the provider."""
    return PaymentRow.objects.filter(pk=payment.pk, failure_code__in=[NEVER_ARRIVED, ABANDONED])


def _claim(payment: PaymentRow) -> bool:
    """Take a confirmed payment in hand, unless it was abandoned meanwhile."""
    with atomic("orders"):
        if lock(payment.order_id, SYSTEM).status != OrderStatus.PENDING:
            return False
        unconfirmed = PaymentRow.objects.filter(pk=payment.pk, status=PaymentStatus.REQUIRES_ACTION)
        return bool(unconfirmed.update(status=PaymentStatus.PROCESSING, updated_at=Now()))
