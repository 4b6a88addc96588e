"""What happens when events of orders arrive: late, twice, and in the customer's mailbox."""

from uuid import UUID

import pytest
from celery import current_app
from django.core.mail import EmailMessage

from apps.common.databases import alias_of
from apps.common.ids import new_id
from apps.events.envelope import Event
from apps.events.models import FailedDelivery, OutboxEvent
from apps.orders.interface import SYSTEM
from apps.orders.tests.factories import make_product, pay, place, ship
from apps.products.interface import Product
from config import services
from tests.flow import audit, deliver_events

pytestmark = pytest.mark.django_db


def told(subject: UUID, *types: str) -> list[Event]:
    """The events of these types that tell of the subject, in the order of `types`."""
    rows = {row.type: row.to_event() for row in OutboxEvent.objects.using(alias_of("orders")).filter(subject=subject)}
    return [rows[kind] for kind in types]


def deliver(task: str, *events: Event) -> None:
    current_app.tasks[task].apply_async(args=([event.to_message() for event in events],))


def level(product: Product) -> tuple[int, int]:
    found = services.products().get_stock(product_id=product.id)
    return found.on_hand, found.reserved


@pytest.mark.parametrize("order_of_arrival", [(0, 1), (1, 0), (0, 0, 1, 1), (1, 0, 1, 0)])
def test_paid_and_cancelled_in_any_order_and_number_leave_the_stock_as_it_was(
    order_of_arrival: tuple[int, ...],
) -> None:
    lamp = make_product(stock=10)
    order = pay(place(new_id(), (lamp, 4)))
    services.orders().cancel_order(order_id=order.id, actor=SYSTEM)
    events = told(order.id, "order.paid", "order.cancelled")
    for position in order_of_arrival:
        deliver("products.settle_reservation", events[position])
    assert level(lamp) == (10, 0)


@pytest.mark.parametrize("order_of_arrival", [(0, 1), (1, 0), (1, 1, 0)])
def test_goods_that_were_sent_stay_deducted_after_a_refund(order_of_arrival: tuple[int, ...]) -> None:
    lamp = make_product(stock=10)
    order = ship(pay(place(new_id(), (lamp, 4))))
    services.orders().refund_order(order_id=order.id, actor=SYSTEM)
    events = told(order.id, "order.paid", "order.refunded")
    for position in order_of_arrival:
        deliver("products.settle_reservation", events[position])
    assert level(lamp) == (6, 0)


def test_a_lost_reservation_told_twice_pays_back_once() -> None:
    lamp = make_product(stock=2)
    order = pay(place(new_id(), (lamp, 2)))
    services.products().release_reservation(order_id=order.id)
    place(new_id(), (lamp, 2))
    deliver("products.settle_reservation", *told(order.id, "order.paid"))
    lost = OutboxEvent.objects.using(alias_of("products")).get(type="reservation.lost").to_event()
    for _ in range(2):
        deliver("orders.cancel_unfulfillable", lost)
    timeline = services.orders().get_timeline(order_id=order.id, actor=SYSTEM)
    assert [entry.action for entry in timeline] == ["place", "pay", "cancel"]
    assert not FailedDelivery.objects.using(alias_of("orders")).exists()
    deliver_events()
    audit()


def test_the_staff_hear_when_something_runs_out(mailoutbox: list[EmailMessage]) -> None:
    pay(place(new_id(), (make_product(name="Brass lamp", stock=6, sku="B-1"), 2)))
    deliver_events()
    assert [(mail.to, mail.subject, mail.body) for mail in mailoutbox] == [
        (["staff@example.com"], "Running out: Brass lamp", "4 of Brass lamp (B-1) are left on hand.")
    ]
