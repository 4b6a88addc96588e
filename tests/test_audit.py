"""The audit finds each thing that must not be, and nothing in a shop that is well."""

from collections.abc import Callable
from datetime import timedelta
from io import StringIO
from pathlib import Path
from uuid import UUID

import pytest
import time_machine
from django.conf import settings
from django.core.management import CommandError, call_command
from django.db.models import F
from django.utils import timezone
from django.utils.module_loading import import_string

from apps.common.audit import Rule
from apps.common.databases import alias_of
from apps.common.ids import new_id
from apps.events.models import FailedDelivery, InboxEntry, OutboxEvent
from apps.orders.interface import SYSTEM, PaymentUnknown
from apps.orders.models import (
    Order,
    OrderItem,
    OrderTransition,
    Payment,
    ProductSales,
    Refund,
    SalesBucket,
    SandboxCharge,
    SandboxRefund,
    StatusBucket,
)
from apps.orders.tests.factories import make_product, pay, place, ship
from apps.products.interface import ProductChange
from apps.products.interface import StockLine as ProductLine
from apps.products.models import Category, Product, Reservation, StockLevel, StockMovement
from apps.users.interface import Client, Profile
from apps.users.models import User
from config import services
from tests.flow import audit, deliver_events

pytestmark = pytest.mark.django_db
PAID = {"status": "paid"}
REPORTS = "the reports of the last month agree with the orders"


def rules() -> list[Rule]:
    return [rule for path in settings.AUDIT_RULES for rule in import_string(path)]


def broken() -> set[str]:
    """The names of the rules that are violated."""
    return {rule.name for rule in rules() if list(rule.violations())}


@pytest.fixture
def customer() -> UUID:
    user = services.users().register(
        username="ada", email="ada@example.com", password="correct horse 9", profile=Profile()
    )
    services.users().log_in(login="ada", password="correct horse 9", client=Client(address="127.0.0.1", agent=""))
    return user.id


@pytest.fixture
def _shop(customer: UUID) -> None:
    """A shop with an order in each state, in which every event has been delivered."""
    home = services.products().create_category(name="Home")
    child = services.products().create_category(name="Lamps", parent_id=home.id)
    lamp = make_product(stock=100, price="19.99")
    services.products().update_product(product_id=lamp.id, change=ProductChange(category=child.slug))
    place(customer, (lamp, 1))
    services.orders().cancel_order(order_id=place(customer, (lamp, 2)).id, actor=SYSTEM)
    pay(place(customer, (lamp, 3)))
    ship(pay(place(customer, (lamp, 4))))
    part = pay(place(customer, (lamp, 2)))
    one = [ProductLine(product_id=lamp.id, quantity=1)]
    services.orders().refund_order(order_id=part.id, actor=SYSTEM, lines=one, restock=True)
    ship(part)
    sent = ship(pay(place(customer, (lamp, 6))))
    services.orders().refund_order(order_id=sent.id, actor=SYSTEM)
    services.orders().refund_order(order_id=pay(place(customer, (lamp, 5))).id, actor=SYSTEM)
    deliver_events()


def _reserve_other_quantities() -> None:
    for row in Reservation.objects.filter(state="active"):
        row.lines = [{**line, "quantity": 2} for line in row.lines]
        row.save()


def _keep_what_should_have_come_back() -> None:
    """The refunded order that never left stays deducted."""
    returned = StockMovement.objects.get(kind="return", delta=5)
    assert returned.order_id is not None
    Reservation.objects.filter(order_id=returned.order_id).update(returns=[])
    StockLevel.objects.update(on_hand=F("on_hand") - returned.delta)
    returned.delete()


CORRUPTIONS: list[tuple[set[str], Callable[[], object]]] = [
    (
        {"Users are found by their username and e-mail address"},
        lambda: User.objects.update(email_folded="eve@example.com"),
    ),
    ({"Live sessions belong to active users"}, lambda: User.objects.update(active=False)),
    ({"on hand equals the sum of the ledger"}, lambda: StockLevel.objects.update(on_hand=F("on_hand") + 1)),
    (
        {"on hand equals the sum of the ledger", "every deducted order is in the ledger, and only those"},
        lambda: StockMovement.objects.filter(kind="return").delete(),
    ),
    ({"reserved equals the sum of active reservations"}, lambda: StockLevel.objects.update(reserved=F("reserved") + 1)),
    (
        {"every product in the ledger has a level", "every product has a stock level"},
        lambda: StockLevel.objects.all().delete(),
    ),
    ({"a category's path is its parent's and its own id"}, lambda: Category.objects.update(path="/")),
    ({"every product in the shop is found by its own words"}, lambda: Product.objects.update(search_body="old")),
    (
        {"every change of a product has been announced"},
        lambda: Product.objects.update(unannounced=True, updated_at=timezone.now() - timedelta(minutes=11)),
    ),
    (
        {
            REPORTS,
            "an order's total is the sum of its lines and its shipping",
            "a paid order has one payment of its total",
        },
        lambda: Order.objects.filter(**PAID).update(total=F("total") + 1),
    ),
    (
        {
            REPORTS,
            "a line's total is price times quantity",
            "an order's total is the sum of its lines and its shipping",
        },
        lambda: OrderItem.objects.update(total=F("total") + 1),
    ),
    (
        {"a timeline has every change once", "an order stands where its timeline ends"},
        lambda: OrderTransition.objects.filter(status="shipped", order__status="shipped").delete(),
    ),
    (
        {"an order stands where its timeline ends"},
        lambda: OrderTransition.objects.filter(status="shipped").update(status="paid"),
    ),
    (
        {REPORTS, "a paid order has one payment of its total", "the sandbox's books agree with the payments"},
        lambda: Payment.objects.filter(order__status="paid").update(status="failed"),
    ),
    (
        {
            REPORTS,
            "no money is kept for an order that is not paid or has ended",
            "what a payment has promised back is what its refunds say",
        },
        lambda: Payment.objects.filter(order__status="refunded").update(status="failed"),
    ),
    (
        {"the sandbox's books agree with the payments"},
        lambda: Payment.objects.filter(order__status="paid").update(transaction_id=""),
    ),
    ({"the sandbox's books agree with the payments"}, lambda: SandboxCharge.objects.update(currency="EUR")),
    (
        {"every deducted order is in the ledger, and only those", "on hand equals the sum of the ledger"},
        lambda: StockMovement.objects.filter(kind="sale", delta=-3).delete(),
    ),
    (
        {"every deducted order is in the ledger, and only those"},
        lambda: StockMovement.objects.filter(kind="sale", delta=-3).update(kind="adjustment"),
    ),
    (
        {REPORTS, "a paid order has one payment of its total", "the sandbox's books agree with the payments"},
        lambda: Payment.objects.filter(order__status="paid").update(amount=1),
    ),
    (
        {
            REPORTS,
            "no money is kept for an order that is not paid or has ended",
            "a timeline has every change once",
            "an order stands where its timeline ends",
            "the stock of every order is where its status says",
        },
        lambda: Order.objects.filter(**PAID).update(status="expired", sequence=F("sequence") + 1),
    ),
    ({"the sandbox's books agree with the payments"}, lambda: SandboxCharge.objects.update(refunded_amount=0)),
    (
        {"the sandbox's books agree with the payments"},
        lambda: SandboxCharge.objects.create(
            idempotency_key=str(new_id()), amount=1, currency="USD", transaction_id="stray"
        ),
    ),
    (
        {"the sandbox's books agree with the payments"},
        lambda: SandboxCharge.objects.filter(transaction_id=Payment.objects.values("transaction_id")[:1]).delete(),
    ),
    ({"the sandbox's books agree with the payments"}, lambda: SandboxCharge.objects.update(state="authorised")),
    ({"the sandbox's books agree with the payments"}, lambda: SandboxRefund.objects.update(amount=1)),
    ({"the sandbox's books agree with the payments"}, lambda: SandboxRefund.objects.all().delete()),
    (
        {"the sandbox's books agree with the payments"},
        lambda: SandboxRefund.objects.create(
            idempotency_key=str(new_id()),
            charge=SandboxCharge.objects.filter(refunded_amount=0)[0],
            amount=1,
            transaction_id="stray",
        ),
    ),
    (
        {"what a payment has promised back is what its refunds say", "the sandbox's books agree with the payments"},
        lambda: Payment.objects.filter(order__status="paid").update(refunded_amount=1),
    ),
    (
        {
            REPORTS,
            "what a payment has promised back is what its refunds say",
            "the sandbox's books agree with the payments",
        },
        lambda: Refund.objects.update(amount=1),
    ),
    (
        {
            REPORTS,
            "what a payment has promised back is what its refunds say",
            "the sandbox's books agree with the payments",
            "the stock of every order is where its status says",
        },
        lambda: Refund.objects.update(status="failed"),
    ),
    (
        {"the stock of every order is where its status says"},
        lambda: Refund.objects.filter(restock=True).update(restock=False),
    ),
    (
        {"the stock of every order is where its status says"},
        lambda: Refund.objects.filter(restock=False).update(restock=True),
    ),
    (
        {"the stock of every order is where its status says", "reserved equals the sum of active reservations"},
        lambda: Reservation.objects.filter(state="active").update(state="released"),
    ),
    ({"the stock of every order is where its status says"}, _keep_what_should_have_come_back),
    (
        {"the stock of every order is where its status says", "reserved equals the sum of active reservations"},
        _reserve_other_quantities,
    ),
    (
        {"the stock of every order is where its status says", "reserved equals the sum of active reservations"},
        lambda: Reservation.objects.all().delete(),
    ),
    ({REPORTS}, lambda: SalesBucket.objects.update(units=F("units") + 1)),
    ({REPORTS}, lambda: StatusBucket.objects.all().delete()),
    ({REPORTS}, lambda: ProductSales.objects.filter(span="month").update(amount=F("amount") + 1)),
]


def test_a_shop_that_is_well_has_no_violation(_shop: None) -> None:  # noqa: PT019 - a fixture for what it does
    report = audit()
    assert report.count(" ok\n") == len(rules())
    assert "VIOLATED" not in report


@pytest.mark.parametrize(("violated", "corrupt"), CORRUPTIONS)
def test_each_corruption_is_found_and_nothing_else(
    _shop: None,  # noqa: PT019 - a fixture for what it does
    violated: set[str],
    corrupt: Callable[[], object],
) -> None:
    corrupt()
    assert broken() == violated


def test_what_is_left_lying_for_too_long_is_found(_shop: None, customer: UUID) -> None:  # noqa: PT019 - as above
    lamp = make_product()
    with pytest.raises(PaymentUnknown):
        pay(place(customer, (lamp, 1)), "tok_timeout")
    changing = place(customer, (lamp, 1))
    Order.objects.filter(pk=changing.id).update(change={"lines": []}, change_began_at=timezone.now())
    ghost = place(customer, (lamp, 1))
    OrderItem.objects.filter(order_id=ghost.id).delete()
    Order.objects.filter(pk=ghost.id).delete()
    assert broken() == set()
    with time_machine.travel(timezone.now() + timedelta(hours=2)):
        assert broken() == {
            "no payment or refund is left open",
            "no change is left half done",
            "no reservation is held past its time",
            "no order is pending past its time",
            "no stock is held for an order that does not exist",
            "every event is published",
        }


def test_events_that_went_missing_are_found(_shop: None) -> None:  # noqa: PT019 - as above
    alias = alias_of("orders")
    with time_machine.travel(timezone.now() + timedelta(minutes=6)):
        InboxEntry.objects.using(alias_of("products")).filter(consumer="products.settle_reservation").delete()
        assert broken() == {"every published event has reached every subscriber"}
        OutboxEvent.objects.using(alias).filter(type="order.created").update(published_at=None)
        assert "every event is published" in broken()
    failure = FailedDelivery.objects.using(alias).create(
        consumer="orders.mail_customer", event_id=new_id(), type="order.paid", message={}, error="x", state="dead"
    )
    assert "no delivery has been given up" in broken()
    failure.state, failure.next_attempt_at = "retrying", timezone.now() - timedelta(minutes=6)
    failure.save()
    assert "every failed delivery is tried again in time" in broken()


def test_a_violation_is_named_and_the_command_fails(_shop: None) -> None:  # noqa: PT019 - as above
    StockLevel.objects.update(on_hand=F("on_hand") + 1)
    report = StringIO()
    with pytest.raises(CommandError, match="1 violation"):
        call_command("audit", stdout=report, no_color=True)
    assert "1 VIOLATED" in report.getvalue()
    assert "on hand, but the ledger adds up to" in report.getvalue()


def test_every_rule_is_explained() -> None:
    page = (Path(settings.BASE_DIR) / "docs" / "audit.md").read_text()
    assert [rule.name for rule in rules() if f"| {rule.name} |" not in page] == []
