"""The demo shop: complete, consistent, and the same however often it is made."""

from collections import Counter
from datetime import timedelta
from io import StringIO
from pathlib import Path
from uuid import UUID

import pytest
from django.core.files.storage import default_storage
from django.core.management import CommandError, call_command
from django.db.models import Sum
from django.utils import timezone
from pytest_django import Settings

from apps.common.ids import derived_id
from apps.orders import seed as orders_seed
from apps.orders.interface import OrderStatus, PaymentStatus
from apps.orders.models import Order, OrderItem, OrderTransition, Payment, Refund, SandboxCharge, SandboxRefund
from apps.products.interface import MovementKind, ReservationState
from apps.products.models import Category, Product, Reservation, StockLevel, StockMovement
from apps.products.search.hits import Hits
from apps.products.services.reserved import unpack
from apps.users.interface import Role
from apps.users.models import User

pytestmark = pytest.mark.django_db

TABLES = (
    User,
    Category,
    Product,
    StockLevel,
    StockMovement,
    Reservation,
    Order,
    OrderItem,
    OrderTransition,
    Payment,
    Refund,
    SandboxCharge,
    SandboxRefund,
)


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("media")


@pytest.fixture(autouse=True)
def _development(settings: Settings, media: Path) -> None:
    settings.DEBUG = True
    settings.MEDIA_ROOT = media


def seed(*, products: int = 20, customers: int = 8, orders: int = 40, **options: object) -> str:
    out = StringIO()
    call_command("seed_demo", products=products, customers=customers, orders=orders, stdout=out, **options)
    return out.getvalue()


def counts() -> dict[str, int]:
    return {model.__name__: model._default_manager.count() for model in TABLES}


def audit() -> None:
    call_command("audit", stdout=StringIO())


def test_makes_exactly_what_was_asked() -> None:
    said = seed()

    assert "Made 12 accounts, 20 products, 40 orders." in said
    made = counts()
    assert (made["User"], made["Product"], made["Order"]) == (12, 20, 40)
    assert made["StockLevel"] == 20
    assert made["Category"] == 39
    assert made["Reservation"] == made["Order"]


def test_a_second_run_makes_nothing() -> None:
    seed()
    before = counts()

    assert "Made 0 accounts, 0 products, 0 orders." in seed()
    assert "Made 0 accounts, 0 products, 0 orders." in seed(seed=2)
    assert counts() == before


def test_larger_numbers_add_only_the_rest() -> None:
    seed()
    before = set(Order.objects.values_list("id", flat=True))

    assert "Made 2 accounts, 5 products, 10 orders." in seed(products=25, customers=10, orders=50)
    assert before < set(Order.objects.values_list("id", flat=True))
    audit()


def test_the_audit_is_clean() -> None:
    seed()
    audit()


def test_stock_adds_up() -> None:
    seed()

    held: Counter[UUID] = Counter()
    for row in Reservation.objects.filter(state=ReservationState.ACTIVE):
        held.update({line.product_id: line.quantity for line in unpack(row)})
    for level in StockLevel.objects.all():
        ledger = StockMovement.objects.filter(product_id=level.product_id).aggregate(sum=Sum("delta"))["sum"] or 0
        assert level.on_hand == ledger
        assert level.reserved == held[level.product_id]
    available = [level.on_hand - level.reserved for level in StockLevel.objects.all()]
    assert min(available) == 0
    assert any(0 < units <= 5 for units in available)
    assert Product.objects.filter(active=False).count() == 1


def test_every_order_has_the_stock_and_the_payment_of_its_state() -> None:
    seed()

    for order in Order.objects.prefetch_related("items", "transitions", "payments"):
        lines = {item.product_id: item.quantity for item in order.items.all()}
        held = Reservation.objects.get(order_id=order.id)
        moved = StockMovement.objects.filter(order_id=order.id)
        actions = [transition.action for transition in order.transitions.all()]
        paid = [payment for payment in order.payments.all() if payment.status != PaymentStatus.FAILED]
        returned = "pay" in actions and "ship" not in actions and order.status in ("cancelled", "refunded")

        assert {line.product_id: line.quantity for line in unpack(held)} == lines
        assert held.state == expected_state(order.status, returned=returned)
        sold = moved.filter(kind=MovementKind.SALE).values_list("product_id", "delta")
        assert dict(sold) == ({key: -units for key, units in lines.items()} if "pay" in actions else {})
        back = moved.filter(kind=MovementKind.RETURN).values_list("product_id", "delta")
        assert dict(back) == (lines if returned else {})
        assert order.sequence == 1 + len(actions)
        assert order.subtotal == sum(item.total for item in order.items.all())
        assert order.total == order.subtotal + order.shipping_cost
        assert len(paid) == ("pay" in actions)
        for payment in paid:
            charge = SandboxCharge.objects.get(pk=str(payment.id))
            assert (charge.amount, charge.transaction_id) == (order.total, payment.transaction_id)
            assert bool(charge.refunded_amount) == (payment.status == PaymentStatus.REFUNDED) == (order.status in ENDED)


ENDED = (OrderStatus.CANCELLED, OrderStatus.REFUNDED)


def expected_state(status: str, *, returned: bool) -> ReservationState:
    if status == OrderStatus.PENDING:
        return ReservationState.ACTIVE
    kept = status in (OrderStatus.PAID, OrderStatus.SHIPPED, OrderStatus.DELIVERED)
    refunded_after_shipping = status == OrderStatus.REFUNDED and not returned
    return ReservationState.COMMITTED if kept or refunded_after_shipping else ReservationState.RELEASED


def test_the_demo_customer_has_orders_in_every_state() -> None:
    seed()

    customer = User.objects.get(email="customer@example.com")
    states = Counter(Order.objects.filter(user_id=customer.id).values_list("status", flat=True))
    assert set(states) == set(OrderStatus)
    for order in Order.objects.filter(status=OrderStatus.PENDING):
        assert timedelta(0) < order.expires_at - timezone.now() < timedelta(days=1)


def test_the_log_ins() -> None:
    seed()

    roles = {"admin": Role.ADMIN, "catalog": Role.CATALOG_STAFF, "orders": Role.ORDER_STAFF, "customer": Role.USER}
    for username, role in roles.items():
        user = User.objects.get(username=username)
        assert (user.email, user.role) == (f"{username}@example.com", role)
        assert user.check_password("cartwright-demo")


def test_a_name_that_is_taken_is_left_alone() -> None:
    owner = User.objects.create(username="Admin", email="someone@example.net", password="theirs")

    assert "Made 11 accounts" in seed()
    owner.refresh_from_db()
    assert (owner.role, owner.password) == (Role.USER, "theirs")


def test_refuses_log_ins_when_debug_is_off(settings: Settings) -> None:
    settings.DEBUG = False

    with pytest.raises(CommandError, match="--no-accounts"):
        seed()
    assert set(counts().values()) == {0}

    seed(accounts=False)
    assert (User.objects.count(), Order.objects.count()) == (8, 40)
    assert not any(user.has_usable_password() for user in User.objects.all())
    audit()


def test_a_run_that_was_killed_is_completed(monkeypatch: pytest.MonkeyPatch) -> None:
    def die(rows: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(orders_seed, "_write", die)
        with pytest.raises(KeyboardInterrupt):
            seed()
    assert (Order.objects.count(), Reservation.objects.exists()) == (0, True)

    # Even if the orders turn out differently.
    seed(seed=2, orders=45)
    assert Order.objects.count() == 45
    assert Reservation.objects.count() == Order.objects.count()
    audit()


def test_products_can_be_found_and_seen() -> None:
    seed(products=30, orders=0)

    found = {
        text: set(Hits(text, Product.objects.all()).matching.values_list("sku", flat=True))
        for text in ("cafe creme", "aurora")
    }
    assert found == {"cafe creme": {"COF-00001"}, "aurora": {"PHN-00001", "PHN-00002"}}
    for product in Product.objects.all():
        assert default_storage.exists(product.images[0]["url"])
        assert [default_storage.exists(path) for path in product.images[0]["thumbnails"].values()] == [True] * 3
    category = Category.objects.get(name="Smartphones")
    assert category.path == f"/{category.parent.parent.id}/{category.parent.id}/{category.id}/"  # type: ignore[union-attr]


def test_orders_need_products_and_customers() -> None:
    with pytest.raises(CommandError, match="Orders need products and customers"):
        seed(products=0)


def test_ids_sort_by_time_and_are_repeatable() -> None:
    now = timezone.now()

    one, later = derived_id(now, "a"), derived_id(now + timedelta(milliseconds=1), "a")
    assert one == derived_id(now, "a") != derived_id(now, "b")
    assert one < later
    assert derived_id(now, "z", 0) < derived_id(now, "a", 1)
    assert (one.version, one.variant) == (7, "specified in RFC 4122")
