"""Customers, staff and deliveries in any order, against a model of what a shop is.

`EXAMPLES=500 pytest tests/chaos/test_state_machine.py --hypothesis-seed 7` looks longer; so does `make chaos`.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any
from unittest.mock import patch
from uuid import UUID

import pytest
from celery import current_app
from django.db import transaction
from django.utils import timezone
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from apps.common.databases import alias_of, all_aliases
from apps.common.errors import DomainError
from apps.common.ids import new_id
from apps.events.models import FailedDelivery, OutboxEvent
from apps.orders.interface import SYSTEM, Actor, NewOrder, OrderChange
from apps.orders.models import OPEN_PAYMENTS, Order, Payment, Refund, SandboxCharge
from apps.orders.payments.provider import Declined, NoAnswer, RefundReceipt
from apps.orders.payments.sandbox import SandboxProvider
from apps.orders.tests.factories import confirm, make_product
from apps.products.interface import StockLine
from apps.products.models import Reservation
from config import services
from tests.chaos.model import (
    ASKS,
    DECLINED,
    GOOD,
    LOST,
    POOR,
    PRICE,
    SLOW,
    Fate,
    Lines,
    Message,
    OrderModel,
    ShopModel,
    Wish,
)
from tests.flow import audit, deliver_events

EXAMPLES = int(os.environ.get("EXAMPLES", "0"))
_QUICK, _STEPS = 40, 20
_STOCK = (20, 8, 1)
_USER = UUID("01938d5e-0000-7000-8000-000000000001")
_OWNER = Actor(user_id=_USER)
_STOCK_EVENTS = ("order.paid", "order.cancelled", "order.expired", "order.refunded", "refund.completed")
_PAID = ("paid", "shipped", "delivered")
_LONG_AGO = timedelta(days=1)

some_lines = st.dictionaries(st.integers(0, len(_STOCK) - 1), st.integers(1, 4), min_size=1)
# Counted from the last, so that much happens to few.
some_order = st.integers(0, 3)
_ANY = 3
some_token = st.sampled_from([GOOD, GOOD, GOOD, DECLINED, POOR, SLOW, LOST, ASKS, ASKS])
some_course = st.sampled_from(
    [
        (),
        ("confirm",),
        ("cancel",),
        ("confirm", "ship"),
        ("confirm", "refund"),
        ("confirm", "refund", "settle", "refund"),
        ("confirm", "ship", "refund"),
        ("hold", "confirm", "refund"),
    ]
)
some_fate: st.SearchStrategy[Fate] = st.sampled_from(["made", "made", "made", "refused", "silent", "unheard"])
some_amount = st.none() | st.integers(1, 3 * PRICE)
some_part = st.dictionaries(st.integers(0, len(_STOCK) - 1), st.integers(1, 2), min_size=1, max_size=2)
some_wish = st.builds(Wish, some_amount, st.none() | some_part, st.sampled_from([None, None, True, False]))
some_states = st.sampled_from(["authorised", "authorised", "voided"])
some_deliveries = st.lists(st.integers(0, 3), min_size=1, max_size=4)


class ShopMachine(RuleBasedStateMachine):
    """Does to the services and to the model the same, and compares."""

    products: Sequence[UUID]

    def __init__(self) -> None:
        super().__init__()
        self._stack = ExitStack()
        for alias in all_aliases():
            self._stack.enter_context(transaction.atomic(using=alias))
        self.model = ShopModel(Counter(dict(enumerate(_STOCK))))
        self.ids: list[UUID] = []
        self.asked: list[UUID] = []

    def teardown(self) -> None:
        try:
            self._deliver_the_rest()
        finally:
            for alias in all_aliases():
                transaction.set_rollback(True, using=alias)
            self._stack.close()

    @rule(lines=some_lines)
    def place(self, lines: Lines) -> None:
        order_id = new_id()
        new = NewOrder(lines=self._lines(lines))
        self._same(
            lambda: services.orders().place_order(order_id=order_id, user_id=_USER, new=new), self.model.place(lines)
        )
        if len(self.model.orders) > len(self.ids):
            self.ids.append(order_id)

    @precondition(lambda self: self.ids)
    @rule(order=some_order, lines=some_lines)
    def change(self, order: int, lines: Lines) -> None:
        number, order_id = self._pick(order, "pending")
        change = OrderChange(lines=self._lines(lines))
        self._same(
            lambda: services.orders().change_order(order_id=order_id, actor=_OWNER, change=change),
            self.model.change(number, lines),
        )

    @precondition(lambda self: self.ids)
    @rule(order=some_order, token=some_token)
    def pay(self, order: int, token: str) -> None:
        number, order_id = self._pick(order, "pending")
        payment_id = new_id()
        details = {"payment_id": payment_id, "actor": _OWNER, "method": "card", "token": token}
        self._same(
            lambda: services.orders().pay_order(order_id=order_id, **details),  # type: ignore[arg-type]
            self.model.pay(number, token),
        )
        if len(self.model.asked) > len(self.asked):
            self.asked.append(payment_id)

    @rule(chosen=some_order, state=some_states, is_heard=st.booleans())
    def confirm(self, chosen: int, state: str, is_heard: bool) -> None:
        """The customer says yes or no; the message about that may be lost."""
        if not self.asked:
            return
        which = max(0, len(self.asked) - 1 - chosen)
        self.model.confirm(which, state, is_heard=is_heard)
        if is_heard:
            confirm(self.asked[which], "approved" if state == "authorised" else "declined")
        else:
            SandboxCharge.objects.filter(pk=str(self.asked[which]), state="requires_action").update(state=state)

    @rule(lines=some_lines, token=some_token, course=some_course, wish=some_wish, fate=some_fate)
    def buy(self, lines: Lines, token: str, course: Sequence[str], wish: Wish, fate: Fate) -> None:
        """Most orders are paid at once, and soon sent or given back."""
        self.place(lines)
        if self.ids:
            self.pay(0, token)
        acts: Mapping[str, Callable[[], None]] = {
            "cancel": lambda: self.cancel(0),
            "confirm": lambda: self.confirm(0, "authorised", is_heard=True),
            "ship": lambda: self.ship(0),
            "hold": lambda: self.hold_for_too_long(0),
            "refund": lambda: self.refund(0, wish, fate),
            "settle": self.settle,
        }
        for what in course if self.ids else ():
            acts[what]()

    @precondition(lambda self: self.ids)
    @rule(order=some_order, fate=some_fate)
    def cancel(self, order: int, fate: Fate = "made") -> None:
        number, order_id = self._pick(order, "pending", "paid")
        with _refunds_are(fate):
            self._same(
                lambda: services.orders().cancel_order(order_id=order_id, actor=_OWNER), self.model.cancel(number, fate)
            )

    @precondition(lambda self: self.ids)
    @rule(order=some_order)
    def ship(self, order: int) -> None:
        number, order_id = self._pick(order, "paid")
        if self.model.orders[number].held == "released":  # what is not there cannot be sent
            return
        self._same(lambda: services.orders().ship_order(order_id=order_id, actor=SYSTEM), self.model.ship(number))

    @precondition(lambda self: self.ids)
    @rule(order=some_order)
    def deliver(self, order: int) -> None:
        number, order_id = self._pick(order, "shipped")
        self._same(lambda: services.orders().deliver_order(order_id=order_id, actor=SYSTEM), self.model.deliver(number))

    @precondition(lambda self: self.ids)
    @rule(order=some_order, wish=some_wish, fate=some_fate)
    def refund(self, order: int, wish: Wish, fate: Fate) -> None:
        number, order_id = self._pick(order, *_PAID)
        if wish.lines is not None:  # mostly of what was bought
            bought = sorted(self.model.orders[number].lines)
            wish = replace(wish, lines={bought[key] if key < len(bought) else key: n for key, n in wish.lines.items()})
        amount = None if wish.amount is None else Decimal(wish.amount)
        lines = None if wish.lines is None else self._lines(wish.lines)
        with _refunds_are(fate):
            self._same(
                lambda: services.orders().refund_order(
                    order_id=order_id, actor=SYSTEM, amount=amount, lines=lines, restock=wish.restock
                ),
                self.model.refund(number, wish, fate),
            )

    @precondition(lambda self: self.ids)
    @rule(order=some_order)
    def refund_again(self, order: int) -> None:
        """Somebody repeats the last refund of an order, with its key."""
        number, order_id = self._pick(order, *_PAID)
        last = Refund.objects.filter(order_id=order_id).order_by("id").last()
        if last is not None:
            self._same(
                lambda: services.orders().refund_order(order_id=order_id, actor=SYSTEM, refund_id=last.id),
                self.model.refund_again(number),
            )

    @precondition(lambda self: self.ids)
    @rule(order=some_order)
    def expire(self, order: int) -> None:
        self._expire(self._pick(order, "pending")[0])

    @precondition(lambda self: self.ids)
    @rule(order=some_order)
    def hold_for_too_long(self, order: int) -> None:
        """Nobody heard of the order for longer than its stock is held."""
        number, order_id = self._pick(order, "pending", "paid")
        if (
            self.model.orders[number].status not in {"pending", "paid"}
            or self.model.orders[number].payment == "unknown"
        ):
            return
        self.model.orders[number].is_held_too_long = True
        self.model.sweep()
        Reservation.objects.filter(pk=order_id).update(expires_at=timezone.now() - _LONG_AGO)
        services.products().release_expired_reservations()

    @rule()
    def settle(self) -> None:
        self.model.settle()
        Payment.objects.filter(status__in=OPEN_PAYMENTS).update(updated_at=timezone.now() - timedelta(minutes=2))
        services.orders().settle_open_orders()

    @precondition(lambda self: self.model.told)
    @rule(chosen=some_deliveries)
    def tell_the_stock(self, chosen: list[int]) -> None:
        """Some of what happened: late, swapped, and again and again."""
        messages = [self.model.told[max(0, len(self.model.told) - 1 - index)] for index in chosen]
        if any(self.model.orders[message.order].held == "released" for message in messages):
            # Who takes goods anew in a batch may get what another gives back in it.
            messages = messages[:1]
        self._hear(messages)

    @precondition(lambda self: self.model.lost)
    @rule(chosen=st.integers(0, 100))
    def tell_of_a_loss(self, chosen: int) -> None:
        number = self.model.lost[chosen % len(self.model.lost)]
        if not self.model.orders[number].is_busy:  # else it would be kept, and tried again
            self._hear_of_loss(number)

    @invariant()
    def orders_agree(self) -> None:
        rows = {row.id: row for row in Order.objects.prefetch_related("items")}
        assert set(rows) == set(self.ids)
        for key, wanted in zip(self.ids, self.model.orders, strict=True):
            row = rows[key]
            lines = {self.products.index(item.product_id): item.quantity for item in row.items.all()}
            assert (row.status, row.sequence, lines) == (wanted.status, wanted.sequence, wanted.lines)
            assert row.total == wanted.total

    @invariant()
    def stock_agrees(self) -> None:
        for number, product_id in enumerate(self.products):
            level = services.products().get_stock(product_id=product_id)
            wanted = (self.model.on_hand[number], self.model.reserved[number])
            assert (level.on_hand, level.reserved) == wanted
            assert 0 <= level.reserved <= level.on_hand

    @invariant()
    def books_agree(self) -> None:
        """The provider's, and ours."""
        charges = {UUID(row.idempotency_key): row for row in SandboxCharge.objects.all()}
        payments = Payment.objects.order_by("id")
        refunds = Refund.objects.order_by("id")
        for key, wanted in zip(self.ids, self.model.orders, strict=True):
            ours = [payment for payment in payments if payment.order_id == key]
            found = [charges[payment.id] for payment in ours if payment.id in charges]
            assert [(int(row.amount), row.state, int(row.refunded_amount)) for row in found] == [
                (charge.amount, charge.state, wanted.paid_back if charge.state == "captured" else 0)
                for charge in wanted.charges
            ]
            living = [(row.status, int(row.refunded_amount)) for row in ours if row.status != "failed"]
            assert living == ([(wanted.payment, wanted.promised)] if wanted.payment else [])
            assert [(int(row.amount), row.status, row.restock) for row in refunds if row.order_id == key] == [
                (refund.amount, refund.state, refund.restock) for refund in wanted.refunds
            ]

    @invariant()
    def the_stock_is_to_hear_as_much(self) -> None:
        events = OutboxEvent.objects.using(alias_of("orders")).filter(type__in=_STOCK_EVENTS)
        found = Counter((event.subject, event.sequence) for event in events)
        assert found == Counter((self.ids[message.order], message.sequence) for message in self.model.told)

    def _deliver_the_rest(self) -> None:
        """Everything again, to everybody; then nothing is left to be said against the shop."""
        self.settle()
        for number, order in enumerate(self.model.orders):
            if order.held == "released":  # its time is over, and it ends if it has not
                self._expire(number)
        self.settle()
        for message in self.model.told:
            self._hear([message])
        for number in self.model.lost:
            self._hear_of_loss(number)
        for message in self.model.told:
            self._hear([message])
        OutboxEvent.objects.using(alias_of("orders")).update(published_at=None, available_at=None)
        deliver_events()
        self.orders_agree()
        self.stock_agrees()
        self.books_agree()
        for order in self.model.orders:
            assert _kept(order) == (order.total - order.promised if order.status in _PAID else 0)
        assert not any(FailedDelivery.objects.using(alias).exists() for alias in all_aliases())
        audit()

    def _expire(self, number: int) -> None:
        self.model.orders[number].is_overdue = True
        self.model.expire()
        Order.objects.filter(pk=self.ids[number]).update(expires_at=timezone.now() - _LONG_AGO)
        services.orders().expire_orders()

    def _same(self, act: Callable[[], object], wanted: str) -> None:
        found = "ok"
        try:
            act()
        except DomainError as error:
            found = error.code
        assert found == wanted

    def _pick(self, order: int, *statuses: str) -> tuple[int, UUID]:
        """One of the last orders that stand there; now and then the last of all."""
        suitable = [number for number, each in enumerate(self.model.orders) if each.status in statuses]
        numbers = range(len(self.ids)) if order == _ANY or not suitable else suitable
        number = numbers[max(0, len(numbers) - 1 - order % _ANY)]
        return number, self.ids[number]

    def _lines(self, lines: Lines) -> list[StockLine]:
        return [StockLine(product_id=self.products[key], quantity=units) for key, units in lines.items()]

    def _event(self, message: Message) -> OutboxEvent:
        events = OutboxEvent.objects.using(alias_of("orders")).filter(type__in=_STOCK_EVENTS)
        return events.get(subject=self.ids[message.order], sequence=message.sequence)

    def _hear(self, messages: Sequence[Message]) -> None:
        self._tell("products.settle_reservation", [self._event(message) for message in messages])
        for message in messages:
            self.model.hear(message)

    def _hear_of_loss(self, number: int) -> None:
        events = OutboxEvent.objects.using(alias_of("products")).filter(type="reservation.lost")
        self._tell("orders.cancel_unfulfillable", list(events.filter(subject=self.ids[number])))
        self.model.hear_of_loss(number)

    def _tell(self, task: str, events: Sequence[OutboxEvent]) -> None:
        messages: list[dict[str, Any]] = [event.to_event().to_message() for event in events]
        current_app.tasks[task].apply_async(args=(messages,))


def _kept(order: OrderModel) -> int:
    """The money that the provider has taken and not given back."""
    return sum(charge.amount for charge in order.charges if charge.state == "captured") - order.paid_back


@contextmanager
def _refunds_are(fate: Fate) -> Iterator[None]:
    """What the provider makes of refunds."""
    pay_back = SandboxProvider.refund

    def refund(provider: SandboxProvider, **asked: Any) -> RefundReceipt:  # noqa: ANN401 - passed on
        if fate == "refused":
            raise Declined("card_closed", "The card was closed.")
        if fate == "silent":
            raise NoAnswer
        receipt = pay_back(provider, **asked)
        if fate == "unheard":
            raise NoAnswer
        return receipt

    with patch.object(SandboxProvider, "refund", refund):
        yield


@pytest.mark.long
@pytest.mark.django_db
def test_whatever_happens_the_shop_does_what_the_model_says() -> None:
    ids = [make_product(name=f"Lamp {units}", stock=units, price=str(PRICE)).id for units in _STOCK]
    machine = type("Machine", (ShopMachine,), {"products": ids})
    profile = settings(
        max_examples=EXAMPLES or _QUICK,
        stateful_step_count=2 * _STEPS if EXAMPLES else _STEPS,
        derandomize=not EXAMPLES,
        database=None,
        deadline=None,
        print_blob=False,
        # A failure is told as it was found: to shorten it takes minutes.
        phases=[Phase.generate, Phase.shrink] if EXAMPLES else [Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(machine, settings=profile)
