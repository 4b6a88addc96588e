"""What happens when events of orders arrive: late, twice, and in the customer's mailbox."""

from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import pytest
import time_machine
from celery import current_app
from django.core.mail import EmailMessage
from django.utils import timezone

from apps.common.databases import alias_of, atomic
from apps.common.ids import new_id
from apps.events.envelope import Event
from apps.events.models import FailedDelivery, OutboxEvent, WebhookEndpoint
from apps.events.webhooks import endpoints, rows, sending
from apps.orders.interface import SYSTEM, PaymentUnknown
from apps.orders.models import Payment
from apps.orders.tests.factories import make_product, notice, pay, place, ship
from apps.products.interface import Product
from config import services
from tests.flow import audit, deliver_events, sends, statements

pytestmark = pytest.mark.django_db


def told(subject: UUID, *types: str) -> list[Event]:
    """The events of these types that tell of the subject, in the order of `types`."""
    found = {row.type: row.to_event() for row in OutboxEvent.objects.using(alias_of("orders")).filter(subject=subject)}
    return [found[kind] for kind in types]


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


def test_a_lost_reservation_told_late_leaves_an_order_that_has_ended_alone() -> None:
    order = pay(place(new_id(), (make_product(stock=2), 2)))
    services.orders().cancel_order(order_id=order.id, actor=SYSTEM)
    lost = replace(
        told(order.id, "order.paid")[0], id=new_id(), type="reservation.lost", data={"order_id": str(order.id)}
    )
    deliver("orders.cancel_unfulfillable", lost)
    timeline = services.orders().get_timeline(order_id=order.id, actor=SYSTEM)
    assert [entry.action for entry in timeline] == ["place", "pay", "cancel"]
    assert not FailedDelivery.objects.using(alias_of("orders")).exists()


def test_a_lost_reservation_told_after_the_goods_were_sent_is_for_a_person() -> None:
    order = ship(pay(place(new_id(), (make_product(stock=2), 2))))
    lost = replace(
        told(order.id, "order.paid")[0], id=new_id(), type="reservation.lost", data={"order_id": str(order.id)}
    )
    deliver("orders.cancel_unfulfillable", lost)
    assert services.orders().get_status(order_id=order.id, actor=SYSTEM) == "shipped"
    failure = FailedDelivery.objects.using(alias_of("orders")).get()
    assert (failure.consumer, failure.error.partition(":")[0]) == ("orders.cancel_unfulfillable", "InvalidTransition")


def test_the_staff_hear_when_something_runs_out(mailoutbox: list[EmailMessage]) -> None:
    pay(place(new_id(), (make_product(name="Brass lamp", stock=6, sku="B-1"), 2)))
    deliver_events()
    assert [(mail.to, mail.subject, mail.body) for mail in mailoutbox] == [
        (["staff@example.com"], "Running out: Brass lamp", "4 of Brass lamp (B-1) are left on hand.")
    ]


def test_the_staff_hear_once_of_an_event_that_comes_twice(mailoutbox: list[EmailMessage]) -> None:
    product = make_product(stock=6)
    services.products().adjust_stock(product_id=product.id, reason="counted", on_hand=4)
    low = OutboxEvent.objects.using(alias_of("products")).get(type="stock.low").to_event()
    for _ in range(2):
        deliver("products.mail_staff", low)
    assert len(mailoutbox) == 1


def test_nobody_hears_late_of_a_product_that_has_left(mailoutbox: list[EmailMessage]) -> None:
    product = make_product(stock=6)
    services.products().adjust_stock(product_id=product.id, reason="counted", on_hand=4)
    low = OutboxEvent.objects.using(alias_of("products")).get(type="stock.low").to_event()
    services.products().delete_product(product_id=product.id)
    deliver("products.mail_staff", low)
    assert mailoutbox == []
    assert not FailedDelivery.objects.using(alias_of("products")).exists()


@pytest.fixture
def stopped() -> tuple[UUID, Event]:
    """An endpoint that the shop has stopped, and the event that tells so."""
    endpoint = endpoints.create_endpoint(url="https://93.184.216.34/hooks", owner_email="owner@example.com")
    with atomic("orders"):
        row = rows.endpoints().get(pk=endpoint.id)
        sending.stop(row, WebhookEndpoint.State.PAUSED, "It answers 503.")
        row.save()
    return endpoint.id, told(endpoint.id, "webhook.stopped")[0]


def test_the_owner_of_a_webhook_hears_once_of_an_event_that_comes_twice(
    stopped: tuple[UUID, Event], mailoutbox: list[EmailMessage]
) -> None:
    for _ in range(2):
        deliver("orders.mail_webhook_owner", stopped[1])
    (mail,) = mailoutbox
    assert mail.to == ["owner@example.com"]
    assert "It answers 503." in mail.body


def test_nobody_hears_late_of_a_webhook_that_was_deleted(
    stopped: tuple[UUID, Event], mailoutbox: list[EmailMessage]
) -> None:
    endpoints.delete_endpoint(endpoint_id=stopped[0])
    deliver("orders.mail_webhook_owner", stopped[1])
    assert mailoutbox == []
    assert not FailedDelivery.objects.using(alias_of("orders")).exists()


@pytest.mark.parametrize("count", [1, 50])
def test_a_batch_of_paid_orders_is_settled_by_as_many_statements_as_one(count: int) -> None:
    lamp, vase = make_product(stock=100), make_product(stock=100)
    orders = [pay(place(new_id(), (lamp, 1), (vase, 1))) for _ in range(count)]
    events = [told(order.id, "order.paid")[0] for order in orders]
    with sends(8):
        deliver("products.settle_reservation", *events)
    assert level(lamp) == level(vase) == (100 - count, 0)


@pytest.mark.parametrize("count", [1, 20])
def test_open_payments_are_settled_by_a_number_of_statements_for_each(count: int) -> None:
    for _ in range(count):
        with pytest.raises(PaymentUnknown):
            pay(place(new_id(), (make_product(), 1)), "tok_timeout")
    with time_machine.travel(timezone.now() + timedelta(minutes=5)), statements() as sent:
        assert services.orders().settle_open_orders() == count
    assert len(sent) == 4 + 11 * count


def test_a_message_of_the_provider_takes_so_many_statements_whenever_it_comes() -> None:
    order = pay(place(new_id(), (make_product(), 1)), "tok_3ds")
    payment = Payment.objects.get(order_id=order.id)
    body, headers = notice(payment.id)
    with sends(16):
        services.orders().handle_provider_message(provider="sandbox", body=body, headers=headers)
    assert services.orders().get_status(order_id=order.id, actor=SYSTEM) == "paid"
    with sends(2):
        services.orders().handle_provider_message(provider="sandbox", body=body, headers=headers)
