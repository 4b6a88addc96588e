"""The demo's orders: a month of them, in every state, each with the timeline and the payment that led there."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from random import Random
from uuid import UUID

from django.conf import settings

from apps.common.bulk import insert
from apps.common.databases import atomic
from apps.common.demo import (
    Booking,
    Buyer,
    CatalogueSeeder,
    CustomerSeeder,
    Good,
    Line,
    OrderSeeder,
    Plan,
    Progress,
    batches,
    dice,
)
from apps.common.ids import derived_id
from apps.orders.interface import OrderStatus, PaymentStatus, RefundStatus, ShippingAddress
from apps.orders.models import Order, OrderItem, OrderTransition, Payment, Refund, SandboxCharge, SandboxRefund
from apps.orders.reports.counting import count_new
from apps.orders.reports.facts import Facts
from apps.orders.reports.sources import to_facts
from apps.orders.services.pricing import shipping_cost
from apps.orders.services.rows import RESERVATION_MARGIN
from apps.orders.states import Action, target

_PAY, _DECLINE, _SHIP, _DELIVER = Action.PAY, Action.FAIL_PAYMENT, Action.SHIP, Action.DELIVER
_CANCEL, _EXPIRE, _REFUND = Action.CANCEL, Action.EXPIRE, Action.REFUND


@dataclass(frozen=True)
class _Story:
    """What became of an order, how many of a hundred go that way, and how many hours ago they were placed."""

    steps: tuple[Action, ...]
    share: int
    youngest: float
    oldest: float


_MONTH = 30 * 24
_STORIES = (
    _Story((), 5, 0.1, 3),
    _Story((_PAY,), 12, 5, 48),
    _Story((_PAY, _SHIP), 14, 36, 100),
    _Story((_PAY, _SHIP, _DELIVER), 41, 120, _MONTH),
    _Story((_CANCEL,), 5, 2, _MONTH),
    _Story((_PAY, _CANCEL), 4, 12, _MONTH),
    _Story((_EXPIRE,), 6, 2, _MONTH),
    _Story((_PAY, _REFUND), 3, 100, _MONTH),
    _Story((_PAY, _SHIP, _REFUND), 2, 130, _MONTH),
    _Story((_PAY, _SHIP, _DELIVER, _REFUND), 3, 240, _MONTH),
    _Story((_DECLINE, _PAY, _SHIP, _DELIVER), 4, 120, _MONTH),
    _Story((_DECLINE,), 1, 0.1, 3),
)
_SHARES = [story.share for story in _STORIES]
# Action → after how many minutes, at least and at most. An order is younger than the sum of its steps: see `youngest`.
_DELAYS = {
    _PAY: (2, 12),
    _DECLINE: (1, 3),
    _SHIP: (6 * 60, 30 * 60),
    _DELIVER: (24 * 60, 72 * 60),
    _CANCEL: (10, 25),
    _REFUND: (12 * 60, 72 * 60),
}
_REASONS = {
    _DECLINE: ("The card was declined.",),
    _EXPIRE: ("not paid in time",),
    _CANCEL: ("changed my mind", "ordered twice", "found it nearby"),
    _REFUND: ("arrived damaged", "does not fit", "wrong colour", "came too late"),
}
_METHODS = ("card", "card", "card", "wallet", "bank_transfer")
_QUANTITIES = (1, 1, 1, 1, 2, 2, 3)
_LINES = (1, 1, 1, 1, 1, 2, 2, 2, 3, 4)
_NOTES = ("", "", "", "", "", "Please leave it with the neighbours.", "It is a gift: no invoice in the box, please.")
_STREETS = ("Mill Lane", "Station Road", "Church Street", "Park Avenue", "Harbour Street", "Oak Avenue", "River Walk")
_CITIES = (
    ("Portland", "OR", "US", "97201"),
    ("Boston", "MA", "US", "02108"),
    ("Bristol", "", "GB", "BS1 4DJ"),
    ("Lyon", "", "FR", "69002"),
    ("Leipzig", "", "DE", "04109"),
    ("Malmö", "", "SE", "211 22"),
    ("上海", "", "CN", "200001"),
)


@dataclass(frozen=True)
class _Step:
    """A change of an order: one line of its timeline."""

    action: Action
    status: OrderStatus
    at: datetime
    actor_id: UUID | None
    reason: str


@dataclass(frozen=True)
class _Draft:
    """An order as it was placed, before its customer and its products are looked up."""

    index: int
    chance: Random
    story: _Story
    placed_at: datetime
    buyer: int
    goods: Mapping[int, int]

    @property
    def order_id(self) -> UUID:
        return derived_id(self.placed_at, f"order:{self.index}")


@dataclass(frozen=True)
class _Rows:
    """All that is written of one order."""

    order: Order
    items: Sequence[OrderItem]
    steps: Sequence[_Step]
    payments: Sequence[Payment]
    refunds: Sequence[Refund]
    booking: Booking


class DemoOrders(OrderSeeder):
    """Writes orders and their payments. Orders are known by their numbers."""

    def seed(
        self,
        plan: Plan,
        anchor: datetime,
        progress: Progress,
        *,
        customers: CustomerSeeder,
        catalogue: CatalogueSeeder,
    ) -> int:
        # Without the demo's log-ins, whoever has these addresses is a real person.
        clerk = customers.account("orders") if plan.accounts else None
        showcase = customers.account("customer") if plan.accounts else None
        made = 0
        for indices in batches(plan.orders):
            drafts = [_draft(plan, anchor, index) for index in _missing(indices)]
            buyers = customers.find({draft.buyer for draft in drafts})
            goods = catalogue.find({index for draft in drafts for index in draft.goods})
            writer = _Writer(plan, clerk.user_id if clerk else None, buyers, goods)
            rows = [writer.rows_of(draft, showcase if draft.index < len(_STORIES) else None) for draft in drafts]
            # Should this process die in between, the next run finds the orders missing and books their stock anew.
            catalogue.book([row.booking for row in rows], plan)
            with atomic("orders"):
                _write(rows)
                count_new({row.order.id: _facts(row) for row in rows})
            made += len(rows)
            progress(len(indices))
        return made


class _Writer:
    """Turns drafts into rows."""

    def __init__(
        self, plan: Plan, clerk_id: UUID | None, buyers: Mapping[int, Buyer], goods: Mapping[int, Good]
    ) -> None:
        self._plan = plan
        self._clerk_id = clerk_id
        self._buyers = buyers
        self._goods = goods

    def rows_of(self, draft: _Draft, buyer: Buyer | None) -> _Rows:
        """The draft's rows; `buyer` is given for the orders that the demo's own customer sees."""
        buyer = buyer or self._buyers.get(draft.buyer) or next(iter(self._buyers.values()))
        lines = self._lines(draft)
        steps = list(self._steps(draft, buyer.user_id))
        order = self._order(draft, buyer, lines, steps)
        items = [_item(draft, order.id, position, line) for position, line in enumerate(lines)]
        payments = list(_payments(draft, order, steps))
        return _Rows(
            order=order,
            items=items,
            steps=steps,
            payments=payments,
            refunds=[_refund(order, items, steps, each) for each in payments if each.refunded_amount],
            booking=_booking(order, lines, steps),
        )

    def _lines(self, draft: _Draft) -> list[Line]:
        """What was ordered; a product that has been taken away since is replaced by another."""
        lines = [Line(self._goods[index], quantity) for index, quantity in draft.goods.items() if index in self._goods]
        return lines or [Line(next(iter(self._goods.values())), 1)]

    def _steps(self, draft: _Draft, buyer_id: UUID) -> Iterator[_Step]:
        at, status = draft.placed_at, OrderStatus.PENDING
        for action in draft.story.steps:
            reason = draft.chance.choice(_REASONS.get(action, ("",)))
            status = target(action, status)
            at += _delay(draft.chance, action)
            yield _Step(action, status, at, self._actor_of(action, buyer_id), reason)

    def _actor_of(self, action: Action, buyer_id: UUID) -> UUID | None:
        if action in (_PAY, _CANCEL):
            return buyer_id
        return None if action in (_DECLINE, _EXPIRE) else self._clerk_id

    def _order(self, draft: _Draft, buyer: Buyer, lines: Sequence[Line], steps: Sequence[_Step]) -> Order:
        currency = lines[0].good.currency
        subtotal = sum((line.good.price * line.quantity for line in lines), Decimal(0))
        address = _address(draft.chance, buyer.name, currency)
        cost = shipping_cost(address, currency)
        status = steps[-1].status if steps else OrderStatus.PENDING
        return Order(
            id=draft.order_id,
            number=_number(draft.index),
            user_id=buyer.user_id,
            status=status,
            currency=currency,
            subtotal=subtotal,
            shipping_cost=cost,
            total=subtotal + cost,
            shipping=dict(vars(address)),
            note=draft.chance.choice(_NOTES),
            sequence=1 + len(steps),
            expires_at=self._expiry(draft, status),
            created_at=draft.placed_at,
            updated_at=steps[-1].at if steps else draft.placed_at,
        )

    def _expiry(self, draft: _Draft, status: OrderStatus) -> datetime:
        """An order that is still to be paid waits long enough to be looked at."""
        if status == OrderStatus.PENDING:
            return self._plan.now + timedelta(minutes=draft.chance.randrange(60, 12 * 60))
        ttl: timedelta = settings.RESERVATION_TTL
        return draft.placed_at + ttl


def _missing(indices: Sequence[int]) -> list[int]:
    numbers = [_number(index) for index in indices]
    known = set(Order.objects.filter(number__in=numbers).order_by().values_list("number", flat=True))
    return [index for index, number in zip(indices, numbers, strict=True) if number not in known]


def _number(index: int) -> str:
    """Does not depend on time or seed: it says whether the order was made before."""
    return f"DEMO-{index + 1:07d}"


def _draft(plan: Plan, anchor: datetime, index: int) -> _Draft:
    # Whatever the seed: the id follows from the time, and by its id a run finds what a killed one has booked.
    history = dice(0, "history", index)
    story = _STORIES[index] if index < len(_STORIES) else history.choices(_STORIES, _SHARES)[0]
    age = story.youngest + (story.oldest - story.youngest) * history.random()
    chance = dice(plan.seed, "order", index)
    return _Draft(
        index=index,
        chance=chance,
        story=story,
        placed_at=anchor - timedelta(seconds=int(age * 3600)),
        buyer=chance.randrange(plan.customers),
        # Squared: some products are far more popular than others.
        goods={
            int(plan.products * chance.random() ** 2): chance.choice(_QUANTITIES) for _ in range(chance.choice(_LINES))
        },
    )


def _delay(chance: Random, action: Action) -> timedelta:
    if action == _EXPIRE:
        ttl: timedelta = settings.RESERVATION_TTL
        return ttl
    return timedelta(seconds=chance.randrange(*(60 * minutes for minutes in _DELAYS[action])))


def _address(chance: Random, name: str, currency: str) -> ShippingAddress:
    city, state, country, zip_code = chance.choice(_CITIES)
    return ShippingAddress(
        name=name,
        address=f"{chance.randrange(1, 180)} {chance.choice(_STREETS)}",
        city=city,
        state=state,
        country=country,
        zip_code=zip_code,
        method=chance.choice(
            [m for m, prices in settings.SHIPPING_METHODS.items() if not prices or currency in prices]
        ),
    )


def _item(draft: _Draft, order_id: UUID, position: int, line: Line) -> OrderItem:
    return OrderItem(
        id=derived_id(draft.placed_at, f"item:{draft.index}:{position}", position),
        order_id=order_id,
        product_id=line.good.product_id,
        product_name=line.good.name,
        sku=line.good.sku,
        quantity=line.quantity,
        price=line.good.price,
        total=line.good.price * line.quantity,
    )


def _payments(draft: _Draft, order: Order, steps: Sequence[_Step]) -> Iterator[Payment]:
    """The attempts to pay: declined ones, and the one that went through with, perhaps, its refund."""
    method = draft.chance.choice(_METHODS)
    refund = next((step for step in steps if step.action in (_CANCEL, _REFUND)), None)
    for step in steps:
        if step.action not in (_PAY, _DECLINE):
            continue
        payment = Payment(
            id=derived_id(step.at, f"payment:{draft.index}"),
            order_id=order.id,
            provider="sandbox",
            method=method,
            amount=order.total,
            currency=order.currency,
            created_at=step.at,
            updated_at=step.at,
        )
        if step.action == _DECLINE:
            payment.status = PaymentStatus.FAILED
            payment.failure_code, payment.failure_detail = "card_declined", step.reason
        else:
            _settle(payment, step, refund)
        yield payment


def _settle(payment: Payment, paid: _Step, refund: _Step | None) -> None:
    """Make the attempt one that succeeded, and was paid back if the order was refunded."""
    payment.status = PaymentStatus.SUCCEEDED
    payment.transaction_id = f"sandbox_{derived_id(paid.at, f'charge:{payment.id}').hex}"
    payment.paid_at = paid.at
    if refund:
        payment.status = PaymentStatus.REFUNDED
        payment.refunded_amount = payment.amount
        payment.updated_at = refund.at


def _refund(order: Order, items: Sequence[OrderItem], steps: Sequence[_Step], payment: Payment) -> Refund:
    """How the whole of a payment was paid back."""
    last = steps[-1]
    refund_id = derived_id(last.at, f"refund:{payment.id}")
    return Refund(
        id=refund_id,
        order_id=order.id,
        payment_id=payment.id,
        amount=payment.amount,
        currency=payment.currency,
        status=RefundStatus.SUCCEEDED,
        lines=[{"product_id": str(item.product_id), "quantity": item.quantity} for item in items],
        restock=all(step.action != _SHIP for step in steps),
        ends_as=last.status,
        actor_id=last.actor_id,
        reason=last.reason,
        transaction_id=f"sandbox_refund_{refund_id.hex}",
        created_at=last.at,
        updated_at=last.at,
        refunded_at=last.at,
    )


def _booking(order: Order, lines: Sequence[Line], steps: Sequence[_Step]) -> Booking:
    """What the order did to the stock: goods that never left the shop went back on its shelves."""
    at = {step.action: step.at for step in steps}
    sold_at = at.get(_PAY)
    return Booking(
        order_id=order.id,
        lines=lines,
        placed_at=order.created_at,
        expires_at=order.expires_at + RESERVATION_MARGIN,
        held=order.status == OrderStatus.PENDING,
        sold_at=sold_at,
        returned_at=(at.get(_CANCEL) or at.get(_REFUND)) if sold_at and _SHIP not in at else None,
    )


def _write(rows: Sequence[_Rows]) -> None:
    insert(row.order for row in rows)
    insert(item for row in rows for item in row.items)
    insert(_transitions(rows))
    insert(payment for row in rows for payment in row.payments)
    insert(refund for row in rows for refund in row.refunds)
    insert(_charge(payment) for row in rows for payment in row.payments if payment.paid_at)
    insert(_paid_back(refund) for row in rows for refund in row.refunds)


def _facts(row: _Rows) -> Facts:
    """What the order counts for in the reports."""
    return to_facts(row.order, row.items, [payment for payment in row.payments if payment.paid_at], row.refunds)


def _transitions(rows: Iterable[_Rows]) -> Iterator[OrderTransition]:
    for row in rows:
        for sequence, step in enumerate(row.steps, start=2):
            yield OrderTransition(
                order_id=row.order.id,
                sequence=sequence,
                status=step.status,
                action=step.action,
                actor_id=step.actor_id,
                reason=step.reason,
                at=step.at,
            )


def _charge(payment: Payment) -> SandboxCharge:
    """The same payment in the sandbox provider's books."""
    return SandboxCharge(
        idempotency_key=str(payment.id),
        amount=payment.amount,
        currency=payment.currency,
        transaction_id=payment.transaction_id,
        refunded_amount=payment.refunded_amount,
        state=SandboxCharge.State.CAPTURED,
        created_at=payment.paid_at or payment.created_at,
    )


def _paid_back(refund: Refund) -> SandboxRefund:
    """The same refund in the sandbox provider's books."""
    return SandboxRefund(
        idempotency_key=str(refund.id),
        charge_id=str(refund.payment_id),
        amount=refund.amount,
        transaction_id=refund.transaction_id,
        created_at=refund.created_at,
    )
