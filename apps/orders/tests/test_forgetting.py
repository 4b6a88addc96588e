"""Orders of customers who have left: they stay, and say nothing about them."""

from collections.abc import Callable
from uuid import UUID

import pytest
from celery import current_app
from django.core.mail import EmailMultiAlternatives

from apps.common.databases import alias_of
from apps.common.ids import new_id
from apps.events.envelope import Event
from apps.events.models import FailedDelivery, InboxEntry, OutboxEvent
from apps.orders.interface import SYSTEM, Actor, NewOrder, Order, ShippingAddress
from apps.orders.models import ForgottenCustomer, OrderTransition
from apps.orders.models import Order as OrderRow
from apps.orders.tasks import clear_forgotten
from apps.orders.tests.factories import make_product, pay, ship
from apps.products.interface import StockLine
from apps.users.interface import Profile
from config import services
from tests.flow import audit, deliver_events, sends

pytestmark = pytest.mark.django_db

PASSWORD = "correct horse 9"
HOME = ShippingAddress(name="Ada Lovelace", address="12 St James's Square", city="London", country="GB")


@pytest.fixture
def customer() -> UUID:
    profile = Profile(first_name="Ada")
    return services.users().register(username="ada", email="ada@example.com", password=PASSWORD, profile=profile).id


def place(user_id: UUID) -> Order:
    lines = [StockLine(product_id=make_product().id, quantity=1)]
    new = NewOrder(lines=lines, shipping=HOME, note="Ring at Ada's.")
    return services.orders().place_order(order_id=new_id(), user_id=user_id, new=new)


def cancel(order: Order) -> Order:
    actor = Actor(user_id=order.user_id)
    return services.orders().cancel_order(order_id=order.id, actor=actor, reason="Ada wants another")


def deliver(order: Order) -> Order:
    return services.orders().deliver_order(order_id=ship(pay(order)).id, actor=SYSTEM)


def refund(order: Order) -> Order:
    return services.orders().refund_order(order_id=pay(order).id, actor=SYSTEM)


def expire(order: Order) -> Order:
    OrderRow.objects.filter(pk=order.id).update(expires_at="2020-01-01T00:00:00Z")
    services.orders().expire_orders()
    return order


def leaves(user_id: UUID) -> Event:
    services.users().erase_user(user_id=user_id, password=PASSWORD)
    return OutboxEvent.objects.using(alias_of("users")).get(type="user.deleted").to_event()


def hear(event: Event, times: int = 1) -> None:
    for _ in range(times):
        current_app.tasks["orders.forget_customer"].apply_async(args=([event.to_message()],))


def tells(order: Order) -> bool:
    """Whether anything that is kept of the order names its customer."""
    row = OrderRow.objects.values().get(pk=order.id)
    reasons = list(OrderTransition.objects.filter(order=order.id).values_list("reason", flat=True))
    return "Ada" in f"{row} {reasons}"


@pytest.mark.parametrize("end", [cancel, deliver, refund, expire])
def test_an_order_that_is_done_says_nothing_any_more(customer: UUID, end: Callable[[Order], Order]) -> None:
    order = place(customer)
    end(order)
    assert tells(order)
    before = services.orders().get_order(order_id=order.id, actor=SYSTEM)
    event = leaves(customer)
    events = OutboxEvent.objects.using(alias_of("orders")).count()
    hear(event)
    assert not tells(order)
    after = services.orders().get_order(order_id=order.id, actor=SYSTEM)
    assert (after.shipping, after.note) == (None, "")
    kept = ("number", "user_id", "status", "subtotal", "total", "items", "payment", "updated_at")
    assert [getattr(after, name) for name in kept] == [getattr(before, name) for name in kept]
    assert OutboxEvent.objects.using(alias_of("orders")).count() == events
    deliver_events()
    audit()


@pytest.mark.parametrize("begin", [lambda order: order, pay, lambda order: ship(pay(order))])
def test_an_order_under_way_still_arrives_and_says_nothing_after_that(
    customer: UUID, begin: Callable[[Order], Order]
) -> None:
    order = place(customer)
    begin(order)
    hear(leaves(customer))
    assert services.orders().get_order(order_id=order.id, actor=SYSTEM).shipping is not None
    clear_forgotten()
    assert tells(order)
    OrderRow.objects.filter(pk=order.id).update(status="delivered")
    clear_forgotten()
    assert not tells(order)


def test_others_are_not_forgotten(customer: UUID) -> None:
    other = cancel(place(new_id()))
    cancel(place(customer))
    hear(leaves(customer))
    clear_forgotten()
    assert tells(other)


def test_an_event_that_comes_twice_and_is_replayed_changes_nothing_more(customer: UUID) -> None:
    order = cancel(place(customer))
    event = leaves(customer)
    hear(event, times=2)
    InboxEntry.objects.using(alias_of("orders")).all().delete()
    hear(event)
    assert not tells(order)
    assert ForgottenCustomer.objects.get().user_id == customer
    assert not FailedDelivery.objects.using(alias_of("orders")).exists()


def test_an_order_that_was_placed_as_the_customer_left_is_cleared_too(customer: UUID) -> None:
    event = leaves(customer)
    early = place(customer)  # with a token that another process still believed
    hear(event)
    late = place(customer)
    for order in (early, late):
        cancel(order)
    clear_forgotten()
    assert (tells(early), tells(late)) == (False, False)


def test_whoever_has_left_gets_no_mail(customer: UUID, mailoutbox: list[EmailMultiAlternatives]) -> None:
    order = pay(place(customer))
    deliver_events()
    mailoutbox.clear()
    leaves(customer)
    services.orders().deliver_order(order_id=ship(order).id, actor=SYSTEM)
    deliver_events()
    assert mailoutbox == []
    assert not FailedDelivery.objects.using(alias_of("orders")).exists()


def test_clearing_costs_the_same_for_any_number_of_orders(customer: UUID) -> None:
    for _ in range(3):
        cancel(place(customer))
    hear(leaves(customer))
    with sends(3):
        clear_forgotten()
    cancel(place(customer))
    cancel(place(customer))
    with sends(3):
        clear_forgotten()
    assert not OrderRow.objects.exclude(note="").exists()
