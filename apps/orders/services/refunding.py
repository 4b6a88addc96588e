"""Paying back.

A refund is a row that is committed before the provider is asked, and whose id is the provider's idempotency key. What
it promises is added to the payment in the same transaction, so that no two refunds promise the same money.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from uuid import UUID

from django.db import IntegrityError
from django.db.models import QuerySet
from django.db.models.functions import Now
from django.utils import timezone

from apps.common.databases import atomic
from apps.common.errors import Problem
from apps.common.ids import new_id
from apps.common.money import fits, quantize
from apps.orders import metrics
from apps.orders.interface import (
    SYSTEM,
    Actor,
    InvalidRefund,
    InvalidTransition,
    Order,
    OrderBusy,
    OrderStatus,
    PaymentStatus,
    PaymentUnknown,
    Refund,
    RefundStatus,
    RefundTooLarge,
    UnknownLine,
)
from apps.orders.models import OPEN_REFUNDS
from apps.orders.models import Order as OrderRow
from apps.orders.models import Payment as PaymentRow
from apps.orders.models import Refund as RefundRow
from apps.orders.payments.provider import Declined, NoAnswer, PaymentProvider, RefundReceipt
from apps.orders.services.paying import to_error
from apps.orders.services.pricing import merge
from apps.orders.services.rows import abandon_unconfirmed, check_idle, find, lock, move, require_staff, to_order
from apps.orders.states import Action, target
from apps.products.interface import StockLine

_UNKNOWN = "The payment provider has not confirmed the refund yet. It will be completed; look again in a minute."
# How a refund ends its order → what is done to the order then.
_ACTIONS = {"": Action.REFUND_PART, OrderStatus.REFUNDED: Action.REFUND, OrderStatus.CANCELLED: Action.CANCEL}


@dataclass(frozen=True)
class _Wish:
    """What is to be paid back; without an amount or lines, all that is left."""

    amount: Decimal | None = None
    lines: Sequence[StockLine] | None = None
    restock: bool | None = None


class Refunding:
    """The part of the orders service that gives money back."""

    _payments: PaymentProvider

    def cancel_order(self, *, order_id: UUID, actor: Actor, reason: str = "") -> Order:
        with atomic("orders"):
            row = lock(order_id, actor)
            target(Action.CANCEL, OrderStatus(row.status))
            payment = check_idle(row)
            if payment is None or payment.status == PaymentStatus.REQUIRES_ACTION:
                abandon_unconfirmed(row, payment)
                return move(row, Action.CANCEL, actor, reason)
            refund = _plan(row, payment, _Wish(), OrderStatus.CANCELLED)
            _promise(refund, payment, new_id(), actor, reason)
        return self._pay_back(refund)

    def refund_order(
        self,
        *,
        order_id: UUID,
        actor: Actor,
        reason: str = "",
        refund_id: UUID | None = None,
        amount: Decimal | None = None,
        lines: Sequence[StockLine] | None = None,
        restock: bool | None = None,
    ) -> Order:
        require_staff(actor)
        refund_id = refund_id or new_id()
        before = RefundRow.objects.filter(pk=refund_id, order_id=order_id).select_related("payment").first()
        if before is not None:
            return self._refund_told_again(before)
        return self._pay_back(_open_refund(order_id, refund_id, actor, reason, _Wish(amount, lines, restock)))

    def list_refunds(self, *, order_id: UUID, actor: Actor) -> Sequence[Refund]:
        return [_to_refund(row) for row in find(order_id, actor).refunds.order_by("created_at", "id")]

    def _refund_told_again(self, refund: RefundRow) -> Order:
        """The answer to a refund that was asked for before; one that was cut off is carried out now."""
        if refund.status in OPEN_REFUNDS:
            return self._pay_back(refund, is_known=True)
        if refund.status == RefundStatus.FAILED:
            raise to_error(refund.failure_code, refund.failure_detail)
        return to_order(refund.order)

    def _pay_back(self, refund: RefundRow, *, is_known: bool = False) -> Order:
        """Have the provider give the money back; if it will not, the order is as it was. Of a refund that it may know
        it is asked what became of it, first: it may have forgotten the key by now, and would pay a second time.

        Raises:
            PaymentDeclined, PaymentUnknown.
        """
        key, transaction_id = str(refund.id), refund.payment.transaction_id
        try:
            receipt = (
                self._payments.find_refund(idempotency_key=key, transaction_id=transaction_id) if is_known else None
            )
            receipt = receipt or self._payments.refund(
                idempotency_key=key, transaction_id=transaction_id, amount=refund.amount, currency=refund.currency
            )
        except Declined as refusal:
            self._refuse_refund(refund, refusal)
            raise to_error(refusal.code, refusal.detail) from refusal
        except NoAnswer as silence:
            _open(refund).update(status=RefundStatus.UNKNOWN)
            raise PaymentUnknown(_UNKNOWN) from silence
        if receipt.is_pending:
            _open(refund).update(status=RefundStatus.UNKNOWN, transaction_id=receipt.id)
            raise PaymentUnknown(_UNKNOWN)
        return _complete(refund, receipt)

    def _refuse_refund(self, refund: RefundRow, refusal: Declined) -> None:
        """Take back what a refund has promised."""
        with atomic("orders"):
            row = lock(refund.order_id, SYSTEM)
            if _open(refund).update(
                status=RefundStatus.FAILED,
                failure_code=refusal.code[:64],
                failure_detail=refusal.detail[:300],
                updated_at=Now(),
            ):
                payment = PaymentRow.objects.get(pk=refund.payment_id)
                payment.refunded_amount -= refund.amount
                payment.updated_at = Now()
                payment.save(update_fields=["refunded_amount", "updated_at"])
                metrics.count_refund(RefundStatus.FAILED)
                move(row, Action.FAIL_REFUND, SYSTEM, refusal.detail)


def _open_refund(order_id: UUID, refund_id: UUID, actor: Actor, reason: str, wish: _Wish) -> RefundRow:
    """Say that the provider will be asked. The unique row lets one refund of a payment through at a time."""
    try:
        with atomic("orders"):
            row = lock(order_id, actor)
            target(Action.REFUND, OrderStatus(row.status))
            payment = check_idle(row)
            if payment is None:
                raise InvalidTransition("Nothing was paid for the order.")
            refund = _plan(row, payment, wish, OrderStatus.REFUNDED)
            _promise(refund, payment, refund_id, actor, reason)
            return refund
    except IntegrityError:
        raise OrderBusy("The order is being refunded. Ask again in a moment.") from None


def _promise(refund: RefundRow, payment: PaymentRow, refund_id: UUID, actor: Actor, reason: str) -> None:
    """Write the refund, and what it promises of the locked order's payment."""
    refund.id, refund.actor_id, refund.reason = refund_id, actor.user_id, reason[:300]
    refund.save(force_insert=True)
    payment.refunded_amount += refund.amount
    payment.updated_at = Now()
    payment.save(update_fields=["refunded_amount", "updated_at"])


def _complete(refund: RefundRow, receipt: RefundReceipt) -> Order:
    with atomic("orders"):
        row = lock(refund.order_id, SYSTEM)
        if not _open(refund).update(
            status=RefundStatus.SUCCEEDED, transaction_id=receipt.id, refunded_at=timezone.now(), updated_at=Now()
        ):
            return to_order(row)
        status = PaymentStatus.REFUNDED if refund.ends_as else PaymentStatus.PARTIALLY_REFUNDED
        PaymentRow.objects.filter(pk=refund.payment_id).update(status=status, updated_at=Now())
        actor = Actor(user_id=refund.actor_id)
        refund.status = RefundStatus.SUCCEEDED
        metrics.count_refund(RefundStatus.SUCCEEDED)
        return move(row, _ACTIONS[refund.ends_as], actor, refund.reason, more=_told(row, refund))


def _plan(row: OrderRow, payment: PaymentRow, wish: _Wish, end: OrderStatus) -> RefundRow:
    """The refund that a wish comes to, unsaved. `end` is where it leads if nothing is left.

    Raises:
        RefundTooLarge, UnknownLine, InvalidRefund.
    """
    left = payment.amount - payment.refunded_amount
    units = _units_left(row)
    lines = _check_lines(wish.lines, units) if wish.lines is not None else None
    amount = _amount(row, wish.amount, lines, left)
    is_all, never_left = amount == left, row.status == OrderStatus.PAID
    if is_all and (lines is None or never_left):
        # The last of the money pays for all that has not been named before. What was never sent will not be.
        lines = [StockLine(product_id=key, quantity=count) for key, count in units.items() if count]
    elif lines is None and wish.restock:
        raise InvalidRefund(Problem("Name the lines whose goods go back on the shelves.", attr="restock"))
    lines = lines or []
    return RefundRow(
        order=row,
        payment=payment,
        amount=amount,
        currency=payment.currency,
        lines=[{"product_id": str(line.product_id), "quantity": line.quantity} for line in lines],
        restock=bool(lines) and (never_left if wish.restock is None else wish.restock),
        ends_as=end if is_all else "",
    )


def _amount(row: OrderRow, given: Decimal | None, lines: Sequence[StockLine] | None, left: Decimal) -> Decimal:
    """What is to be paid back: what was said, or else what the lines cost, or else all that is left."""
    if given is not None:
        amount, attr = given, "amount"
    elif lines is not None:
        prices = {item.product_id: item.price for item in row.items.all()}
        amount, attr = sum((prices[line.product_id] * line.quantity for line in lines), Decimal(0)), "items"
    else:
        return left
    if amount <= 0:
        raise InvalidRefund(Problem("A refund must be more than nothing.", attr=attr))
    if not fits(amount, row.currency):
        raise InvalidRefund(Problem(f"{row.currency} has no such fractions.", attr=attr))
    if amount > left:
        rest = quantize(left, row.currency)
        raise RefundTooLarge(Problem(f"{rest} {row.currency} are left of the payment.", attr=attr))
    return amount


def _units_left(row: OrderRow) -> dict[UUID, int]:
    """What was bought and no refund has paid for, by product."""
    units = Counter({item.product_id: item.quantity for item in row.items.all()})
    for lines in row.refunds.exclude(status=RefundStatus.FAILED).values_list("lines", flat=True):
        units.subtract({line.product_id: line.quantity for line in _unpack(lines)})
    return dict(units)


def _check_lines(lines: Sequence[StockLine], units: Mapping[UUID, int]) -> Sequence[StockLine]:
    wanted = merge(lines)
    unknown = [line.product_id for line in wanted if line.product_id not in units]
    if unknown:
        raise UnknownLine(*(Problem(f"Product {key} was not ordered.", attr=f"items.{key}") for key in unknown))
    short = [line for line in wanted if line.quantity > units[line.product_id]]
    if short:
        raise RefundTooLarge(
            *(
                Problem(f"{units[line.product_id]} units are left to refund.", attr=f"items.{line.product_id}")
                for line in short
            )
        )
    return wanted


def _told(row: OrderRow, refund: RefundRow) -> dict[str, Any]:
    """What the event of a refund tells besides the order."""
    restocked = row.refunds.filter(status=RefundStatus.SUCCEEDED, restock=True).order_by("id")
    return {
        "refund": {
            "refund_id": str(refund.id),
            "amount": str(quantize(refund.amount, refund.currency)),
            "lines": refund.lines,
            "restock": refund.restock,
        },
        "restock": refund.restock,
        "returns": [{"return_id": str(each.id), "lines": each.lines} for each in restocked],
    }


def _open(refund: RefundRow) -> QuerySet[RefundRow]:
    """The row, as long as its outcome is to be found: whoever updates it first decides."""
    return RefundRow.objects.filter(pk=refund.pk, status__in=OPEN_REFUNDS)


def _unpack(lines: Sequence[Mapping[str, Any]]) -> list[StockLine]:
    return [StockLine(product_id=UUID(line["product_id"]), quantity=line["quantity"]) for line in lines]


def _to_refund(row: RefundRow) -> Refund:
    return Refund(
        id=row.id,
        amount=quantize(row.amount, row.currency),
        currency=row.currency,
        status=RefundStatus(row.status),
        items=_unpack(row.lines),
        restock=row.restock,
        reason=row.reason,
        failure_detail=row.failure_detail,
        created_at=row.created_at,
        refunded_at=row.refunded_at,
    )
