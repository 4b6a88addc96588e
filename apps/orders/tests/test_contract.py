"""What the interface promises, of the service in this process and of the same service over gRPC: no difference."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from decimal import Decimal
from typing import Any
from unittest.mock import patch
from uuid import UUID

import pytest
from django.utils import timezone
from pytest_django import Settings

from apps.common.databases import atomic
from apps.common.errors import DomainError, Problem
from apps.common.ids import new_id
from apps.events.models import OutboxEvent
from apps.orders import models
from apps.orders.interface import (
    SYSTEM,
    Actor,
    AmountTooLarge,
    CurrencyMismatch,
    InsufficientFunds,
    InvalidRefund,
    InvalidSignature,
    InvalidTransition,
    NewOrder,
    NextAction,
    Order,
    OrderBusy,
    OrderChange,
    OrderIdTaken,
    OrderItem,
    OrderNotFound,
    OrderPage,
    OrderService,
    OrderStatus,
    OrderWatch,
    Payment,
    PaymentDeclined,
    PaymentStatus,
    PaymentUnknown,
    Refund,
    RefundStatus,
    RefundTooLarge,
    Shipping,
    ShippingAddress,
    StaffOnly,
    TimelineEntry,
    TooManyWatchers,
    UnknownLine,
    UnknownPaymentMethod,
    UnknownProvider,
    UnknownShippingMethod,
)
from apps.orders.payments.provider import TIMEOUT_SECONDS, Declined, NoAnswer
from apps.orders.payments.sandbox import SandboxProvider
from apps.orders.services import LocalOrderService, watching
from apps.orders.tests.factories import make_product, notice
from apps.products.interface import OutOfStock, Product, ProductNotFound, ReservationClosed, StockLine
from config import services
from grpc_api.clients import orders as clients
from grpc_api.clients.orders import RemoteOrderService
from grpc_api.clients.remote import CalledInTransaction
from grpc_api.servers.orders import hosted
from grpc_api.tests.running import peer, serving
from tests.flow import audit, let_pass, sends

pytestmark = pytest.mark.django_db(transaction=True)

USER = UUID("01938d5e-0000-7000-8000-000000000001")
OWNER, STRANGER = Actor(user_id=USER), Actor(user_id=UUID("01938d5e-0000-7000-8000-000000000002"))
CLERK = Actor(user_id=UUID("01938d5e-0000-7000-8000-000000000003"), is_staff=True)
ADDRESS = ShippingAddress(
    name="Ada", address="12 St James's Square\n手机", city="London", country="GB", zip_code="SW1", method="express"
)


@pytest.fixture
def local() -> LocalOrderService:
    return LocalOrderService(products=services.products(), payments=SandboxProvider())


@pytest.fixture(params=["local", "grpc"])
def orders(request: pytest.FixtureRequest, transactional_db: None, local: LocalOrderService) -> Iterator[OrderService]:
    """The orders service, in each of the two ways."""
    if request.param == "local":
        yield local
        return
    with serving(hosted(local)) as address:
        yield RemoteOrderService(peer("orders", address))


@pytest.fixture
def lamp() -> Product:
    return make_product(stock=10, price="10.00", sku="LAMP")


@pytest.fixture
def vase() -> Product:
    return make_product(name="Vase", stock=10, price="7.50", sku="VASE")


def line(product: Product | UUID, quantity: int = 1) -> StockLine:
    return StockLine(product_id=product if isinstance(product, UUID) else product.id, quantity=quantity)


def place(orders: OrderService, *lines: StockLine, user_id: UUID = USER, **details: Any) -> Order:  # noqa: ANN401 - as NewOrder takes it
    return orders.place_order(order_id=new_id(), user_id=user_id, new=NewOrder(lines=lines, **details))


def pay(orders: OrderService, order: Order, token: str = "tok_visa", payment_id: UUID | None = None) -> Order:  # noqa: S107 - a sandbox token
    return orders.pay_order(
        order_id=order.id, payment_id=payment_id or new_id(), actor=OWNER, method="card", token=token
    )


def refund(orders: OrderService, order: Order, **wish: Any) -> Order:  # noqa: ANN401 - as the service takes it
    return orders.refund_order(order_id=order.id, actor=CLERK, **wish)


def refusal(kind: type[DomainError], call: Callable[[], object]) -> tuple[str, list[Problem]]:
    """The code and the problems of exactly that error."""
    with pytest.raises(kind) as caught:
        call()
    assert type(caught.value) is kind
    assert str(caught.value) == "; ".join(problem.detail for problem in caught.value.problems)
    return caught.value.code, list(caught.value.problems)


def stored() -> tuple[int, int, int]:
    """Orders, payments and what was told of them."""
    return models.Order.objects.count(), models.Payment.objects.count(), OutboxEvent.objects.count()


def reserved(product: Product) -> int:
    return services.products().get_stock(product_id=product.id).reserved


class TestPlacing:
    def test_an_order_has_every_field(self, orders: OrderService, lamp: Product, vase: Product) -> None:
        order_id = new_id()
        new = NewOrder(lines=[line(lamp, 2), line(vase)], shipping=ADDRESS, currency="USD", note="Ring twice.\nHi")
        made = orders.place_order(order_id=order_id, user_id=USER, new=new)
        row = models.Order.objects.get()
        items = {item.product_id: item.pk for item in row.items.all()}
        assert made == Order(
            id=order_id,
            number=row.number,
            user_id=USER,
            status=OrderStatus.PENDING,
            currency="USD",
            subtotal=Decimal("27.50"),
            total=Decimal("27.50") + row.shipping_cost,
            items=[
                OrderItem(items[lamp.id], lamp.id, "Lamp", "LAMP", 2, Decimal("10.00"), Decimal("20.00")),
                OrderItem(items[vase.id], vase.id, "Vase", "VASE", 1, Decimal("7.50"), Decimal("7.50")),
            ],
            shipping=Shipping(**vars(ADDRESS), cost=row.shipping_cost, status="pending"),
            payment=None,
            note="Ring twice.\nHi",
            created_at=row.created_at,
            updated_at=row.updated_at,
        )
        assert [str(made.items[0].price), str(made.subtotal)] == ["10.00", "27.50"]
        assert (type(made.id), type(made.status), made.created_at.tzinfo) == (
            *(UUID, OrderStatus),
            row.created_at.tzinfo,
        )
        assert orders.get_order(order_id=order_id, actor=OWNER) == made
        assert orders.get_status(order_id=order_id, actor=OWNER) is OrderStatus.PENDING

    def test_an_order_without_details(self, orders: OrderService, lamp: Product) -> None:
        made = place(orders, line(lamp))
        assert (made.shipping, made.payment, made.note, made.currency) == (None, None, "", "USD")

    def test_a_repetition_returns_the_order(self, orders: OrderService, lamp: Product) -> None:
        order_id, new = new_id(), NewOrder(lines=[line(lamp, 3)])
        first = orders.place_order(order_id=order_id, user_id=USER, new=new)
        before = stored()
        assert orders.place_order(order_id=order_id, user_id=USER, new=new) == first
        assert (stored(), reserved(lamp)) == (before, 3)

    @pytest.mark.parametrize("method", ["standard", "by owl"])
    def test_a_strangers_order_id_touches_nothing(self, orders: OrderService, lamp: Product, method: str) -> None:
        theirs = place(orders, line(lamp, 3), user_id=UUID(int=7))
        before = stored()
        new = NewOrder(lines=[line(lamp)], shipping=ShippingAddress(method=method))
        code, _ = refusal(OrderIdTaken, lambda: orders.place_order(order_id=theirs.id, user_id=USER, new=new))
        assert (code, stored(), reserved(lamp)) == ("order_id_taken", before, 3)
        assert orders.get_order(order_id=theirs.id, actor=SYSTEM) == theirs

    def test_what_is_short_is_named(self, orders: OrderService, lamp: Product, vase: Product) -> None:
        code, problems = refusal(OutOfStock, lambda: place(orders, line(lamp, 11), line(vase, 12)))
        assert (code, [problem.attr for problem in problems]) == (
            "out_of_stock",
            [f"items.{p.id}" for p in (lamp, vase)],
        )
        unknown = new_id()
        code, problems = refusal(ProductNotFound, lambda: place(orders, line(lamp), line(unknown)))
        assert (code, [problem.attr for problem in problems]) == ("product_not_found", [f"items.{unknown}"])
        assert (models.Order.objects.count(), reserved(lamp)) == (0, 0)

    def test_what_cannot_be_charged(self, orders: OrderService, lamp: Product) -> None:
        yen = make_product(name="Fan", price="500", currency="JPY")
        dear = make_product(name="Yacht", price="90000000000.00", stock=10)
        assert refusal(CurrencyMismatch, lambda: place(orders, line(lamp), line(yen))) == (
            "currency_mismatch",
            [Problem("An order has one currency; this would have JPY and USD.", "currency")],
        )
        refusal(CurrencyMismatch, lambda: place(orders, line(lamp), currency="EUR"))
        owl = ShippingAddress(method="owl")
        code, (problem,) = refusal(UnknownShippingMethod, lambda: place(orders, line(lamp), shipping=owl))
        assert (code, problem.attr) == ("unknown_shipping_method", "shipping.method")
        assert refusal(AmountTooLarge, lambda: place(orders, line(dear, 9))) == (
            "amount_too_large",
            [Problem("The order's total is more than can be charged.", "items")],
        )
        assert (models.Order.objects.count(), reserved(lamp)) == (0, 0)

    def test_an_attempt_that_was_given_up(self, orders: OrderService, lamp: Product) -> None:
        order_id = new_id()
        services.products().reserve_stock(order_id=order_id, lines=[line(lamp)], hold_for=timedelta(hours=1))
        services.products().release_reservation(order_id=order_id)
        new = NewOrder(lines=[line(lamp)])
        code, _ = refusal(ReservationClosed, lambda: orders.place_order(order_id=order_id, user_id=USER, new=new))
        assert (code, models.Order.objects.count()) == ("reservation_closed", 0)


class TestLooking:
    def test_somebody_elses_order_is_not_found(self, orders: OrderService, lamp: Product) -> None:
        order = place(orders, line(lamp))
        missing: list[Callable[..., object]] = [
            orders.get_order,
            orders.get_status,
            orders.get_timeline,
            orders.list_refunds,
            orders.watch_order,
            orders.cancel_order,
            lambda **who: orders.change_order(change=OrderChange(note="x"), **who),
            lambda **who: orders.pay_order(payment_id=new_id(), method="card", token="tok_visa", **who),
        ]
        before = stored()
        for call in missing:
            for order_id, actor in ((order.id, STRANGER), (new_id(), SYSTEM), (order.id, Actor(user_id=None))):
                code, problems = refusal(OrderNotFound, lambda: call(order_id=order_id, actor=actor))  # noqa: B023 - called at once
                assert (code, problems) == ("order_not_found", [Problem("There is no such order.")])
        assert stored() == before

    def test_staff_see_every_order(self, orders: OrderService, lamp: Product) -> None:
        order = place(orders, line(lamp))
        for actor in (CLERK, SYSTEM):
            assert orders.get_order(order_id=order.id, actor=actor) == order
            assert orders.get_status(order_id=order.id, actor=actor) == "pending"

    def test_the_timeline_tells_every_change(self, orders: OrderService, lamp: Product) -> None:
        order = pay(orders, place(orders, line(lamp)))
        orders.ship_order(order_id=order.id, actor=CLERK, reason="van 7 – 手机")
        orders.deliver_order(order_id=order.id, actor=SYSTEM)
        entries = orders.get_timeline(order_id=order.id, actor=OWNER)
        times = [row.at for row in models.OrderTransition.objects.order_by("sequence")]
        assert entries == [
            TimelineEntry(1, OrderStatus.PENDING, "place", USER, "", order.created_at),
            TimelineEntry(2, OrderStatus.PAID, "pay", USER, "", times[0]),
            TimelineEntry(3, OrderStatus.SHIPPED, "ship", CLERK.user_id, "van 7 – 手机", times[1]),
            TimelineEntry(4, OrderStatus.DELIVERED, "deliver", None, "", times[2]),
        ]
        assert orders.get_timeline(order_id=order.id, actor=OWNER, after=3) == entries[3:]
        assert orders.get_timeline(order_id=order.id, actor=OWNER, after=4) == []


class TestLists:
    def test_pages_are_newest_first_and_end(self, orders: OrderService, lamp: Product) -> None:
        mine = [place(orders, line(lamp)) for _ in range(5)]
        theirs = place(orders, line(lamp), user_id=UUID(int=7))
        first = orders.list_orders(actor=OWNER, page_size=2)
        assert first == OrderPage(orders=[mine[4], mine[3]], next_cursor=mine[3].id)
        second = orders.list_orders(actor=OWNER, page_size=2, cursor=first.next_cursor)
        assert second == OrderPage(orders=[mine[2], mine[1]], next_cursor=mine[1].id)
        last = orders.list_orders(actor=OWNER, page_size=2, cursor=second.next_cursor)
        assert last == OrderPage(orders=[mine[0]], next_cursor=None)
        assert [order.id for order in orders.list_orders(actor=CLERK).orders] == [
            *(order.id for order in [theirs, *reversed(mine)])
        ]
        assert orders.list_orders(actor=OWNER, page_size=5).next_cursor is None
        assert orders.list_orders(actor=Actor(user_id=None)) == OrderPage(orders=[], next_cursor=None)
        assert len(orders.list_orders(actor=OWNER, page_size=0).orders) == 1

    def test_filters(self, orders: OrderService, lamp: Product) -> None:
        old, new = place(orders, line(lamp)), place(orders, line(lamp), user_id=UUID(int=7))
        paid = pay(orders, old)
        assert orders.list_orders(actor=CLERK, status=OrderStatus.PAID).orders == [paid]
        assert orders.list_orders(actor=CLERK, user_id=new.user_id).orders == [new]
        assert orders.list_orders(actor=OWNER, user_id=USER).orders == [paid]
        assert orders.list_orders(actor=CLERK, created_from=new.created_at).orders == [new]
        assert orders.list_orders(actor=CLERK, created_to=new.created_at).orders == [paid]
        assert refusal(OrderNotFound, lambda: orders.list_orders(actor=OWNER, user_id=new.user_id)) == (
            "order_not_found",
            [Problem("There is no such user.")],
        )

    def test_no_page_is_longer_than_a_hundred(self, orders: OrderService, lamp: Product) -> None:
        for _ in range(101):
            models.Order.objects.create(
                id=new_id(), number=new_id().hex[-20:], user_id=USER, currency="USD", subtotal=1, total=1,
                expires_at=timezone.now(),
            )  # fmt: skip
        assert len(orders.list_orders(actor=OWNER, page_size=5000).orders) == 100
        assert len(orders.list_orders(actor=OWNER).orders) == 20


@pytest.mark.django_db
@pytest.mark.parametrize("count", [1, 9])
def test_a_page_costs_three_statements_wherever_it_is(local: LocalOrderService, lamp: Product, count: int) -> None:
    placed = [place(local, line(lamp)) for _ in range(count + 1)]
    for cursor in (None, placed[1].id):
        with sends(3):
            local.list_orders(actor=OWNER, cursor=cursor, page_size=count)


class TestChanging:
    def test_lines_details_and_what_stays(self, orders: OrderService, lamp: Product, vase: Product) -> None:
        order = place(orders, line(lamp, 3), shipping=ADDRESS, note="Hi")
        changed = orders.change_order(
            order_id=order.id, actor=OWNER, change=OrderChange(lines=[line(vase, 2), line(vase)])
        )
        assert [(item.product_id, item.quantity) for item in changed.items] == [(vase.id, 3)]
        assert (changed.note, changed.shipping, changed.subtotal) == ("Hi", order.shipping, Decimal("22.50"))
        assert (reserved(lamp), reserved(vase)) == (0, 3)
        moved = orders.change_order(
            order_id=order.id, actor=OWNER, change=OrderChange(shipping=ShippingAddress(city="Paris"), note="")
        )
        assert (moved.note, moved.items) == ("", changed.items)
        assert moved.shipping is not None
        assert (moved.shipping.city, moved.shipping.name, moved.shipping.method) == ("Paris", "", "standard")
        assert orders.get_order(order_id=order.id, actor=OWNER) == moved

    def test_what_cannot_be_changed_stays(self, orders: OrderService, lamp: Product, vase: Product) -> None:
        order = place(orders, line(lamp, 3))

        def change(**what: Any) -> Callable[[], object]:  # noqa: ANN401 - as OrderChange takes it
            return lambda: orders.change_order(order_id=order.id, actor=OWNER, change=OrderChange(**what))

        refusal(OutOfStock, change(lines=[line(vase, 11)]))
        refusal(ProductNotFound, change(lines=[line(new_id())]))
        refusal(UnknownShippingMethod, change(shipping=ShippingAddress(method="owl")))
        models.Order.objects.update(change_began_at=timezone.now())
        assert refusal(OrderBusy, change(note="x"))[0] == "order_busy"
        models.Order.objects.update(change_began_at=None)
        assert orders.get_order(order_id=order.id, actor=OWNER) == order
        pay(orders, order)
        code, (problem,) = refusal(InvalidTransition, change(note="x"))
        assert (code, problem.detail) == ("invalid_transition", "The order is paid; to change it, it must be pending.")


class TestPaying:
    def test_a_payment_has_every_field_and_its_repetition_the_same(self, orders: OrderService, lamp: Product) -> None:
        order, payment_id = place(orders, line(lamp)), new_id()
        paid = pay(orders, order, payment_id=payment_id)
        row = models.Payment.objects.get()
        assert (row.pk, paid.status) == (payment_id, OrderStatus.PAID)
        assert paid.payment == Payment(
            method="card",
            amount=Decimal("10.00"),
            refunded_amount=Decimal("0.00"),
            status=PaymentStatus.SUCCEEDED,
            transaction_id=row.transaction_id,
            paid_at=row.paid_at,
            next_action=None,
        )
        before = stored()
        assert pay(orders, order, payment_id=payment_id) == paid
        assert (stored(), models.SandboxCharge.objects.count()) == (before, 1)
        refusal(InvalidTransition, lambda: pay(orders, order))

    @pytest.mark.parametrize(
        ("token", "kind", "code"),
        [
            ("tok_declined", PaymentDeclined, "payment_declined"),
            ("tok_insufficient_funds", InsufficientFunds, "insufficient_funds"),
        ],
    )
    def test_a_refusal_charges_nothing(
        self, orders: OrderService, lamp: Product, token: str, kind: type[DomainError], code: str
    ) -> None:
        order, payment_id = place(orders, line(lamp)), new_id()
        first = refusal(kind, lambda: pay(orders, order, token, payment_id))
        assert refusal(kind, lambda: pay(orders, order, token, payment_id)) == first
        assert (first[0], models.SandboxCharge.objects.count(), models.Payment.objects.count()) == (code, 0, 1)
        assert orders.get_status(order_id=order.id, actor=OWNER) == "pending"

    def test_a_method_that_is_not_offered(self, orders: OrderService, lamp: Product) -> None:
        order = place(orders, line(lamp))
        code, (problem,) = refusal(
            UnknownPaymentMethod,
            lambda: orders.pay_order(
                order_id=order.id, payment_id=new_id(), actor=OWNER, method="shells", token="tok_visa"
            ),
        )
        assert (code, problem.attr, models.Payment.objects.count()) == ("unknown_payment_method", "method", 0)

    def test_an_outcome_that_is_found_out_later(self, orders: OrderService, lamp: Product) -> None:
        order, payment_id = place(orders, line(lamp)), new_id()
        with pytest.raises(PaymentUnknown) as unknown:
            pay(orders, order, "tok_timeout", payment_id)
        assert (unknown.value.code, unknown.value.retry_after) == ("payment_outcome_unknown", 60)
        refusal(PaymentUnknown, lambda: pay(orders, order, "tok_timeout", payment_id))
        refusal(OrderBusy, lambda: pay(orders, order))
        let_pass(timedelta(minutes=2))
        assert orders.settle_open_orders() == 1
        assert orders.settle_open_orders() == 0
        assert orders.get_status(order_id=order.id, actor=OWNER) == "paid"

    def test_a_payment_that_its_customer_confirms(self, orders: OrderService, lamp: Product) -> None:
        order, payment_id = place(orders, line(lamp)), new_id()
        asked = pay(orders, order, "tok_3ds", payment_id)
        assert asked.payment is not None
        assert (asked.status, asked.payment.status, asked.payment.paid_at) == ("pending", "requires_action", None)
        assert asked.payment.next_action == NextAction(
            type="confirm_by_webhook", url="/api/v1/payments/webhooks/sandbox", client_secret=None
        )
        assert pay(orders, order, "tok_3ds", payment_id) == asked
        body, headers = notice(payment_id)
        titles = {name.title(): text for name, text in headers.items()}
        orders.handle_provider_message(provider="sandbox", body=body, headers=titles)
        orders.handle_provider_message(provider="sandbox", body=body, headers=headers)
        done = orders.get_order(order_id=order.id, actor=OWNER)
        assert done.payment is not None
        assert (done.status, done.payment.status, done.payment.next_action) == ("paid", "succeeded", None)

    def test_messages_that_nobody_has_sent(self, orders: OrderService) -> None:
        body, headers = notice(new_id())
        assert refusal(
            UnknownProvider, lambda: orders.handle_provider_message(provider="acme", body=body, headers=headers)
        ) == (
            "unknown_provider",
            [Problem("This shop has no such payment provider.")],
        )
        code, _ = refusal(
            InvalidSignature,
            lambda: orders.handle_provider_message(provider="sandbox", body=b"\xff\x00", headers=headers),
        )
        assert code == "invalid_signature"

    def test_a_provider_that_is_silent_is_asked_once(self, orders: OrderService, lamp: Product) -> None:
        payment_id = new_id()
        pay(orders, place(orders, line(lamp)), "tok_3ds", payment_id)
        body, headers = notice(payment_id)
        with patch.object(SandboxProvider, "find", side_effect=NoAnswer) as asked, pytest.raises(PaymentUnknown):
            orders.handle_provider_message(provider="sandbox", body=body, headers=headers)
        assert asked.call_count == 1


class TestEnding:
    def test_cancelling_pays_back(self, orders: OrderService, lamp: Product) -> None:
        order = pay(orders, place(orders, line(lamp)))
        cancelled = orders.cancel_order(order_id=order.id, actor=OWNER, reason="too late")
        assert cancelled.payment is not None
        assert (cancelled.status, cancelled.payment.status, cancelled.payment.refunded_amount) == (
            *(OrderStatus.CANCELLED, PaymentStatus.REFUNDED),
            Decimal("10.00"),
        )
        refusal(InvalidTransition, lambda: orders.cancel_order(order_id=order.id, actor=OWNER))
        assert orders.get_timeline(order_id=order.id, actor=OWNER)[-1].reason == "too late"

    def test_what_is_not_paid_expires(self, orders: OrderService, lamp: Product) -> None:
        order = place(orders, line(lamp))
        assert orders.expire_orders() == 0
        let_pass(timedelta(minutes=31))
        assert orders.expire_orders() == 1
        assert orders.get_order(order_id=order.id, actor=OWNER).status is OrderStatus.EXPIRED

    def test_what_is_for_staff(self, orders: OrderService, lamp: Product) -> None:
        order = pay(orders, place(orders, line(lamp)))
        for call in (orders.ship_order, orders.deliver_order, orders.refund_order):
            assert refusal(StaffOnly, lambda: call(order_id=order.id, actor=OWNER)) == (  # noqa: B023 - called at once
                "staff_only",
                [Problem("Only order staff may do this.")],
            )
        refusal(InvalidTransition, lambda: orders.deliver_order(order_id=order.id, actor=CLERK))
        shipped = orders.ship_order(order_id=order.id, actor=CLERK)
        assert shipped.status is OrderStatus.SHIPPED
        assert orders.deliver_order(order_id=order.id, actor=CLERK).status is OrderStatus.DELIVERED


class TestRefunds:
    def test_lines_then_an_amount_then_the_rest(self, orders: OrderService, lamp: Product, vase: Product) -> None:
        order = pay(orders, place(orders, line(lamp, 2), line(vase)))
        ids = [new_id() for _ in range(3)]
        part = refund(orders, order, refund_id=ids[0], lines=[line(lamp)], reason="scratched", restock=False)
        assert part.payment is not None
        assert (part.status, part.payment.refunded_amount) == ("paid", Decimal("10.00"))
        refund(orders, order, refund_id=ids[1], amount=Decimal("0.50"))
        before = stored()
        repeated = refund(orders, order, refund_id=ids[1], amount=Decimal("0.50"))
        assert repeated == orders.get_order(order_id=order.id, actor=OWNER)
        assert stored() == before
        assert refund(orders, order, refund_id=ids[2]).status is OrderStatus.REFUNDED
        rows = models.Refund.objects.in_bulk()
        made: dict[str, Any] = {"currency": "USD", "status": RefundStatus.SUCCEEDED, "failure_detail": ""}
        assert orders.list_refunds(order_id=order.id, actor=OWNER) == [
            Refund(
                id=key, amount=amount, items=items, restock=restock, reason=reason,
                created_at=rows[key].created_at, refunded_at=rows[key].refunded_at, **made,
            )
            for key, amount, items, restock, reason in (
                (ids[0], Decimal("10.00"), [line(lamp)], False, "scratched"),
                (ids[1], Decimal("0.50"), [], False, ""),
                (ids[2], Decimal("17.00"), [line(lamp), line(vase)], True, ""),
            )
        ]  # fmt: skip
        audit()

    def test_what_cannot_be_paid_back(self, orders: OrderService, lamp: Product, vase: Product) -> None:
        order = pay(orders, place(orders, line(lamp, 2)))
        wrong: list[tuple[type[DomainError], str, str | None, dict[str, Any]]] = [
            (UnknownLine, "unknown_line", f"items.{vase.id}", {"lines": [line(vase)]}),
            (RefundTooLarge, "refund_too_large", f"items.{lamp.id}", {"lines": [line(lamp, 3)]}),
            (RefundTooLarge, "refund_too_large", "amount", {"amount": Decimal("20.01")}),
            (InvalidRefund, "invalid_refund", "amount", {"amount": Decimal("0.001")}),
            (InvalidRefund, "invalid_refund", "amount", {"amount": Decimal(-1)}),
            (InvalidRefund, "invalid_refund", "restock", {"amount": Decimal(1), "restock": True}),
        ]
        for kind, code, attr, wish in wrong:
            found, problems = refusal(kind, lambda: refund(orders, order, **wish))  # noqa: B023 - called at once
            assert (found, [problem.attr for problem in problems]) == (code, [attr])
        assert (models.Refund.objects.count(), models.SandboxRefund.objects.count()) == (0, 0)

    def test_a_refund_that_the_provider_refuses(self, orders: OrderService, lamp: Product) -> None:
        order, refund_id = pay(orders, place(orders, line(lamp))), new_id()
        with patch.object(SandboxProvider, "refund", side_effect=Declined("no", "Not today.")):
            first = refusal(PaymentDeclined, lambda: refund(orders, order, refund_id=refund_id))
        assert first == ("payment_declined", [Problem("Not today.")])
        assert refusal(PaymentDeclined, lambda: refund(orders, order, refund_id=refund_id)) == first
        (failed,) = orders.list_refunds(order_id=order.id, actor=OWNER)
        assert (failed.status, failed.failure_detail, failed.refunded_at) == ("failed", "Not today.", None)
        assert orders.get_status(order_id=order.id, actor=OWNER) == "paid"


class TestWatching:
    @pytest.fixture(autouse=True)
    def _closed(self, local: LocalOrderService) -> Iterator[None]:
        """In the end every place is free again."""
        yield
        thread = local._hub._thread
        if thread is not None:
            thread.join(10)
        assert (local._hub._watches, local._hub._thread) == (set(), None)

    def test_each_change_once_until_the_end(self, orders: OrderService, lamp: Product) -> None:
        order = place(orders, line(lamp))
        watch = orders.watch_order(order_id=order.id, actor=OWNER)
        assert watch is not None
        assert next(watch) == TimelineEntry(1, OrderStatus.PENDING, "place", USER, "", order.created_at)
        pay(orders, order)
        orders.cancel_order(order_id=order.id, actor=OWNER)
        entries = [entry for entry in watch if entry is not None]
        assert entries == orders.get_timeline(order_id=order.id, actor=OWNER, after=1)
        assert [entry.action for entry in entries] == ["pay", "cancel"]
        with pytest.raises(StopIteration):
            next(watch)
        watch.close()
        watch.close()

    def test_only_what_comes_after(self, orders: OrderService, lamp: Product) -> None:
        order = pay(orders, place(orders, line(lamp)))
        watch = self.watch(orders, order, after=2)
        assert next(watch) is None
        orders.ship_order(order_id=order.id, actor=CLERK)
        assert self.following(watch).action == "ship"
        watch.close()
        again = self.watch(orders, order, after=0)
        assert [self.following(again).action for _ in range(3)] == ["place", "pay", "ship"]
        again.close()

    def test_there_is_nothing_to_watch(self, orders: OrderService, lamp: Product) -> None:
        order = orders.cancel_order(order_id=place(orders, line(lamp)).id, actor=OWNER)
        assert orders.watch_order(order_id=order.id, actor=OWNER, after=2) is None
        watch = self.watch(orders, order, after=1)
        assert [entry and entry.action for entry in watch] == ["cancel"]
        watch.close()

    def test_there_is_room_for_so_many(self, orders: OrderService, lamp: Product, settings: Settings) -> None:
        settings.EVENT_STREAMS = 1
        order = place(orders, line(lamp))
        first = self.watch(orders, order)
        with pytest.raises(TooManyWatchers) as full:
            orders.watch_order(order_id=order.id, actor=OWNER)
        assert (full.value.code, full.value.retry_after) == ("too_many_watchers", 15)
        first.close()

    def watch(self, orders: OrderService, order: Order, after: int | None = None) -> OrderWatch:
        found = orders.watch_order(order_id=order.id, actor=OWNER, after=after)
        assert found is not None
        return found

    def following(self, watch: OrderWatch) -> TimelineEntry:
        return next(entry for entry in watch if entry is not None)


def test_a_client_waits_as_long_as_the_service_may_take() -> None:
    assert 3 * TIMEOUT_SECONDS < clients.PROVIDER_SECONDS
    assert watching.LONGEST_SECONDS < clients.WATCH_SECONDS


def test_a_remote_service_is_not_called_inside_a_transaction(orders: OrderService, lamp: Product) -> None:
    if isinstance(orders, LocalOrderService):
        return
    order = place(orders, line(lamp))
    with atomic("orders"):
        with pytest.raises(CalledInTransaction):
            orders.get_order(order_id=order.id, actor=OWNER)
        with pytest.raises(CalledInTransaction):
            orders.watch_order(order_id=order.id, actor=OWNER)
