"""The clock of one process is an hour off: neither stock nor money goes by it. (Tests that turn a clock leave the
database's alone, and tests that want time to pass make the rows older.)
"""

from datetime import timedelta
from typing import Any
from unittest.mock import patch
from uuid import UUID

import pytest
import time_machine
from django.utils import timezone

from apps.common.ids import new_id
from apps.orders.interface import SYSTEM, Order, OrderStatus, PaymentStatus, PaymentUnknown, RefundStatus
from apps.orders.models import Payment, Refund, SandboxCharge
from apps.orders.payments.provider import RefundReceipt, Transaction
from apps.orders.payments.sandbox import SandboxProvider
from apps.orders.tests.factories import make_product, pay, place
from apps.products.interface import Product, StockLine
from config import services
from tests.flow import audit, deliver_events, let_pass

USER = UUID("01938d5e-0000-7000-8000-000000000001")
HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)

pytestmark = [pytest.mark.django_db, pytest.mark.parametrize("off", [HOUR, -HOUR])]


def turned(off: timedelta) -> Any:  # noqa: ANN401 - a context manager
    """The process whose clock is wrong."""
    return time_machine.travel(timezone.now() + off)


def cut_off(step: str) -> Any:  # noqa: ANN401 - a patch
    """The process dies when it would ask the provider."""
    return patch.object(SandboxProvider, step, side_effect=KeyboardInterrupt)


def settle() -> int:
    return services.orders().settle_open_orders()


def reserved(product: Product) -> int:
    return services.products().get_stock(product_id=product.id).reserved


class TestTheStock:
    def test_of_who_places(self, off: timedelta) -> None:
        lamp = make_product()
        with turned(off):
            place(USER, (lamp, 1))
        let_pass(29 * MINUTE)
        assert services.orders().expire_orders() == 0
        assert services.products().release_expired_reservations() == 0
        let_pass(2 * MINUTE)
        assert services.orders().expire_orders() == 1
        deliver_events()
        assert reserved(lamp) == 0

    def test_of_who_expires(self, off: timedelta) -> None:
        lamp = make_product()
        place(USER, (lamp, 1))
        let_pass(29 * MINUTE)
        with turned(off):
            assert services.orders().expire_orders() == 0
            assert services.products().release_expired_reservations() == 0
        assert reserved(lamp) == 1
        let_pass(2 * MINUTE)
        with turned(off):
            assert services.orders().expire_orders() == 1

    def test_of_who_died_placing(self, off: timedelta) -> None:
        lamp = make_product()
        with (
            patch("apps.orders.services.placing.record", side_effect=KeyboardInterrupt),
            pytest.raises(KeyboardInterrupt),
            turned(off),
        ):
            place(USER, (lamp, 1))
        let_pass(44 * MINUTE)
        assert services.products().release_expired_reservations() == 0
        let_pass(2 * MINUTE)
        assert services.products().release_expired_reservations() == 1
        assert reserved(lamp) == 0

    def test_of_who_gives_back(self, off: timedelta) -> None:
        lamp = make_product()
        place(USER, (lamp, 1))
        let_pass(46 * MINUTE)
        with turned(off):
            assert services.products().release_expired_reservations() == 1
        assert reserved(lamp) == 0

    def test_of_who_repeats(self, off: timedelta) -> None:
        lamp, order_id = make_product(), new_id()
        lines, hold_for = [StockLine(product_id=lamp.id, quantity=1)], 30 * MINUTE
        services.products().reserve_stock(order_id=order_id, lines=lines, hold_for=hold_for)
        let_pass(20 * MINUTE)
        with turned(off):
            services.products().reserve_stock(order_id=order_id, lines=lines, hold_for=hold_for)
        let_pass(29 * MINUTE)
        assert services.products().release_expired_reservations() == 0
        let_pass(2 * MINUTE)
        assert services.products().release_expired_reservations() == 1

    def test_of_who_pays(self, off: timedelta) -> None:
        lamp = make_product()
        order = place(USER, (lamp, 1))
        with turned(off), cut_off("authorise"), pytest.raises(KeyboardInterrupt):
            pay(order)
        let_pass(timedelta(days=7) - MINUTE)
        assert services.products().release_expired_reservations() == 0
        let_pass(2 * MINUTE)
        assert services.products().release_expired_reservations() == 1


class TestTheMoney:
    def test_of_who_died_paying(self, off: timedelta) -> None:
        order = place(USER, (make_product(), 1))
        with turned(off), cut_off("authorise"), pytest.raises(KeyboardInterrupt):
            pay(order)
        assert settle() == 0
        assert Payment.objects.get().status == PaymentStatus.PROCESSING
        let_pass(2 * MINUTE)
        assert settle() == 1
        assert Payment.objects.get().failure_code == "never_arrived"
        assert pay(order).status == OrderStatus.PAID

    def test_of_who_settles_what_is_being_paid(self, off: timedelta) -> None:
        order = place(USER, (make_product(), 1))
        authorise = SandboxProvider.authorise

        def slow(provider: SandboxProvider, **asked: Any) -> Transaction:  # noqa: ANN401 - passed on
            with turned(off):
                assert settle() == 0
            let_pass(timedelta(seconds=20))
            with turned(off):
                assert settle() == 0
            return authorise(provider, **asked)

        with patch.object(SandboxProvider, "authorise", slow):
            assert pay(order).status == OrderStatus.PAID
        deliver_events()
        audit()

    def test_of_who_settles_what_was_left(self, off: timedelta) -> None:
        order = place(USER, (make_product(), 1))
        with cut_off("authorise"), pytest.raises(KeyboardInterrupt):
            pay(order)
        let_pass(2 * MINUTE)
        with turned(off):
            assert settle() == 1
        assert Payment.objects.get().failure_code == "never_arrived"

    def test_of_who_gives_up(self, off: timedelta) -> None:
        _give_up(by=off, certain_by=timedelta())

    def test_of_who_makes_certain(self, off: timedelta) -> None:
        _give_up(by=timedelta(), certain_by=off)

    def test_of_who_refunds(self, off: timedelta) -> None:
        order = pay(place(USER, (make_product(), 1)))
        with turned(off), cut_off("refund"), pytest.raises(KeyboardInterrupt):
            _refund(order)
        assert settle() == 0
        let_pass(MINUTE)
        assert settle() == 1
        assert Refund.objects.get().status == RefundStatus.SUCCEEDED

    def test_of_who_settles_a_refund(self, off: timedelta) -> None:
        order = pay(place(USER, (make_product(), 1)))
        refund = SandboxProvider.refund

        def slow(provider: SandboxProvider, **asked: Any) -> RefundReceipt:  # noqa: ANN401 - passed on
            with turned(off), patch.object(SandboxProvider, "find_refund") as asked_again:
                assert settle() == 0
            assert not asked_again.called
            return refund(provider, **asked)

        with patch.object(SandboxProvider, "refund", slow):
            assert _refund(order).status == OrderStatus.REFUNDED

    def test_of_who_asks_by_turns(self, off: timedelta) -> None:
        for _ in range(2):
            with pytest.raises(PaymentUnknown):
                pay(place(USER, (make_product(), 1)), "tok_timeout_lost")
        asked: list[str] = []

        def note(_: SandboxProvider, *, idempotency_key: str, **more: Any) -> None:  # noqa: ANN401 - not looked at
            asked.append(idempotency_key)

        with patch.object(SandboxProvider, "find", note), patch("apps.orders.services.settling._BATCH", 1):
            for _ in range(2):
                with turned(off):
                    settle()
                settle()
        assert len(set(asked)) == 2
        assert asked == asked[:2] * 2


def _refund(order: Order) -> Order:
    return services.orders().refund_order(order_id=order.id, actor=SYSTEM)


def _give_up(*, by: timedelta, certain_by: timedelta) -> None:
    """A payment is given up and turns up later; another never does."""
    late, never = place(USER, (make_product(), 1)), place(USER, (make_product(), 1))
    for order in (late, never):
        with pytest.raises(PaymentUnknown):
            pay(order, "tok_timeout_lost")
    let_pass(MINUTE)
    with turned(by):
        assert settle() == 2
    let_pass(50 * MINUTE)
    with turned(certain_by):
        assert settle() == 0
    assert set(Payment.objects.values_list("failure_code", flat=True)) == {"never_arrived"}
    payment = Payment.objects.get(order_id=late.id)
    SandboxProvider()._book(str(payment.id), payment.amount, payment.currency, "authorised")
    with turned(certain_by):
        assert settle() == 1
    assert SandboxCharge.objects.get().state == SandboxCharge.State.VOIDED
    let_pass(20 * MINUTE)
    with turned(certain_by):
        settle()
    assert Payment.objects.get(order_id=never.id).failure_code == "never_charged"
