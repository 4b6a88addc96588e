"""Stock: never below zero, never promised twice, and a ledger line for every unit."""

from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from django.conf import settings
from django.core.mail import EmailMessage
from django.db import IntegrityError

from apps.common.databases import alias_of, atomic
from apps.common.ids import new_id
from apps.events.models import OutboxEvent
from apps.products.interface import (
    ChangeOvertaken,
    NewProduct,
    OutOfStock,
    Product,
    ProductChange,
    ProductNotFound,
    ReservationClosed,
    ReservationNotFound,
    StockBelowReserved,
    StockLimit,
    StockLine,
    StockReturn,
)
from apps.products.models import MAX_STOCK, Reservation, StockLevel, StockMovement
from apps.products.models import Product as ProductRow
from apps.products.services.levels import Shift, shift_levels
from config import services
from tests.flow import audit, deliver_events, let_pass, statements

pytestmark = pytest.mark.django_db

SOON = timedelta(minutes=30)


def make(stock: int, name: str = "Lamp") -> Product:
    return services.products().create_product(new=NewProduct(name=name, price=Decimal(10), stock=stock))


def hold(order_id: UUID, *lines: tuple[Product, int]) -> Sequence[Any]:
    wanted = [StockLine(product_id=product.id, quantity=quantity) for product, quantity in lines]
    return services.products().reserve_stock(order_id=order_id, lines=wanted, hold_for=SOON)


def change(order_id: UUID, number: int, *lines: StockLine) -> Sequence[Any]:
    return services.products().replace_reservation(order_id=order_id, change=number, lines=lines)


def level(product: Product) -> tuple[int, int]:
    """On hand and reserved."""
    found = services.products().get_stock(product_id=product.id)
    return found.on_hand, found.reserved


def ledger(product: Product) -> list[tuple[str, int]]:
    return list(StockMovement.objects.filter(product_id=product.id).order_by("id").values_list("kind", "delta"))


def published(kind: str) -> int:
    return OutboxEvent.objects.using(alias_of("products")).filter(type=kind).count()


@pytest.mark.parametrize(
    "broken", [{"reserved": 11}, {"reserved": -1}, {"on_hand": -1}, {"on_hand": MAX_STOCK + 1}, {"on_hand": 0}]
)
def test_the_database_itself_refuses_what_cannot_be(broken: dict[str, int]) -> None:
    lamp = make(10)
    hold(new_id(), (lamp, 1))
    with pytest.raises(IntegrityError), atomic("products"):
        StockLevel.objects.filter(pk=lamp.id).update(**broken)
    assert level(lamp) == (10, 1)


def test_one_statement_changes_what_stays_within_bounds_and_nothing_else() -> None:
    lamp, vase = make(5), make(5)
    with atomic("products"):
        shifted = shift_levels({lamp.id: Shift(reserved=5), vase.id: Shift(reserved=6), new_id(): Shift(reserved=1)})
    assert {key: (s.level.on_hand, s.level.reserved) for key, s in shifted.items()} == {lamp.id: (5, 5)}
    assert (level(lamp), level(vase)) == ((5, 5), (5, 0))


def test_reserving_answers_with_what_the_order_must_remember() -> None:
    lamp, vase = make(5), make(5, "Vase")
    priced = hold(new_id(), (vase, 2), (lamp, 1))
    assert [(line.product_id, line.quantity, line.name, line.price, line.currency) for line in priced] == [
        (vase.id, 2, "Vase", Decimal("10.00"), "USD"),
        (lamp.id, 1, "Lamp", Decimal("10.00"), "USD"),
    ]
    assert (level(lamp), level(vase)) == ((5, 1), (5, 2))
    assert ledger(lamp) == [("adjustment", 5)]


def test_the_last_unit_is_held_once() -> None:
    lamp = make(1)
    hold(new_id(), (lamp, 1))
    with pytest.raises(OutOfStock, match="0 available"):
        hold(new_id(), (lamp, 1))
    assert level(lamp) == (1, 1)


def test_reserving_twice_for_an_order_holds_once_and_answers_the_same() -> None:
    lamp, order_id = make(5), new_id()
    first = hold(order_id, (lamp, 2))
    services.products().update_product(product_id=lamp.id, change=ProductChange(price=Decimal(99)))
    assert hold(order_id, (lamp, 2)) == first
    services.products().delete_product(product_id=lamp.id)
    assert hold(order_id, (lamp, 2)) == first
    assert StockLevel.objects.get(pk=lamp.id).reserved == 2


def test_a_released_reservation_is_not_opened_again() -> None:
    lamp, order_id = make(5), new_id()
    hold(order_id, (lamp, 2))
    services.products().release_reservation(order_id=order_id)
    with pytest.raises(ReservationClosed):
        hold(order_id, (lamp, 2))
    assert level(lamp) == (5, 0)


@pytest.mark.parametrize("hidden", [True, False])
def test_what_is_not_sold_is_not_reserved(hidden: bool) -> None:
    lamp = make(5)
    if hidden:
        services.products().update_product(product_id=lamp.id, change=ProductChange(active=False))
    else:
        services.products().delete_product(product_id=lamp.id)
    with pytest.raises(ProductNotFound):
        hold(new_id(), (lamp, 1))
    assert not Reservation.objects.exists()


def test_committing_deducts_once_and_says_so() -> None:
    lamp, order_id = make(8), new_id()
    hold(order_id, (lamp, 3))
    for _ in range(2):
        services.products().commit_reservation(order_id=order_id)
    assert level(lamp) == (5, 0)
    assert ledger(lamp) == [("adjustment", 8), ("sale", -3)]
    assert (published("stock.changed"), published("stock.low")) == (1, 1)
    audit()


def test_the_ledger_itself_refuses_a_second_deduction() -> None:
    lamp, order_id = make(8), new_id()
    hold(order_id, (lamp, 3))
    services.products().commit_reservation(order_id=order_id)
    Reservation.objects.update(state="active")
    StockLevel.objects.filter(pk=lamp.id).update(reserved=3)
    with pytest.raises(IntegrityError), atomic("products"):
        services.products().commit_reservation(order_id=order_id)
    assert level(lamp) == (5, 3)


def test_releasing_gives_back_once_whether_held_or_deducted() -> None:
    lamp, held, sold = make(8), new_id(), new_id()
    hold(held, (lamp, 3))
    hold(sold, (lamp, 2))
    services.products().commit_reservation(order_id=sold)
    for _ in range(2):
        services.products().release_reservation(order_id=held)
        services.products().release_reservation(order_id=sold)
    assert level(lamp) == (8, 0)
    assert ledger(lamp) == [("adjustment", 8), ("sale", -2), ("return", 2)]
    services.products().release_reservation(order_id=new_id())
    audit()


def test_committing_what_was_given_back_takes_it_again_or_says_that_it_is_lost() -> None:
    lamp, lucky, unlucky = make(5), new_id(), new_id()
    for order_id in (lucky, unlucky):
        hold(order_id, (lamp, 2))
        services.products().release_reservation(order_id=order_id)
    services.products().commit_reservation(order_id=lucky)
    assert level(lamp) == (3, 0)
    hold(new_id(), (lamp, 2))
    services.products().commit_reservation(order_id=unlucky)
    assert level(lamp) == (3, 2)
    assert published("reservation.lost") == 1
    with pytest.raises(ReservationNotFound):
        services.products().commit_reservation(order_id=new_id())
    audit()


def test_settling_many_orders_costs_no_more_statements_than_settling_one() -> None:
    lamp, vase = make(100), make(100, "Vase")
    orders = [new_id() for _ in range(21)]
    for order_id in orders:
        hold(order_id, (lamp, 2), (vase, 1))
    costs = []
    for batch in (orders[:1], orders[1:]):
        with statements() as sent:
            services.products().settle_reservations(commit=batch, release=[])
        costs.append(len(sent))
    assert costs == [5, 5]
    assert (level(lamp), level(vase)) == ((58, 0), (79, 0))
    assert published("stock.changed") == 4
    services.products().settle_reservations(commit=[orders[0]], release=orders[1:])
    assert (level(lamp), level(vase)) == ((98, 0), (99, 0))
    audit()


def test_taking_back_from_many_orders_costs_no_more_statements_than_from_one() -> None:
    lamp = make(100)
    orders = [new_id() for _ in range(11)]
    for order_id in orders:
        hold(order_id, (lamp, 3))
    costs = []
    for batch in (orders[:1], orders[1:]):
        back = {key: [StockReturn(return_id=key, lines=[StockLine(product_id=lamp.id, quantity=1)])] for key in batch}
        with statements() as sent:
            services.products().settle_reservations(returns=back)
        costs.append(len(sent))
        services.products().settle_reservations(returns=back)
    assert costs[0] == costs[1]
    assert level(lamp) == (78, 0)
    audit()


def test_one_order_whose_stock_has_gone_is_said_to_be_lost_and_the_others_are_settled() -> None:
    lamp, lucky, unlucky, ended = make(3), new_id(), new_id(), new_id()
    hold(unlucky, (lamp, 2))
    services.products().release_reservation(order_id=unlucky)
    hold(lucky, (lamp, 2))
    hold(ended, (lamp, 1))
    services.products().settle_reservations(commit=[unlucky, lucky], release=[ended])
    assert level(lamp) == (1, 0)
    assert published("reservation.lost") == 1
    audit()


def test_replacing_holds_the_new_lines_and_only_them() -> None:
    lamp, vase, order_id = make(5), make(5, "Vase"), new_id()
    hold(order_id, (lamp, 5))
    lines = [StockLine(product_id=vase.id, quantity=1), StockLine(product_id=lamp.id, quantity=2)]
    for _ in range(2):
        change(order_id, 1, *lines)
        assert (level(lamp), level(vase)) == ((5, 2), (5, 1))
    with pytest.raises(OutOfStock):
        change(order_id, 2, StockLine(product_id=vase.id, quantity=6))
    assert (level(lamp), level(vase)) == ((5, 2), (5, 1))
    services.products().commit_reservation(order_id=order_id)
    with pytest.raises(ReservationClosed):
        change(order_id, 3, *lines)
    with pytest.raises(ReservationNotFound):
        change(new_id(), 1, *lines)
    audit()


def test_a_change_that_was_refused_or_overtaken_is_not_made_late() -> None:
    lamp, vase, order_id = make(5), make(1, "Vase"), new_id()
    hold(order_id, (lamp, 1))
    two = StockLine(product_id=vase.id, quantity=2)
    with pytest.raises(OutOfStock):
        change(order_id, 1, two)
    services.products().adjust_stock(product_id=vase.id, delta=5, reason="delivery")
    with pytest.raises(ChangeOvertaken):
        change(order_id, 1, two)
    change(order_id, 3, StockLine(product_id=lamp.id, quantity=2))
    with pytest.raises(ChangeOvertaken):
        change(order_id, 2, two)
    assert (level(lamp), level(vase)) == ((5, 2), (6, 0))


def test_what_is_held_past_its_time_comes_back_unless_it_was_extended() -> None:
    lamp, dropped, paying = make(5), new_id(), new_id()
    hold(dropped, (lamp, 2))
    hold(paying, (lamp, 1))
    services.products().extend_reservation(order_id=paying, hold_for=timedelta(days=7))
    assert services.products().release_expired_reservations() == 0
    let_pass(timedelta(hours=1))
    assert services.products().release_expired_reservations() == 1
    assert level(lamp) == (5, 1)
    with pytest.raises(ReservationClosed):
        services.products().extend_reservation(order_id=dropped, hold_for=SOON)
    with pytest.raises(ReservationNotFound):
        services.products().extend_reservation(order_id=new_id(), hold_for=SOON)


def test_adjusting_writes_the_ledger() -> None:
    lamp, staff = make(5), new_id()
    adjust = services.products().adjust_stock
    assert adjust(product_id=lamp.id, delta=7, reason="delivery", actor_id=staff).on_hand == 12
    assert adjust(product_id=lamp.id, on_hand=4, reason="counted").on_hand == 4
    assert adjust(product_id=lamp.id, on_hand=4, reason="counted again").on_hand == 4
    assert ledger(lamp) == [("adjustment", 5), ("adjustment", 7), ("adjustment", -8)]
    movement = StockMovement.objects.filter(delta=7).get()
    assert (movement.reason, movement.actor_id) == ("delivery", staff)
    assert (published("stock.changed"), published("stock.low")) == (2, 1)
    audit()


def test_adjusting_never_takes_what_is_promised() -> None:
    lamp = make(5)
    hold(new_id(), (lamp, 3))
    for delta, on_hand in ((-3, None), (None, 2), (-6, None)):
        with pytest.raises(StockBelowReserved):
            services.products().adjust_stock(product_id=lamp.id, reason="lost", delta=delta, on_hand=on_hand)
    with pytest.raises(StockLimit):
        services.products().adjust_stock(product_id=lamp.id, delta=MAX_STOCK, reason="a lot")
    with pytest.raises(ProductNotFound):
        services.products().adjust_stock(product_id=new_id(), delta=1, reason="ghost")
    assert level(lamp) == (5, 3)
    assert ledger(lamp) == [("adjustment", 5)]


def test_reservations_are_listed_whole_and_in_pages() -> None:
    lamp, vase = make(50), make(50, "Vase")
    ids = sorted(new_id() for _ in range(5))
    for order_id in ids:
        hold(order_id, (lamp, 1), (vase, 2))
    services.products().release_reservation(order_id=ids[1])
    first = services.products().list_active_reservations(after=None, limit=2)
    rest = services.products().list_active_reservations(after=first[-1].order_id, limit=10)
    assert [found.order_id for found in (*first, *rest)] == [ids[0], *ids[2:]]
    assert all(len(found.lines) == 2 for found in (*first, *rest))
    assert len(services.products().list_reservations(order_ids=ids)) == 5


def test_the_mail_about_low_stock_is_one_line_whatever_the_name_is(mailoutbox: list[EmailMessage]) -> None:
    product = make(settings.LOW_STOCK_THRESHOLD + 1)
    ProductRow.objects.filter(pk=product.id).update(name="Lamp\r\nBcc: a@example.com")

    services.products().adjust_stock(product_id=product.id, delta=-1, reason="broken")
    deliver_events()

    assert [mail.subject for mail in mailoutbox] == ["Running out: Lamp Bcc: a@example.com"]
