"""Many at once, against the services and the real database: what must never happen does not."""

import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any, TypeVar
from uuid import UUID

import pytest
from django.db import connections

from apps.common.databases import atomic
from apps.common.errors import DomainError
from apps.common.ids import new_id
from apps.events.webhooks import endpoints, rows
from apps.orders.interface import SYSTEM, Actor, NewOrder, OrderChange, OrderStatus
from apps.orders.models import Order, Payment, Refund, SandboxCharge, SandboxRefund
from apps.orders.tests.factories import make_product, pay, place
from apps.products.interface import Product, StockLine
from config import services
from tests.flow import audit, deliver_events

pytestmark = pytest.mark.django_db(transaction=True)
USER = UUID("01938d5e-0000-7000-8000-000000000001")
_Answer = TypeVar("_Answer")


def at_once(workers: int, calls: int, call: Callable[[int], _Answer]) -> Counter[str]:
    """How often each outcome came: a domain error's code, or "ok". Any other error fails the test."""

    def attempt(number: int) -> str:
        try:
            call(number)
        except DomainError as error:
            return error.code
        else:
            return "ok"
        finally:
            connections.close_all()

    with ThreadPoolExecutor(workers) as pool:
        return Counter(pool.map(attempt, range(calls)))


def level(product: Product) -> tuple[int, int]:
    found = services.products().get_stock(product_id=product.id)
    return found.on_hand, found.reserved


def test_sixteen_buyers_never_buy_more_than_there_is() -> None:
    lamp = make_product(stock=50)
    outcome = at_once(16, 100, lambda _: place(USER, (lamp, 1)))
    assert outcome == {"ok": 50, "out_of_stock": 50}
    assert Order.objects.count() == 50
    assert level(lamp) == (50, 50)
    audit()


def test_orders_of_the_same_products_in_any_order_do_not_lock_each_other_out() -> None:
    products = [make_product(name=f"Lamp {number}", stock=1000) for number in range(8)]
    at = [1, -1]
    outcome = at_once(8, 64, lambda n: place(USER, *((product, 1) for product in products[:: at[n % 2]])))
    assert outcome == {"ok": 64}
    assert {level(product) for product in products} == {(1000, 64)}


def test_eight_writers_never_find_the_database_locked() -> None:
    products = [make_product(name=f"Lamp {number}", stock=1000) for number in range(8)]
    outcome = at_once(8, 160, lambda n: pay(place(USER, (products[n % 8], 1))))
    assert outcome == {"ok": 160}
    deliver_events()
    assert {level(product) for product in products} == {(980, 0)}
    audit()


@pytest.mark.parametrize("token", ["tok_visa", "tok_timeout", "tok_3ds"])
def test_one_order_is_charged_once(token: str) -> None:
    order = place(USER, (make_product(), 1))

    def attempt(number: int) -> object:
        if number % 10 == 0:
            return services.orders().settle_open_orders()
        return pay(order, token if number % 2 else "tok_visa")

    outcome = at_once(10, 50, attempt)
    assert set(outcome) <= {"ok", "order_busy", "invalid_transition", "payment_outcome_unknown", "payment_declined"}
    # Whatever was left unknown is found out.
    services.orders().settle_open_orders()
    if services.orders().get_order(order_id=order.id, actor=SYSTEM).status == OrderStatus.PENDING:
        # Everybody with another card found the order busy, and nobody has confirmed the payment that must be.
        assert token == "tok_3ds"
        pay(order)
        # What that has abandoned is given back.
        services.orders().settle_open_orders()
    captured = SandboxCharge.objects.filter(state="captured")
    assert (captured.count(), Payment.objects.filter(status="succeeded").count()) == (1, 1)
    assert set(SandboxCharge.objects.values_list("state", flat=True)) <= {"captured", "voided"}
    deliver_events()
    audit()


def test_fifty_payments_at_once_make_one_charge() -> None:
    order = place(USER, (make_product(), 1))
    outcome = at_once(10, 50, lambda _: pay(order))
    assert outcome["ok"] == 1
    assert set(outcome) <= {"ok", "order_busy", "invalid_transition"}
    assert (SandboxCharge.objects.count(), Payment.objects.filter(status="succeeded").count()) == (1, 1)
    audit()


def test_one_id_makes_one_order() -> None:
    lamp, order_id = make_product(stock=10), new_id()
    new = NewOrder(lines=[StockLine(product_id=lamp.id, quantity=1)])
    place_it = services.orders().place_order
    outcome = at_once(8, 16, lambda _: place_it(order_id=order_id, user_id=USER, new=new))
    assert outcome == {"ok": 16}
    assert (Order.objects.count(), level(lamp)) == (1, (10, 1))


def test_paying_and_cancelling_at_once_end_in_one_of_them() -> None:
    lamp = make_product(stock=100)
    orders = [place(USER, (lamp, 1)) for _ in range(10)]
    owner = Actor(user_id=USER)

    def act(number: int) -> object:
        order = orders[number // 2]
        if number % 2:
            return pay(order)
        return services.orders().cancel_order(order_id=order.id, actor=owner)

    outcome = at_once(8, 20, act)
    assert outcome["ok"] >= len(orders)
    assert set(outcome) <= {"ok", "order_busy", "invalid_transition"}
    deliver_events()
    statuses = Counter(Order.objects.values_list("status", flat=True))
    assert set(statuses) <= {OrderStatus.PAID, OrderStatus.CANCELLED}
    assert level(lamp) == (100 - statuses[OrderStatus.PAID], 0)
    audit()


def test_a_paid_order_is_paid_back_once() -> None:
    lamp = make_product()
    order = pay(place(USER, (lamp, 1)))
    deliver_events()

    def end(number: int) -> object:
        if number % 2:
            return services.orders().refund_order(order_id=order.id, actor=SYSTEM)
        return services.orders().cancel_order(order_id=order.id, actor=SYSTEM)

    assert at_once(8, 20, end)["ok"] == 1
    deliver_events()
    assert level(lamp) == (10, 0)
    audit()


def test_refunds_at_once_never_pay_back_more_than_was_paid() -> None:
    lamp = make_product(stock=20, price="7.00")
    order = pay(place(USER, (lamp, 10)))
    deliver_events()
    line = [StockLine(product_id=lamp.id, quantity=2)]
    wishes: list[dict[str, Any]] = [{"amount": Decimal("9.00")}, {"lines": line}, {"amount": Decimal("30.50")}, {}]

    def give_back(number: int) -> object:
        wish = wishes[number % 4] if number < 19 else {}
        return services.orders().refund_order(order_id=order.id, actor=SYSTEM, refund_id=new_id(), **wish)

    outcome = at_once(10, 20, give_back)
    assert outcome["ok"] >= 1
    assert set(outcome) <= {"ok", "order_busy", "invalid_transition", "refund_too_large"}
    booked = sum(SandboxRefund.objects.values_list("amount", flat=True))
    payment, charge = Payment.objects.get(), SandboxCharge.objects.get()
    assert booked == payment.refunded_amount == charge.refunded_amount <= payment.amount
    assert Refund.objects.filter(status="succeeded").count() == outcome["ok"] == SandboxRefund.objects.count()
    deliver_events()
    audit()


def test_one_refund_that_is_asked_for_often_pays_back_once() -> None:
    order, refund_id = pay(place(USER, (make_product(price="7.00"), 2))), new_id()

    def give_back(_: int) -> object:
        amount = Decimal("5.00")
        return services.orders().refund_order(order_id=order.id, actor=SYSTEM, refund_id=refund_id, amount=amount)

    outcome = at_once(8, 20, give_back)
    assert outcome["ok"] >= 1
    assert set(outcome) <= {"ok", "order_busy"}
    assert (SandboxRefund.objects.count(), int(Payment.objects.get().refunded_amount)) == (1, 5)
    audit()


def test_paying_back_and_shipping_at_once_leave_the_goods_in_one_place() -> None:
    lamp = make_product(stock=100)
    orders = [pay(place(USER, (lamp, 2))) for _ in range(10)]

    def act(number: int) -> object:
        order = orders[number // 2]
        if number % 2:
            return services.orders().ship_order(order_id=order.id, actor=SYSTEM)
        line = [StockLine(product_id=lamp.id, quantity=1)]
        return services.orders().refund_order(order_id=order.id, actor=SYSTEM, lines=line)

    outcome = at_once(8, 20, act)
    assert set(outcome) <= {"ok", "order_busy"}
    deliver_events()
    restocked = Refund.objects.filter(status="succeeded", restock=True).count()
    assert level(lamp) == (80 + restocked, 0)
    audit()


def test_changes_of_one_order_at_once_leave_one_of_them_whole() -> None:
    lamp = make_product(stock=100)
    order = place(USER, (lamp, 1))
    owner = Actor(user_id=USER)

    def change(number: int) -> object:
        lines = [StockLine(product_id=lamp.id, quantity=number + 1)]
        return services.orders().change_order(order_id=order.id, actor=owner, change=OrderChange(lines=lines))

    outcome = at_once(8, 16, change)
    assert outcome["ok"] >= 1
    assert set(outcome) <= {"ok", "order_busy"}
    quantity = services.orders().get_order(order_id=order.id, actor=owner).items[0].quantity
    assert level(lamp) == (100, quantity)
    audit()


def test_paying_and_changing_at_once_never_cost_the_order_its_stock() -> None:
    lamp = make_product(stock=100)
    orders = [place(USER, (lamp, 1)) for _ in range(10)]
    change = OrderChange(lines=[StockLine(product_id=lamp.id, quantity=2)])

    def act(number: int) -> object:
        order = orders[number // 2]
        if number % 2:
            return pay(order)
        return services.orders().change_order(order_id=order.id, actor=Actor(user_id=USER), change=change)

    outcome = at_once(8, 20, act)
    assert outcome["ok"] >= len(orders)
    assert set(outcome) <= {"ok", "order_busy", "invalid_transition"}
    assert set(Order.objects.values_list("status", flat=True)) <= {OrderStatus.PAID, OrderStatus.PENDING}
    deliver_events()
    audit()


def test_a_unit_that_comes_back_while_a_buyer_waits_is_his() -> None:
    lamp = make_product(stock=1)
    first = place(USER, (lamp, 1))

    def buy() -> object:
        try:
            return place(USER, (lamp, 1))
        finally:
            connections.close_all()

    with ThreadPoolExecutor(1) as pool:
        with atomic("products"):
            services.products().release_reservation(order_id=first.id)
            waiting = pool.submit(buy)
            time.sleep(0.5)
            assert not waiting.done()
        assert waiting.result(timeout=30)
    assert level(lamp) == (1, 1)


def test_endpoints_that_are_registered_at_once_are_not_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoints, "MOST_ENDPOINTS", 3)

    def register(number: int) -> None:
        endpoints.create_endpoint(url=f"https://93.184.216.34/{number}", owner_email="owner@example.com")

    assert at_once(8, 16, register) == {"ok": 3, "too_many_endpoints": 13}
    assert rows.endpoints().count() == 3
