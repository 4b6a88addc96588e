"""Paying back, in full and in part: money, goods, timeline and events together."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from decimal import Decimal
from typing import Any
from unittest.mock import patch
from uuid import UUID

import pytest
import time_machine
from celery import current_app
from django.core.mail import EmailMessage
from django.core.management import CommandError
from django.db import IntegrityError, transaction
from django.utils import timezone

from apps.common.databases import alias_of
from apps.common.errors import DomainError
from apps.common.ids import new_id
from apps.common.models import IdempotencyKey
from apps.events.models import OutboxEvent
from apps.orders.interface import (
    SYSTEM,
    Actor,
    InvalidRefund,
    InvalidTransition,
    Order,
    OrderBusy,
    OrderNotFound,
    OrderStatus,
    PaymentDeclined,
    PaymentStatus,
    PaymentUnknown,
    RefundStatus,
    RefundTooLarge,
    UnknownLine,
)
from apps.orders.models import Payment, Refund, SandboxCharge, SandboxRefund
from apps.orders.payments.provider import Declined, NoAnswer, RefundReceipt
from apps.orders.payments.sandbox import SandboxProvider
from apps.orders.tests.factories import make_product, pay, place, ship
from apps.products.interface import Product, StockLine, StockReturn
from apps.users.interface import Profile, Role
from config import services
from tests.flow import LoggedIn, audit, deliver_events, let_pass

pytestmark = pytest.mark.django_db

USER = UUID("01938d5e-0000-7000-8000-000000000001")
OWNER, STRANGER = Actor(user_id=USER), Actor(user_id=UUID("01938d5e-0000-7000-8000-000000000002"))
CLERK = Actor(user_id=UUID("01938d5e-0000-7000-8000-000000000003"), is_staff=True)


@pytest.fixture
def lamp() -> Product:
    return make_product(stock=10, price="10.00")


@pytest.fixture
def vase() -> Product:
    return make_product(name="Vase", stock=10, price="7.00")


@pytest.fixture
def order(lamp: Product, vase: Product) -> Order:
    """Four lamps and a vase, paid: 47.00."""
    return pay(place(USER, (lamp, 4), (vase, 1)))


def refund(order: Order, *lines: tuple[Product, int], **wish: Any) -> Order:  # noqa: ANN401 - as the service takes it
    named = [StockLine(product_id=product.id, quantity=quantity) for product, quantity in lines] or None
    return services.orders().refund_order(order_id=order.id, actor=CLERK, lines=named, **wish)


def stock(*products: Product) -> list[int]:
    """What is on hand once every event has been delivered."""
    deliver_events()
    return [services.products().get_stock(product_id=product.id).on_hand for product in products]


def money() -> tuple[object, ...]:
    """What we have promised back, the payment's status, and what the provider has paid back."""
    payment = Payment.objects.exclude(status="failed").get()
    return payment.refunded_amount, payment.status, SandboxCharge.objects.get().refunded_amount


def told(kind: str) -> Iterator[dict[str, Any]]:
    for row in OutboxEvent.objects.using(alias_of("orders")).filter(type=kind).order_by("id"):
        yield row.data


def test_all_the_money_for_some_lines_of_what_was_never_sent_brings_everything_back(
    order: Order, lamp: Product, vase: Product
) -> None:
    before = stock(lamp, vase)
    assert refund(order, (lamp, 1), amount=Decimal("47.00")).status == OrderStatus.REFUNDED
    deliver_events()
    assert stock(lamp, vase) == [10, 10] != before
    audit()


def test_lines_are_paid_back_at_their_price(order: Order, lamp: Product, vase: Product) -> None:
    after = refund(order, (lamp, 1), reason="scratched")
    assert after.status == OrderStatus.PAID
    assert after.payment is not None
    assert (after.payment.status, after.payment.refunded_amount) == (PaymentStatus.PARTIALLY_REFUNDED, Decimal("10.00"))
    assert money() == (10, "partially_refunded", 10)
    assert stock(lamp, vase) == [7, 9]
    entry = services.orders().get_timeline(order_id=order.id, actor=OWNER)[-1]
    assert (entry.action, entry.status, entry.actor_id, entry.reason) == (
        *("refund_part", "paid"),
        CLERK.user_id,
        "scratched",
    )
    (data,) = told("refund.completed")
    row = Refund.objects.get()
    lines = [{"product_id": str(lamp.id), "quantity": 1}]
    assert (data["order_id"], data["status"]) == (str(order.id), "paid")
    assert data["refund"] == {"refund_id": str(row.id), "amount": "10.00", "lines": lines, "restock": True}
    assert data["returns"] == [{"return_id": str(row.id), "lines": lines}]
    (seen,) = services.orders().list_refunds(order_id=order.id, actor=OWNER)
    assert (seen.id, seen.amount, seen.status, seen.restock) == (row.id, Decimal("10.00"), RefundStatus.SUCCEEDED, True)
    assert seen.items == [StockLine(product_id=lamp.id, quantity=1)]
    audit()


def test_several_refunds_come_to_the_whole(order: Order, lamp: Product, vase: Product) -> None:
    refund(order, (lamp, 1))
    assert ship(order).status == OrderStatus.SHIPPED
    refund(order, amount=Decimal("5.50"))
    refund(order, (lamp, 1), restock=True)
    assert refund(order).status == OrderStatus.REFUNDED
    assert money() == (47, "refunded", 47)
    assert [(r.amount, r.restock) for r in services.orders().list_refunds(order_id=order.id, actor=SYSTEM)] == [
        (Decimal("10.00"), True),
        (Decimal("5.50"), False),
        (Decimal("10.00"), True),
        (Decimal("21.50"), False),
    ]
    assert stock(lamp, vase) == [8, 9]
    (data,) = told("order.refunded")
    assert (data["refund"]["amount"], data["restock"], len(data["returns"])) == ("21.50", False, 2)
    assert [row.amount for row in SandboxRefund.objects.order_by("created_at")] == [
        10,
        Decimal("5.50"),
        10,
        Decimal("21.50"),
    ]
    with pytest.raises(InvalidTransition):
        refund(order, amount=Decimal(1))
    audit()


@pytest.mark.parametrize(
    ("shipped", "restock", "on_hand"),
    [(False, None, 8), (False, False, 6), (True, None, 6), (True, True, 8), (True, False, 6), (False, True, 8)],
)
def test_goods_go_back_when_they_never_left_or_when_somebody_says_so(
    order: Order,
    lamp: Product,
    shipped: bool,
    restock: bool | None,
    on_hand: int,
) -> None:
    if shipped:
        ship(order)
    refund(order, (lamp, 2), restock=restock)
    assert stock(lamp) == [on_hand]
    audit()


def test_the_rest_returns_what_was_not_named_before(order: Order, lamp: Product, vase: Product) -> None:
    refund(order, (lamp, 1), restock=False)
    refund(order)
    assert stock(lamp, vase) == [9, 10]
    audit()


def test_cancelling_pays_back_and_restocks_what_is_left(order: Order, lamp: Product, vase: Product) -> None:
    refund(order, (lamp, 1), restock=False)
    refund(order, amount=Decimal("2.00"))
    cancelled = services.orders().cancel_order(order_id=order.id, actor=OWNER)
    assert cancelled.status == OrderStatus.CANCELLED
    assert money() == (47, "refunded", 47)
    assert stock(lamp, vase) == [9, 10]
    (data,) = told("order.cancelled")
    assert data["refund"]["amount"] == "35.00"
    audit()


def test_an_amount_can_be_paid_for_lines(order: Order, lamp: Product) -> None:
    refund(order, (lamp, 4), amount=Decimal("30.00"))
    assert money() == (30, "partially_refunded", 30)
    assert stock(lamp) == [10]
    with pytest.raises(RefundTooLarge):
        refund(order, (lamp, 1))
    audit()


def test_an_amount_that_is_all_there_is_ends_the_order(order: Order, lamp: Product, vase: Product) -> None:
    assert refund(order, amount=Decimal("47.00"), restock=True).status == OrderStatus.REFUNDED
    assert stock(lamp, vase) == [10, 10]
    audit()


WRONG: dict[str, tuple[type[DomainError], str, Callable[[Order, Product, Product], object]]] = {
    "nothing": (InvalidRefund, "amount", lambda o, _l, _v: refund(o, amount=Decimal(0))),
    "less than nothing": (InvalidRefund, "amount", lambda o, _l, _v: refund(o, amount=Decimal(-1))),
    "a fraction": (InvalidRefund, "amount", lambda o, _l, _v: refund(o, amount=Decimal("0.001"))),
    "too much": (RefundTooLarge, "amount", lambda o, _l, _v: refund(o, amount=Decimal("47.01"))),
    "too many": (RefundTooLarge, "items.{lamp}", lambda o, lamp, _v: refund(o, (lamp, 5))),
    "too many in two": (RefundTooLarge, "items.{lamp}", lambda o, lamp, _v: refund(o, (lamp, 3), (lamp, 2))),
    "unknown": (UnknownLine, "items.{other}", lambda o, lamp, other: refund(o, (lamp, 1), (other, 1))),
    "no line named": (InvalidRefund, "restock", lambda o, _l, _v: refund(o, amount=Decimal(1), restock=True)),
    "no lines": (
        *(InvalidRefund, "items"),
        lambda o, _l, _v: services.orders().refund_order(order_id=o.id, actor=CLERK, lines=[]),
    ),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_cannot_be_paid_back_is_refused_and_changes_nothing(order: Order, lamp: Product, wrong: str) -> None:
    error, attr, attempt = WRONG[wrong]
    other = make_product()
    with pytest.raises(error) as refusal:
        attempt(order, lamp, other)
    assert [problem.attr for problem in refusal.value.problems] == [attr.format(lamp=lamp.id, other=other.id)]
    assert money() == (0, "succeeded", 0)
    assert not Refund.objects.exists()


def test_units_and_money_that_were_paid_back_before_count(order: Order, lamp: Product, vase: Product) -> None:
    refund(order, (lamp, 3))
    with pytest.raises(RefundTooLarge):
        refund(order, (lamp, 2))
    refund(order, amount=Decimal("11.00"))
    with pytest.raises(RefundTooLarge) as refusal:
        refund(order, (vase, 1))
    assert refusal.value.problems[0].detail == "6.00 USD are left of the payment."
    assert money() == (41, "partially_refunded", 41)


def test_the_database_itself_promises_no_more_than_was_paid(order: Order) -> None:
    for amount in (Decimal("47.01"), Decimal("-0.01")):
        with pytest.raises(IntegrityError), transaction.atomic(using=alias_of("orders")):
            Payment.objects.filter(order_id=order.id).update(refunded_amount=amount)


def test_an_unpaid_order_has_nothing_to_pay_back(lamp: Product) -> None:
    with pytest.raises(InvalidTransition):
        refund(place(USER, (lamp, 1)))


def test_a_silent_provider_leaves_one_open_refund_that_is_completed(order: Order, lamp: Product) -> None:
    with patch.object(SandboxProvider, "refund", side_effect=NoAnswer), pytest.raises(PaymentUnknown):
        refund(order, (lamp, 1), reason="broken")
    assert Refund.objects.get().status == RefundStatus.UNKNOWN
    assert money() == (10, "succeeded", 0)
    for blocked in (refund, ship, lambda o: services.orders().cancel_order(order_id=o.id, actor=OWNER)):
        with pytest.raises(OrderBusy):
            blocked(order)
    assert services.orders().settle_open_orders() == 1
    assert services.orders().settle_open_orders() == 0
    assert money() == (10, "partially_refunded", 10)
    entry = services.orders().get_timeline(order_id=order.id, actor=OWNER)[-1]
    assert (entry.action, entry.actor_id, entry.reason) == ("refund_part", CLERK.user_id, "broken")
    deliver_events()
    audit()


def test_a_refund_whose_answer_is_lost_is_not_made_twice(order: Order, lamp: Product) -> None:
    pay_back = SandboxProvider.refund

    def silent(provider: SandboxProvider, **asked: Any) -> None:  # noqa: ANN401 - passed on
        pay_back(provider, **asked)
        raise NoAnswer

    with patch.object(SandboxProvider, "refund", silent), pytest.raises(PaymentUnknown):
        refund(order, (lamp, 1))
    with patch.object(SandboxProvider, "refund", side_effect=AssertionError):
        assert services.orders().settle_open_orders() == 1
    assert money() == (10, "partially_refunded", 10)
    audit()


def test_a_refund_that_is_pending_stays_open_until_it_is_known(order: Order, lamp: Product) -> None:
    pending = RefundReceipt(id="re_1", is_pending=True)
    with patch.object(SandboxProvider, "refund", return_value=pending), pytest.raises(PaymentUnknown):
        refund(order, (lamp, 1))
    with patch.object(SandboxProvider, "find_refund", return_value=pending):
        assert services.orders().settle_open_orders() == 0
    assert (Refund.objects.get().status, Refund.objects.get().transaction_id) == ("unknown", "re_1")
    with patch.object(SandboxProvider, "find_refund", side_effect=Declined("lost", "The card is closed.")):
        assert services.orders().settle_open_orders() == 1
    assert Refund.objects.get().status == RefundStatus.FAILED
    assert money() == (0, "succeeded", 0)


def test_a_refused_refund_promises_nothing(order: Order, lamp: Product) -> None:
    refund(order, (lamp, 1))
    refused = patch.object(SandboxProvider, "refund", side_effect=Declined("too_late", "Too late to refund."))
    with refused, pytest.raises(PaymentDeclined):
        refund(order)
    assert money() == (10, "partially_refunded", 10)
    seen = services.orders().list_refunds(order_id=order.id, actor=OWNER)[-1]
    assert (seen.status, seen.failure_detail) == (RefundStatus.FAILED, "Too late to refund.")
    assert len(list(told("refund.failed"))) == 1
    assert refund(order).status == OrderStatus.REFUNDED
    deliver_events()
    audit()


@pytest.mark.parametrize("died", [False, True])
def test_a_refund_that_comes_again_has_its_first_answer(order: Order, lamp: Product, died: bool) -> None:
    refund_id = new_id()
    if died:
        cut_off = patch.object(SandboxProvider, "refund", side_effect=KeyboardInterrupt)
        with cut_off, pytest.raises(KeyboardInterrupt):
            refund(order, (lamp, 1), refund_id=refund_id)
    first = refund(order, (lamp, 1), refund_id=refund_id)
    assert refund(order, (lamp, 1), refund_id=refund_id) == first
    assert Refund.objects.get().id == refund_id
    assert money() == (10, "partially_refunded", 10)
    assert len(list(told("refund.completed"))) == 1


def test_a_refused_refund_that_comes_again_is_refused_again(order: Order) -> None:
    refused, refund_id = Declined("too_late", "Too late."), new_id()
    with patch.object(SandboxProvider, "refund", side_effect=refused), pytest.raises(PaymentDeclined):
        refund(order, refund_id=refund_id)
    with pytest.raises(PaymentDeclined):
        refund(order, refund_id=refund_id)
    assert money() == (0, "succeeded", 0)


def settle(*events: dict[str, Any]) -> None:
    """Have these messages settle the stock."""
    current_app.tasks["products.settle_reservation"].apply_async(args=(list(events),))


@pytest.mark.parametrize(
    "arrival", [(0, 1, 2), (2, 1, 0), (1, 0, 2), (0, 2, 1), (2,), (0, 2), (1, 1, 2, 2, 0), (1, 2), (2, 0, 1, 2)]
)
def test_refunds_in_any_order_and_number_return_their_goods_once(
    order: Order, lamp: Product, vase: Product, arrival: tuple[int, ...]
) -> None:
    refund(order, (lamp, 1))
    refund(order, (lamp, 2), restock=False)
    refund(order, (vase, 1))
    rows = OutboxEvent.objects.using(alias_of("orders")).filter(subject=order.id).exclude(type="order.created")
    # Paid, the first refund and the last: that in between returns nothing.
    paid, first, _, last = (row.to_event().to_message() for row in rows.order_by("id"))
    settle(*([paid, first, last][position] for position in arrival))
    levels = [services.products().get_stock(product_id=product.id) for product in (lamp, vase)]
    assert [(level.on_hand, level.reserved) for level in levels] == [(7, 0), (10, 0)]


@pytest.mark.parametrize(("others", "on_hand", "status"), [(0, 7, "paid"), (7, 0, "paid"), (8, 2, "cancelled")])
def test_a_refund_that_overtakes_the_payment_takes_what_was_given_back_anew(
    order: Order, lamp: Product, others: int, on_hand: int, status: str
) -> None:
    """Four were held for too long and given back, one of them is returned: three are to leave the shelves."""
    let_pass(timedelta(days=8))
    services.products().release_expired_reservations()
    if others:
        pay(place(USER, (lamp, others)))
    refund(order, (lamp, 1))
    rows = OutboxEvent.objects.using(alias_of("orders")).filter(subject=order.id)
    settle(rows.get(type="refund.completed").to_event().to_message())
    settle(rows.get(type="order.paid").to_event().to_message())
    assert stock(lamp) == [on_hand]
    assert services.orders().get_order(order_id=order.id, actor=OWNER).status == status
    audit()


def test_a_return_is_booked_once_and_never_more_than_was_taken(order: Order, lamp: Product, vase: Product) -> None:
    deliver_events()
    products, first = services.products(), new_id()

    def give_back(return_id: UUID, *lines: StockLine) -> None:
        products.settle_reservations(returns={order.id: [StockReturn(return_id=return_id, lines=lines)]})

    for _ in range(2):
        give_back(first, StockLine(product_id=lamp.id, quantity=3))
    assert stock(lamp) == [9]
    more = [StockLine(product_id=lamp.id, quantity=3), StockLine(product_id=new_id(), quantity=1)]
    give_back(new_id(), *more)
    assert stock(lamp, vase) == [10, 9]
    for _ in range(2):
        products.release_reservation(order_id=order.id)
    assert stock(lamp, vase) == [10, 10]
    give_back(new_id(), *more)
    assert stock(lamp, vase) == [10, 10]


@pytest.fixture
def staff(log_in: Callable[..., LoggedIn]) -> LoggedIn:
    return log_in(Role.ORDER_STAFF)


def test_over_rest(staff: LoggedIn, log_in: Callable[..., LoggedIn], lamp: Product) -> None:
    customer = log_in()
    order = pay(place(customer.user.id, (lamp, 3)))
    url = f"/api/v1/orders/{order.id}"
    body = {"items": [{"product_id": str(lamp.id), "quantity": 1}], "reason": "broken", "restock": False}
    first, again = (staff.post(f"{url}/refund", body, headers={"Idempotency-Key": "r1"}) for _ in range(2))
    assert (first.status_code, again["Idempotent-Replayed"], again.json()) == (200, "true", first.json())
    assert first.json()["payment"]["refunded_amount"] == "10.00"
    assert staff.post(f"{url}/refund", {"amount": "2.5"}).json()["payment"]["refunded_amount"] == "12.50"
    for client in (customer, staff):
        listed = client.get(f"{url}/refunds").json()
        assert [(each["amount"], each["status"], each["restock"]) for each in listed] == [
            ("10.00", "succeeded", False),
            ("2.50", "succeeded", False),
        ]
    assert set(listed[0]) == {
        *("id", "amount", "currency", "status", "items", "restock", "reason"),
        *("failure_detail", "created_at", "refunded_at"),
    }
    assert listed[0]["items"] == [{"product_id": str(lamp.id), "quantity": 1}]
    assert log_in().get(f"{url}/refunds").status_code == 404


@pytest.mark.parametrize(
    ("body", "status", "code", "attr"),
    [
        ({"amount": "x"}, 400, "invalid", "amount"),
        ({"amount": "-1"}, 400, "min_value", "amount"),
        ({"amount": "0"}, 400, "invalid_refund", "amount"),
        ({"amount": "1e99"}, 400, "max_digits", "amount"),
        ({"amount": "47.01"}, 409, "refund_too_large", "amount"),
        ({"items": []}, 400, "empty", "items"),
        ({"items": [{"product_id": str(USER), "quantity": 1}]}, 400, "unknown_line", f"items.{USER}"),
        ({"restock": "perhaps"}, 400, "invalid", "restock"),
        ({"refund": 1}, 400, "unknown_field", "refund"),
    ],
)
def test_bad_refunds_over_rest(
    staff: LoggedIn, order: Order, body: dict[str, Any], status: int, code: str, attr: str
) -> None:
    answer = staff.post(f"/api/v1/orders/{order.id}/refund", body)
    (error,) = answer.json()["errors"]
    assert (answer.status_code, error["code"], error["attr"]) == (status, code, attr)
    assert money() == (0, "succeeded", 0)


def test_a_request_that_was_cut_off_finds_its_refund(staff: LoggedIn, order: Order) -> None:
    url, body, key = f"/api/v1/orders/{order.id}/refund", {"amount": "5.00"}, {"Idempotency-Key": "r1"}
    with (
        patch("apps.orders.services.refunding._complete", side_effect=KeyboardInterrupt),
        pytest.raises(KeyboardInterrupt),
    ):
        staff.post(url, body, headers=key)
    assert money() == (5, "succeeded", 5)
    again = staff.post(url, body, headers=key)
    assert (again.status_code, again.json()["payment"]["refunded_amount"]) == (200, "5.00")
    assert money() == (5, "partially_refunded", 5)
    assert IdempotencyKey.objects.using(alias_of("orders")).get().resource_id == Refund.objects.get().id


def test_somebody_elses_refunds_are_not_found(order: Order) -> None:
    with pytest.raises(OrderNotFound):
        services.orders().list_refunds(order_id=order.id, actor=STRANGER)


def test_the_customer_is_written_to(lamp: Product, mailoutbox: list[EmailMessage]) -> None:
    ada = services.users().register(
        username="ada", email="ada@example.com", password="correct horse 9", profile=Profile()
    )
    order = pay(place(ada.id, (lamp, 2)))
    refund(order, (lamp, 1))
    deliver_events()
    assert mailoutbox[-1].subject == f"A refund for order {order.number}"
    assert "You get back 10.00 USD" in str(mailoutbox[-1].body)


def test_late_refunds_are_found_by_the_audit(order: Order) -> None:
    with patch.object(SandboxProvider, "refund", side_effect=NoAnswer), pytest.raises(PaymentUnknown):
        refund(order)
    deliver_events()
    audit()
    with time_machine.travel(timezone.now() + timedelta(hours=1)), pytest.raises(CommandError, match="1 violation"):
        audit()
