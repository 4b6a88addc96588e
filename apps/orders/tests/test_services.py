"""The life of an order: stock, money, timeline and events together."""

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any
from unittest.mock import patch
from uuid import UUID

import pytest
import time_machine
from django.db import OperationalError
from django.utils import timezone
from pytest_django import DjangoCaptureOnCommitCallbacks, Settings

from apps.common.databases import alias_of, connection_of
from apps.common.errors import Unavailable
from apps.common.ids import new_id
from apps.events.models import OutboxEvent
from apps.orders.interface import (
    SYSTEM,
    TIMELINE_PAGE,
    Actor,
    AmountTooLarge,
    CurrencyMismatch,
    InsufficientFunds,
    InvalidTransition,
    NewOrder,
    Order,
    OrderBusy,
    OrderChange,
    OrderNotFound,
    OrderStatus,
    PaymentDeclined,
    PaymentStatus,
    PaymentUnknown,
    ShippingAddress,
    StaffOnly,
    UnknownPaymentMethod,
    UnknownShippingMethod,
)
from apps.orders.models import Order as OrderRow
from apps.orders.models import Payment, SandboxCharge
from apps.orders.payments.provider import Declined, NoAnswer, Transaction
from apps.orders.payments.sandbox import SandboxProvider
from apps.orders.services.rows import STATUS
from apps.orders.states import MOVES, Action
from apps.orders.tests.factories import make_product, pay, place, ship
from apps.products.interface import (
    ChangeOvertaken,
    OutOfStock,
    ProductChange,
    ProductNotFound,
    ProductService,
    ReservationClosed,
    StockLine,
)
from config import services
from tests.flow import audit, deliver_events, let_pass, statements

pytestmark = pytest.mark.django_db

USER = UUID("01938d5e-0000-7000-8000-000000000001")
STRANGER = Actor(user_id=UUID("01938d5e-0000-7000-8000-000000000002"))
OWNER = Actor(user_id=USER)


def products_class() -> type[ProductService]:
    """What stands behind the products service here."""
    return type(services.products())


def stock_of(product_id: UUID) -> tuple[int, int]:
    """On hand and reserved."""
    level = services.products().get_stock(product_id=product_id)
    return level.on_hand, level.reserved


def event_types() -> list[str]:
    """What the orders service has published, oldest first."""
    published = OutboxEvent.objects.using(alias_of("orders")).filter(source="orders")
    return list(published.order_by("id").values_list("type", flat=True))


def test_placing_reserves_stock_and_remembers_the_product() -> None:
    lamp = make_product(stock=10, price="19.99", sku="LAMP-1")
    order = place(USER, (lamp, 3), shipping=ShippingAddress(name="Ada", method="express"))
    assert order.status == OrderStatus.PENDING
    assert (order.subtotal, order.total, order.currency) == (Decimal("59.97"), Decimal("74.97"), "USD")
    assert [(item.sku, item.quantity, item.price, item.total) for item in order.items] == [
        ("LAMP-1", 3, Decimal("19.99"), Decimal("59.97"))
    ]
    assert order.shipping is not None
    assert (order.shipping.name, order.shipping.cost, order.shipping.status) == ("Ada", Decimal("15.00"), "pending")
    assert order.payment is None
    assert stock_of(lamp.id) == (10, 3)
    assert event_types() == ["order.created"]
    assert services.orders().get_order(order_id=order.id, actor=OWNER) == order


def test_a_later_price_does_not_change_the_order() -> None:
    lamp = make_product(price="10.00")
    order = place(USER, (lamp, 1))
    services.products().update_product(product_id=lamp.id, change=ProductChange(price=Decimal("99.00"), name="New"))
    seen = services.orders().get_order(order_id=order.id, actor=OWNER)
    assert (seen.items[0].price, seen.items[0].product_name) == (Decimal("10.00"), "Lamp")


def test_lines_of_one_product_are_merged() -> None:
    lamp = make_product(stock=5)
    order = place(USER, (lamp, 2), (lamp, 3))
    assert [item.quantity for item in order.items] == [5]
    with pytest.raises(OutOfStock):
        place(USER, (lamp, 1))


def test_every_line_or_none() -> None:
    lamp, vase = make_product(stock=5), make_product(stock=1, name="Vase")
    with pytest.raises(OutOfStock) as refusal:
        place(USER, (lamp, 5), (vase, 2))
    assert [problem.attr for problem in refusal.value.problems] == [f"items.{vase.id}"]
    assert "1 available" in refusal.value.problems[0].detail
    assert (stock_of(lamp.id), stock_of(vase.id)) == ((5, 0), (1, 0))
    assert not OrderRow.objects.exists()
    assert event_types() == []


def test_an_unknown_product_is_named() -> None:
    lamp, unknown = make_product(), new_id()
    lines = [StockLine(product_id=lamp.id, quantity=1), StockLine(product_id=unknown, quantity=1)]
    with pytest.raises(ProductNotFound) as refusal:
        services.orders().place_order(order_id=new_id(), user_id=USER, new=NewOrder(lines=lines))
    assert [problem.attr for problem in refusal.value.problems] == [f"items.{unknown}"]
    assert stock_of(lamp.id) == (10, 0)


@pytest.mark.parametrize(
    ("error", "currency", "method"), [(CurrencyMismatch, "EUR", "standard"), (UnknownShippingMethod, "USD", "rocket")]
)
def test_an_order_that_cannot_be_made_gives_its_stock_back(error: type[Exception], currency: str, method: str) -> None:
    lamp = make_product()
    lines = [StockLine(product_id=lamp.id, quantity=1)]
    new = NewOrder(lines=lines, currency=currency, shipping=ShippingAddress(method=method))
    with pytest.raises(error):
        services.orders().place_order(order_id=new_id(), user_id=USER, new=new)
    assert stock_of(lamp.id) == (10, 0)
    assert not OrderRow.objects.exists()


def test_a_total_too_large_to_charge_is_refused() -> None:
    gold = make_product(stock=1_000_000, price="9999999.99")
    with pytest.raises(AmountTooLarge):
        place(USER, (gold, 1_000_000))
    assert stock_of(gold.id) == (1_000_000, 0)


def test_a_number_that_is_taken_is_drawn_again() -> None:
    lamp = make_product(stock=10)
    with patch("apps.orders.services.placing.randbits", side_effect=[7, 7, 7, 8]):
        numbers = [place(USER, (lamp, 1)).number for _ in range(2)]
    today = timezone.now().strftime("%y%m%d")
    assert numbers == [f"{today}-00000007", f"{today}-00000008"]
    assert list(OrderRow.objects.order_by("number").values_list("number", flat=True)) == numbers
    assert OutboxEvent.objects.using(alias_of("orders")).filter(type="order.created").count() == 2
    assert services.products().get_stock(product_id=lamp.id).reserved == 2


def test_placing_twice_with_one_id_makes_one_order() -> None:
    lamp, order_id = make_product(), new_id()
    new = NewOrder(lines=[StockLine(product_id=lamp.id, quantity=2)])
    first = services.orders().place_order(order_id=order_id, user_id=USER, new=new)
    second = services.orders().place_order(order_id=order_id, user_id=USER, new=new)
    assert first == second
    assert stock_of(lamp.id) == (10, 2)
    services.orders().cancel_order(order_id=order_id, actor=OWNER)
    third = services.orders().place_order(order_id=order_id, user_id=USER, new=new)
    assert third.status == OrderStatus.CANCELLED
    deliver_events()
    assert services.orders().place_order(order_id=order_id, user_id=USER, new=new).status == OrderStatus.CANCELLED
    assert stock_of(lamp.id) == (10, 0)


@pytest.mark.parametrize("lines", [1, 1000])
def test_placing_costs_a_few_statements_however_many_lines(lines: int) -> None:
    products = [make_product(name=f"Lamp {number}") for number in range(lines)]
    wanted = [StockLine(product_id=product.id, quantity=1) for product in products]
    order_id = new_id()
    with statements() as sent:
        services.orders().place_order(order_id=order_id, user_id=USER, new=NewOrder(lines=wanted))
    # PostgreSQL: the prices, the reservation, the order.
    assert len(sent) == (3 if connection_of("orders").vendor == "postgresql" else 6)


def test_payment_marks_paid_and_a_worker_deducts() -> None:
    lamp = make_product(stock=10)
    order = pay(place(USER, (lamp, 4)))
    assert order.status == OrderStatus.PAID
    assert order.payment is not None
    assert (order.payment.amount, order.payment.status) == (order.total, PaymentStatus.SUCCEEDED)
    assert order.payment.transaction_id == SandboxCharge.objects.get().transaction_id
    assert stock_of(lamp.id) == (10, 4)
    deliver_events()
    assert stock_of(lamp.id) == (6, 0)
    assert event_types() == ["order.created", "order.paid"]
    audit()


def test_a_declined_payment_charges_nothing_and_can_be_tried_again() -> None:
    order = place(USER, (make_product(), 1))
    with pytest.raises(PaymentDeclined):
        pay(order, "tok_declined")
    with pytest.raises(InsufficientFunds):
        pay(order, "tok_insufficient_funds")
    assert not SandboxCharge.objects.exists()
    assert services.orders().get_status(order_id=order.id, actor=OWNER) == OrderStatus.PENDING
    assert event_types() == ["order.created", "payment.failed", "payment.failed"]
    assert pay(order).status == OrderStatus.PAID
    assert list(Payment.objects.order_by("id").values_list("status", flat=True)) == ["failed", "failed", "succeeded"]


def test_paying_again_is_refused() -> None:
    order = pay(place(USER, (make_product(), 1)))
    with pytest.raises(InvalidTransition):
        pay(order)
    assert SandboxCharge.objects.count() == 1


def test_a_repeated_payment_gets_the_first_answer() -> None:
    order, payment_id = place(USER, (make_product(), 1)), new_id()

    def again(token: str) -> OrderStatus:
        return (
            services.orders()
            .pay_order(order_id=order.id, payment_id=payment_id, actor=OWNER, method="card", token=token)
            .status
        )

    assert again("tok_visa") == OrderStatus.PAID
    assert again("tok_visa") == OrderStatus.PAID
    assert SandboxCharge.objects.count() == 1


def test_an_unknown_method_is_refused_before_anything_is_touched() -> None:
    order = place(USER, (make_product(), 1))
    with pytest.raises(UnknownPaymentMethod):
        services.orders().pay_order(
            order_id=order.id, payment_id=new_id(), actor=OWNER, method="shells", token="tok_visa"
        )
    assert not Payment.objects.exists()


@pytest.mark.parametrize(("token", "status"), [("tok_timeout", "paid"), ("tok_timeout_lost", "pending")])
def test_an_unknown_outcome_is_found_out(token: str, status: str) -> None:
    lamp = make_product()
    order = place(USER, (lamp, 1))
    with pytest.raises(PaymentUnknown):
        pay(order, token)
    with pytest.raises(OrderBusy):
        pay(order)
    with pytest.raises(OrderBusy):
        services.orders().cancel_order(order_id=order.id, actor=OWNER)
    with pytest.raises(OrderBusy):
        services.orders().change_order(order_id=order.id, actor=OWNER, change=OrderChange(note="x"))
    assert Payment.objects.get().status == PaymentStatus.UNKNOWN
    assert services.orders().settle_open_orders() == (status == "paid")
    let_pass(timedelta(minutes=2))
    assert services.orders().settle_open_orders() == (status == "pending")
    assert services.orders().settle_open_orders() == 0
    assert services.orders().get_order(order_id=order.id, actor=OWNER).status == status
    deliver_events()
    audit()


def test_an_order_being_paid_does_not_expire() -> None:
    lamp = make_product()
    order = place(USER, (lamp, 1))
    with pytest.raises(PaymentUnknown):
        pay(order, "tok_timeout")
    let_pass(timedelta(hours=2))
    assert services.orders().expire_orders() == 0
    assert services.products().release_expired_reservations() == 0
    assert stock_of(lamp.id) == (10, 1)


@pytest.mark.parametrize(
    ("step", "state", "refunded", "code"),
    [
        ("authorise", SandboxCharge.State.VOIDED, 0, "never_charged"),
        ("capture", SandboxCharge.State.CAPTURED, 10, "charged_late"),
    ],
)
def test_what_comes_after_reconciliation_gave_up_is_voided_or_goes_back(
    step: str, state: str, refunded: int, code: str
) -> None:
    order = place(USER, (make_product(), 1))
    books = getattr(SandboxProvider, step)

    def slow(provider: SandboxProvider, **asked: Any) -> Transaction:  # noqa: ANN401 - passed on
        transaction: Transaction = books(provider, **asked)
        Payment.objects.update(status=PaymentStatus.FAILED, failure_code="never_arrived", failure_detail="Never.")
        return transaction

    with patch.object(SandboxProvider, step, slow), pytest.raises(PaymentDeclined):
        pay(order)
    charge = SandboxCharge.objects.get()
    assert (charge.state, int(charge.refunded_amount)) == (state, refunded)
    assert Payment.objects.get().failure_code == code
    assert services.orders().get_order(order_id=order.id, actor=OWNER).status == OrderStatus.PENDING


def test_cancelling_gives_stock_back() -> None:
    lamp = make_product()
    order = place(USER, (lamp, 4))
    cancelled = services.orders().cancel_order(order_id=order.id, actor=OWNER, reason="changed my mind")
    assert cancelled.status == OrderStatus.CANCELLED
    deliver_events()
    assert stock_of(lamp.id) == (10, 0)
    entry = services.orders().get_timeline(order_id=order.id, actor=OWNER)[-1]
    assert (entry.action, entry.actor_id, entry.reason) == ("cancel", USER, "changed my mind")
    audit()


def test_cancelling_a_paid_order_pays_back_and_restocks() -> None:
    lamp = make_product()
    order = pay(place(USER, (lamp, 4)))
    deliver_events()
    assert stock_of(lamp.id) == (6, 0)
    cancelled = services.orders().cancel_order(order_id=order.id, actor=OWNER)
    assert cancelled.payment is not None
    assert (cancelled.status, cancelled.payment.status) == (OrderStatus.CANCELLED, PaymentStatus.REFUNDED)
    assert SandboxCharge.objects.get().refunded_amount == order.total
    deliver_events()
    assert stock_of(lamp.id) == (10, 0)
    audit()


@pytest.mark.parametrize(("until", "on_hand"), [("paid", 10), ("shipped", 6), ("delivered", 6)])
def test_a_refund_restocks_only_what_never_left(until: str, on_hand: int) -> None:
    lamp = make_product()
    order = pay(place(USER, (lamp, 4)))
    if until != "paid":
        ship(order)
    if until == "delivered":
        services.orders().deliver_order(order_id=order.id, actor=SYSTEM)
    assert services.orders().refund_order(order_id=order.id, actor=SYSTEM).status == OrderStatus.REFUNDED
    deliver_events()
    assert stock_of(lamp.id) == (on_hand, 0)
    assert SandboxCharge.objects.get().refunded_amount == order.total
    audit()


def test_a_refund_cut_off_half_way_is_completed() -> None:
    order = pay(place(USER, (make_product(), 1)))
    with (
        patch.object(SandboxProvider, "refund", side_effect=NoAnswer),
        pytest.raises(PaymentUnknown),
    ):
        services.orders().cancel_order(order_id=order.id, actor=OWNER, reason="late")
    with pytest.raises(OrderBusy):
        ship(order)
    let_pass(timedelta(minutes=2))
    assert services.orders().settle_open_orders() == 1
    seen = services.orders().get_timeline(order_id=order.id, actor=OWNER)[-1]
    assert (seen.status, seen.actor_id, seen.reason) == (OrderStatus.CANCELLED, USER, "late")
    deliver_events()
    audit()


def test_a_refused_refund_leaves_the_order_paid() -> None:
    order = pay(place(USER, (make_product(), 1)))
    refusal = Declined("too_late", "Too late to refund.")
    with patch.object(SandboxProvider, "refund", side_effect=refusal), pytest.raises(PaymentDeclined):
        services.orders().refund_order(order_id=order.id, actor=SYSTEM)
    assert services.orders().get_order(order_id=order.id, actor=OWNER).status == OrderStatus.PAID
    assert ship(order).status == OrderStatus.SHIPPED


def test_unpaid_orders_expire_and_give_back() -> None:
    lamp = make_product()
    order = place(USER, (lamp, 2))
    let_pass(timedelta(minutes=31))
    assert services.orders().expire_orders() == 1
    assert services.orders().expire_orders() == 0
    deliver_events()
    assert services.orders().get_order(order_id=order.id, actor=OWNER).status == OrderStatus.EXPIRED
    assert stock_of(lamp.id) == (10, 0)
    with pytest.raises(InvalidTransition):
        pay(order)
    audit()


def test_stock_of_an_order_that_was_never_made_comes_back() -> None:
    lamp = make_product()
    with (
        patch("apps.orders.services.placing.record", side_effect=KeyboardInterrupt),
        pytest.raises(KeyboardInterrupt),
    ):
        place(USER, (lamp, 2))
    assert not OrderRow.objects.exists()
    assert stock_of(lamp.id) == (10, 2)
    audit()
    let_pass(timedelta(minutes=46))
    assert services.products().release_expired_reservations() == 1
    assert stock_of(lamp.id) == (10, 0)


def test_a_repetition_after_the_stock_came_back_says_so() -> None:
    lamp, order_id = make_product(), new_id()
    new = NewOrder(lines=[StockLine(product_id=lamp.id, quantity=2)])
    with (
        patch("apps.orders.services.placing.record", side_effect=KeyboardInterrupt),
        pytest.raises(KeyboardInterrupt),
    ):
        services.orders().place_order(order_id=order_id, user_id=USER, new=new)
    services.products().release_reservation(order_id=order_id)
    with pytest.raises(ReservationClosed):
        services.orders().place_order(order_id=order_id, user_id=USER, new=new)
    assert not OrderRow.objects.exists()


def test_an_order_whose_stock_was_given_away_is_cancelled_instead_of_paid() -> None:
    lamp = make_product()
    order = place(USER, (lamp, 2))
    services.products().release_reservation(order_id=order.id)
    with pytest.raises(InvalidTransition):
        pay(order)
    assert not SandboxCharge.objects.exists()
    assert services.orders().get_order(order_id=order.id, actor=OWNER).status == OrderStatus.CANCELLED


@pytest.mark.parametrize(("others", "status", "on_hand"), [(0, "paid", 8), (10, "cancelled", 10)])
def test_a_paid_order_whose_reservation_is_gone(others: int, status: str, on_hand: int) -> None:
    lamp = make_product()
    order = pay(place(USER, (lamp, 2)))
    services.products().release_reservation(order_id=order.id)
    if others:
        place(USER, (lamp, others))
    deliver_events()
    seen = services.orders().get_order(order_id=order.id, actor=OWNER)
    assert seen.status == status
    assert stock_of(lamp.id) == (on_hand, others)
    if status == "cancelled":
        assert SandboxCharge.objects.get().refunded_amount == order.total
        timeline = services.orders().get_timeline(order_id=order.id, actor=OWNER)
        assert timeline[-1].reason == "the goods are no longer in stock"
    audit()


def test_changing_lines_reserves_the_difference() -> None:
    lamp, vase = make_product(stock=5), make_product(stock=5, name="Vase", price="7.50")
    order = place(USER, (lamp, 4))
    lines = [StockLine(product_id=lamp.id, quantity=5), StockLine(product_id=vase.id, quantity=2)]
    changed = services.orders().change_order(order_id=order.id, actor=OWNER, change=OrderChange(lines=lines, note="hi"))
    assert [(item.product_name, item.quantity) for item in changed.items] == [("Lamp", 5), ("Vase", 2)]
    assert (changed.total, changed.note, changed.number) == (Decimal("65.00"), "hi", order.number)
    assert (stock_of(lamp.id), stock_of(vase.id)) == ((5, 5), (5, 2))
    assert event_types() == ["order.created", "order.updated"]
    pay(order)
    deliver_events()
    assert (stock_of(lamp.id), stock_of(vase.id)) == ((0, 0), (3, 0))
    audit()


def test_a_change_that_is_short_leaves_all_as_it_was() -> None:
    lamp, vase = make_product(stock=5), make_product(stock=1, name="Vase")
    order = place(USER, (lamp, 4))
    lines = [StockLine(product_id=lamp.id, quantity=1), StockLine(product_id=vase.id, quantity=2)]
    with pytest.raises(OutOfStock):
        services.orders().change_order(order_id=order.id, actor=OWNER, change=OrderChange(lines=lines))
    assert (stock_of(lamp.id), stock_of(vase.id)) == ((5, 4), (1, 0))
    assert services.orders().get_order(order_id=order.id, actor=OWNER) == order
    assert pay(order).status == OrderStatus.PAID


def test_a_change_begun_by_a_clock_that_is_ahead_is_finished_all_the_same() -> None:
    lamp = make_product(stock=10)
    order = place(USER, (lamp, 1))
    change = OrderChange(lines=[StockLine(product_id=lamp.id, quantity=4)])
    cut_off = patch("apps.orders.services.changing._take_over", side_effect=KeyboardInterrupt)
    with time_machine.travel(timezone.now() + timedelta(hours=1)), cut_off, pytest.raises(KeyboardInterrupt):
        services.orders().change_order(order_id=order.id, actor=OWNER, change=change)
    assert services.orders().settle_open_orders() == 1
    assert services.orders().get_order(order_id=order.id, actor=OWNER).items[0].quantity == 4
    assert stock_of(lamp.id) == (10, 4)
    audit()


@pytest.mark.parametrize("reserved_already", [True, False])
def test_a_change_cut_off_half_way_is_finished(reserved_already: bool) -> None:
    lamp = make_product(stock=5)
    order = place(USER, (lamp, 4))
    change = OrderChange(lines=[StockLine(product_id=lamp.id, quantity=1)])
    target = "_take_over" if reserved_already else "Changing._carry_out"
    with (
        patch(f"apps.orders.services.changing.{target}", side_effect=KeyboardInterrupt),
        pytest.raises(KeyboardInterrupt),
    ):
        services.orders().change_order(order_id=order.id, actor=OWNER, change=change)
    with pytest.raises(OrderBusy):
        pay(order)
    audit()
    let_pass(timedelta(minutes=2))
    assert services.orders().settle_open_orders() == 1
    assert services.orders().get_order(order_id=order.id, actor=OWNER).items[0].quantity == 1
    assert stock_of(lamp.id) == (5, 1)
    audit()


def test_a_change_whose_answer_is_lost_is_finished_not_dropped() -> None:
    lamp = make_product(stock=5)
    order = place(USER, (lamp, 4))
    change = OrderChange(lines=[StockLine(product_id=lamp.id, quantity=1)])
    replace = products_class().replace_reservation

    def loses_its_answer(service: ProductService, **asking: Any) -> Any:  # noqa: ANN401 - passed on
        replace(service, **asking)
        raise Unavailable("The products service did not answer.")

    with patch.object(products_class(), "replace_reservation", loses_its_answer), pytest.raises(Unavailable):
        services.orders().change_order(order_id=order.id, actor=OWNER, change=change)
    let_pass(timedelta(minutes=2))
    assert services.orders().settle_open_orders() == 1
    assert services.orders().get_order(order_id=order.id, actor=OWNER).items[0].quantity == 1
    assert stock_of(lamp.id) == (5, 1)
    audit()


def test_changing_details_touches_no_stock() -> None:
    lamp = make_product()
    order = place(USER, (lamp, 1))
    change = OrderChange(shipping=ShippingAddress(city="Paris", method="express"))
    changed = services.orders().change_order(order_id=order.id, actor=OWNER, change=change)
    assert (changed.total, changed.items) == (Decimal("25.00"), order.items)
    with pytest.raises(UnknownShippingMethod):
        services.orders().change_order(
            order_id=order.id, actor=OWNER, change=OrderChange(shipping=ShippingAddress(method="rocket"))
        )
    assert services.orders().get_order(order_id=order.id, actor=OWNER) == changed


def test_a_line_that_stays_keeps_its_price_when_its_quantity_changes() -> None:
    lamp = make_product(stock=100_000, price="100000000.00")
    order = place(USER, (lamp, 1))
    services.products().update_product(product_id=lamp.id, change=ProductChange(price=Decimal("1.00"), currency="EUR"))
    too_many = OrderChange(lines=[StockLine(product_id=lamp.id, quantity=10_000)])
    with pytest.raises(AmountTooLarge):
        services.orders().change_order(order_id=order.id, actor=OWNER, change=too_many)
    assert stock_of(lamp.id) == (100_000, 1)
    two = OrderChange(lines=[StockLine(product_id=lamp.id, quantity=2)])
    changed = services.orders().change_order(order_id=order.id, actor=OWNER, change=two)
    assert (changed.total, changed.currency) == (Decimal("200000000.00"), "USD")
    audit()


def test_placing_again_after_a_change_reserves_nothing_more() -> None:
    lamp, vase, order_id = make_product(), make_product(name="Vase"), new_id()
    new = NewOrder(lines=[StockLine(product_id=lamp.id, quantity=2)])
    services.orders().place_order(order_id=order_id, user_id=USER, new=new)
    change = OrderChange(lines=[StockLine(product_id=vase.id, quantity=1)])
    changed = services.orders().change_order(order_id=order_id, actor=OWNER, change=change)
    assert services.orders().place_order(order_id=order_id, user_id=USER, new=new) == changed
    assert (stock_of(lamp.id), stock_of(vase.id)) == ((10, 0), (10, 1))
    audit()


@pytest.mark.parametrize("method", ["ship_order", "deliver_order", "refund_order"])
def test_what_is_for_staff_is_refused_to_the_owner(method: str) -> None:
    order = pay(place(USER, (make_product(), 1)))
    with pytest.raises(StaffOnly):
        getattr(services.orders(), method)(order_id=order.id, actor=OWNER)
    assert services.orders().get_order(order_id=order.id, actor=OWNER).status == OrderStatus.PAID


def test_one_payment_that_cannot_be_settled_does_not_keep_others_waiting() -> None:
    lamp = make_product()
    stuck, fine = place(USER, (lamp, 1)), place(USER, (lamp, 1))
    for order in (stuck, fine):
        with pytest.raises(PaymentUnknown):
            pay(order, "tok_timeout")
    stuck_id = str(Payment.objects.get(order_id=stuck.id).id)
    find = SandboxProvider.find

    def fails_once(provider: SandboxProvider, *, idempotency_key: str, **asked: Any) -> Transaction | None:  # noqa: ANN401
        if idempotency_key == stuck_id:
            raise ZeroDivisionError
        return find(provider, idempotency_key=idempotency_key, **asked)

    let_pass(timedelta(seconds=30))
    with patch.object(SandboxProvider, "find", fails_once):
        assert services.orders().settle_open_orders() == 1
    assert services.orders().get_order(order_id=fine.id, actor=OWNER).status == OrderStatus.PAID
    assert services.orders().get_order(order_id=stuck.id, actor=OWNER).status == OrderStatus.PENDING


@pytest.mark.parametrize(
    ("state", "step", "ends", "refunded"), [("authorised", "void", "voided", 0), ("captured", "refund", "captured", 10)]
)
def test_what_turns_up_after_it_was_given_up_goes_back_even_if_the_provider_is_silent_at_first(
    state: str, step: str, ends: str, refunded: int
) -> None:
    order = place(USER, (make_product(), 1))
    with pytest.raises(PaymentUnknown):
        pay(order, "tok_timeout_lost")
    let_pass(timedelta(minutes=2))
    assert services.orders().settle_open_orders() == 1
    payment = Payment.objects.get()
    SandboxProvider()._book(str(payment.id), payment.amount, payment.currency, state)
    let_pass(timedelta(hours=5))
    with patch.object(SandboxProvider, step, side_effect=NoAnswer):
        assert services.orders().settle_open_orders() == 0
    assert services.orders().settle_open_orders() == 1
    assert services.orders().settle_open_orders() == 0
    charge = SandboxCharge.objects.get()
    assert (charge.state, int(charge.refunded_amount)) == (ends, refunded)
    assert pay(order).status == OrderStatus.PAID
    deliver_events()
    audit()


def test_a_payment_that_was_given_up_is_looked_at_until_it_is_certain() -> None:
    order = place(USER, (make_product(), 1))
    with pytest.raises(PaymentUnknown):
        pay(order, "tok_timeout_lost")
    for hours, code in ((0.1, "never_arrived"), (0.2, "never_arrived"), (3, "never_charged")):
        let_pass(timedelta(hours=hours))
        services.orders().settle_open_orders()
        assert Payment.objects.get().failure_code == code


def test_a_payment_that_was_held_up_does_not_cost_an_order_that_another_has_paid() -> None:
    lamp = make_product(stock=5)
    order = place(USER, (lamp, 1))
    extend = products_class().extend_reservation
    asked: list[UUID] = []

    def held_up(service: ProductService, *, order_id: UUID, hold_for: timedelta) -> None:
        asked.append(order_id)
        if len(asked) == 1:
            Payment.objects.update(updated_at=timezone.now() - timedelta(seconds=61))
            services.orders().settle_open_orders()
            pay(order)
            deliver_events()
        extend(service, order_id=order_id, hold_for=hold_for)

    with patch.object(products_class(), "extend_reservation", held_up), pytest.raises(PaymentDeclined):
        pay(order)
    seen = services.orders().get_order(order_id=order.id, actor=OWNER)
    assert seen.payment is not None
    assert (seen.status, seen.payment.status) == (OrderStatus.PAID, PaymentStatus.SUCCEEDED)
    deliver_events()
    audit()


def test_a_payment_that_was_never_asked_for_can_be_asked_for_again() -> None:
    order, payment_id = place(USER, (make_product(), 1)), new_id()

    def attempt() -> Order:
        return services.orders().pay_order(
            order_id=order.id, payment_id=payment_id, actor=OWNER, method="card", token="tok_visa"
        )

    with (
        patch.object(products_class(), "extend_reservation", side_effect=OperationalError),
        pytest.raises(OperationalError),
    ):
        attempt()
    assert attempt().status == OrderStatus.PAID
    assert SandboxCharge.objects.count() == 1


@pytest.mark.parametrize("meanwhile", ["dropped", "overtaken"])
def test_a_change_that_was_held_up_is_not_made_late(meanwhile: str) -> None:
    lamp, vase, bowl = make_product(stock=5), make_product(name="Vase", stock=5), make_product(name="Bowl", stock=5)
    order = place(USER, (lamp, 1))
    replace = products_class().replace_reservation
    bowls = OrderChange(lines=[StockLine(product_id=bowl.id, quantity=1)])
    asked: list[object] = []

    def held_up(service: ProductService, **asking: Any) -> Any:  # noqa: ANN401 - passed on
        asked.append(asking)
        if len(asked) == 1:
            with time_machine.travel(timezone.now() + timedelta(seconds=61)):
                if meanwhile == "dropped":
                    services.products().adjust_stock(product_id=vase.id, on_hand=0, reason="broken")
                services.orders().settle_open_orders()
                if meanwhile == "dropped":
                    services.products().adjust_stock(product_id=vase.id, on_hand=5, reason="delivery")
                else:
                    services.orders().change_order(order_id=order.id, actor=OWNER, change=bowls)
                pay(order)
        return replace(service, **asking)

    vases = OrderChange(lines=[StockLine(product_id=vase.id, quantity=2)])
    with patch.object(products_class(), "replace_reservation", held_up), pytest.raises(ChangeOvertaken):
        services.orders().change_order(order_id=order.id, actor=OWNER, change=vases)
    with time_machine.travel(timezone.now() + timedelta(minutes=2)):
        deliver_events()
        audit()
    sold = lamp if meanwhile == "dropped" else bowl
    assert {stock_of(product.id) for product in (lamp, vase, bowl) if product != sold} == {(5, 0)}
    assert stock_of(sold.id) == (4, 0)


def test_a_repetition_holds_its_stock_as_long_as_its_order() -> None:
    lamp, order_id = make_product(stock=1), new_id()
    new = NewOrder(lines=[StockLine(product_id=lamp.id, quantity=1)])
    cut_off = patch("apps.orders.services.placing.record", side_effect=KeyboardInterrupt)
    with cut_off, pytest.raises(KeyboardInterrupt):
        services.orders().place_order(order_id=order_id, user_id=USER, new=new)
    let_pass(timedelta(minutes=40))
    services.orders().place_order(order_id=order_id, user_id=USER, new=new)
    let_pass(timedelta(minutes=6))
    assert services.products().release_expired_reservations() == 0
    with pytest.raises(OutOfStock):
        place(USER, (lamp, 1))


def test_a_repetition_under_other_rules_leaves_the_order_alone(settings: Settings) -> None:
    lamp, order_id = make_product(stock=1), new_id()
    new = NewOrder(
        lines=[StockLine(product_id=lamp.id, quantity=1)], shipping=ShippingAddress(name="Ada", method="express")
    )
    paid = pay(services.orders().place_order(order_id=order_id, user_id=USER, new=new))
    settings.SHIPPING_METHODS = {"standard": {}}
    assert services.orders().place_order(order_id=order_id, user_id=USER, new=new) == paid
    deliver_events()
    assert stock_of(lamp.id) == (0, 0)


def test_the_payment_that_counts_is_shown_whatever_its_id() -> None:
    order, earlier, later = place(USER, (make_product(), 1)), new_id(), new_id()
    orders = services.orders()
    with pytest.raises(PaymentDeclined):
        orders.pay_order(order_id=order.id, payment_id=later, actor=OWNER, method="card", token="tok_declined")
    paid = orders.pay_order(order_id=order.id, payment_id=earlier, actor=OWNER, method="card", token="tok_visa")
    assert paid.payment is not None
    assert paid.payment.status == PaymentStatus.SUCCEEDED


def test_a_refund_that_is_declined_later_leaves_the_order_as_it_was() -> None:
    order = pay(place(USER, (make_product(), 1)))
    with patch.object(SandboxProvider, "refund", side_effect=NoAnswer), pytest.raises(PaymentUnknown):
        services.orders().cancel_order(order_id=order.id, actor=OWNER)
    declined = patch.object(SandboxProvider, "refund", side_effect=Declined("too_late", "Too late."))
    let_pass(timedelta(minutes=2))
    with declined:
        services.orders().settle_open_orders()
    assert ship(order).status == OrderStatus.SHIPPED


# What the contract allows: action → the statuses in which it may be done.
ALLOWED = {
    Action.CHANGE: "pending",
    Action.PAY: "pending",
    Action.CANCEL: "pending paid",
    Action.SHIP: "paid",
    Action.DELIVER: "shipped",
    Action.REFUND: "paid shipped delivered",
}


def test_what_the_table_does_not_allow_changes_nothing() -> None:
    """Every action in every status."""
    assert {action: " ".join(MOVES[action]) for action in ALLOWED} == ALLOWED
    orders = services.orders()
    acts: dict[Action, Callable[[Order], Order]] = {
        Action.CHANGE: lambda o: orders.change_order(order_id=o.id, actor=OWNER, change=OrderChange(note="x")),
        Action.PAY: pay,
        Action.CANCEL: lambda o: orders.cancel_order(order_id=o.id, actor=SYSTEM),
        Action.SHIP: ship,
        Action.DELIVER: lambda o: orders.deliver_order(order_id=o.id, actor=SYSTEM),
        Action.REFUND: lambda o: orders.refund_order(order_id=o.id, actor=SYSTEM),
    }
    order = place(USER, (make_product(), 1))
    refused = 0
    for status in OrderStatus:
        OrderRow.objects.filter(pk=order.id).update(status=status)
        for action, act in acts.items():
            if status in ALLOWED[action].split():
                continue
            before = OrderRow.objects.values().get(pk=order.id)
            with pytest.raises(InvalidTransition):
                act(order)
            assert OrderRow.objects.values().get(pk=order.id) == before
            refused += 1
    assert refused == 33


@pytest.mark.parametrize("method", ["get_order", "get_status", "get_timeline", "watch_order", "cancel_order"])
def test_somebody_elses_order_is_not_found(method: str) -> None:
    order = place(USER, (make_product(), 1))
    for _ in range(2):
        with pytest.raises(OrderNotFound):
            getattr(services.orders(), method)(order_id=order.id, actor=STRANGER)
    found = getattr(services.orders(), method)(order_id=order.id, actor=SYSTEM)
    if method == "watch_order":
        found.close()


def test_the_timeline_tells_every_change() -> None:
    order = pay(place(USER, (make_product(), 1)))
    ship(order)
    timeline = services.orders().get_timeline(order_id=order.id, actor=OWNER)
    assert [(entry.action, entry.status, entry.actor_id) for entry in timeline] == [
        ("place", "pending", USER),
        ("pay", "paid", USER),
        ("ship", "shipped", None),
    ]


def test_a_long_timeline_comes_in_pages() -> None:
    order = place(USER, (make_product(), 1))
    _change(order, TIMELINE_PAGE)
    orders = services.orders()
    with statements() as sent:
        first = orders.get_timeline(order_id=order.id, actor=OWNER)
    assert len(sent) == 2
    second = orders.get_timeline(order_id=order.id, actor=OWNER, after=first[-1].sequence)
    assert [entry.sequence for entry in first] == list(range(1, TIMELINE_PAGE + 1))
    assert [entry.sequence for entry in second] == [TIMELINE_PAGE + 1]
    assert orders.get_timeline(order_id=order.id, actor=OWNER, after=second[-1].sequence) == []


def _change(order: Order, times: int) -> None:
    for _ in range(times):
        services.orders().change_order(order_id=order.id, actor=OWNER, change=OrderChange(note="x"))


@pytest.mark.usefixtures("shared_cache")
def test_the_status_is_cached_and_never_stale(
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    order = place(USER, (make_product(), 1))
    assert services.orders().get_status(order_id=order.id, actor=OWNER) == OrderStatus.PENDING
    with statements() as sent:
        assert services.orders().get_status(order_id=order.id, actor=OWNER) == OrderStatus.PENDING
        with pytest.raises(OrderNotFound):
            services.orders().get_status(order_id=order.id, actor=STRANGER)
    assert sent == []
    with django_capture_on_commit_callbacks(using=alias_of("orders"), execute=True):
        services.orders().cancel_order(order_id=order.id, actor=OWNER)
    assert services.orders().get_status(order_id=order.id, actor=OWNER) == OrderStatus.CANCELLED


@pytest.mark.usefixtures("shared_cache")
def test_who_read_the_status_before_a_change_does_not_bring_it_back(
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    order = place(USER, (make_product(), 1))
    with django_capture_on_commit_callbacks(using=alias_of("orders"), execute=True):
        services.orders().cancel_order(order_id=order.id, actor=OWNER)
    STATUS.remember({order.id: (USER, "pending")})
    assert services.orders().get_status(order_id=order.id, actor=OWNER) == OrderStatus.CANCELLED
