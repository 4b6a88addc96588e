"""Orders over gRPC, as any client sees them: who may call what, what is refused and how, and streams."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from threading import Event
from typing import Any
from unittest.mock import patch
from uuid import UUID, uuid4

import grpc
import pytest
from django.utils import timezone
from google.protobuf.empty_pb2 import Empty
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc.error_details_pb2 import BadRequest
from grpc_status import rpc_status

from apps.common.api.serializers import InputSerializer
from apps.common.ids import derived_id, new_id
from apps.orders import models
from apps.orders.api.serializers import (
    ChangedOrderSerializer,
    NewOrderSerializer,
    PaymentSerializer,
    ReasonSerializer,
    ShippingSerializer,
)
from apps.orders.interface import Actor, Order
from apps.orders.payments.provider import NoAnswer
from apps.orders.payments.sandbox import SandboxProvider
from apps.orders.services import LocalOrderService
from apps.orders.tests.factories import make_product, pay, place, ship
from apps.products.interface import Product
from apps.users import service_tokens
from apps.users.interface import Client, Role, Scope
from apps.users.tests.factories import PASSWORD, UserFactory
from config import services
from grpc_api.errors import CODE_KEY
from grpc_api.gen import order_pb2 as pb
from grpc_api.gen.order_pb2_grpc import OrderServiceStub
from grpc_api.servers.orders import BOUNDS, POLICY, hosted
from grpc_api.tests.running import bearer, channel_to, refusal, serving, token_for
from tests.flow import everything_stored

pytestmark = pytest.mark.django_db(transaction=True)

Metadata = tuple[tuple[str, str], ...]
BIG = 10**30


class Person:
    """Somebody who has logged in."""

    def __init__(self, role: Role = Role.USER) -> None:
        user = UserFactory(role=role)
        here = Client(address="192.0.2.7", agent="")
        self.id: UUID = user.pk
        self.metadata = bearer(services.users().log_in(login=user.email, password=PASSWORD, client=here).access)


@pytest.fixture
def orders(transactional_db: None) -> LocalOrderService:
    return LocalOrderService(products=services.products(), payments=SandboxProvider())


@pytest.fixture
def stub(orders: LocalOrderService) -> Iterator[OrderServiceStub]:
    with serving(hosted(orders)) as address, channel_to(address) as channel:
        yield OrderServiceStub(channel)


@pytest.fixture
def lamp(transactional_db: None) -> Product:
    return make_product(stock=10)


@pytest.fixture
def ada(transactional_db: None) -> Person:
    return Person()


@pytest.fixture
def order(ada: Person, lamp: Product) -> Order:
    return place(ada.id, (lamp, 1))


def requests_about(order: Order, actor: pb.Actor | None = None) -> dict[str, Any]:
    """A request for each call, that is in order."""
    key = str(order.id)
    items = [pb.Line(product_id=str(item.product_id), quantity=item.quantity) for item in order.items]
    return {
        "CreateOrder": pb.CreateOrderRequest(items=items, user_id=str(order.user_id)),
        "GetOrder": pb.GetOrderRequest(order_id=key, actor=actor),
        "ListOrders": pb.ListOrdersRequest(user_id=str(order.user_id), actor=actor),
        "GetOrderStatus": pb.GetOrderStatusRequest(order_id=key, actor=actor),
        "GetTimeline": pb.GetTimelineRequest(order_id=key, actor=actor),
        "WatchOrder": pb.WatchOrderRequest(order_id=key, actor=actor),
        "ChangeOrder": pb.ChangeOrderRequest(order_id=key, note="x", actor=actor),
        "PayOrder": pb.PayOrderRequest(order_id=key, method="card", token="tok_visa", actor=actor),
        "CancelOrder": pb.CancelOrderRequest(order_id=key, actor=actor),
        "RefundOrder": pb.RefundOrderRequest(order_id=key, actor=actor),
        "ListRefunds": pb.ListRefundsRequest(order_id=key, actor=actor),
        "ShipOrder": pb.ShipOrderRequest(order_id=key, actor=actor),
        "DeliverOrder": pb.DeliverOrderRequest(order_id=key, actor=actor),
        "HandleProviderMessage": pb.HandleProviderMessageRequest(provider="sandbox"),
        "ExpireOrders": Empty(),
        "SettleOpenOrders": Empty(),
    }


def refused(stub: OrderServiceStub, method: str, request: object, metadata: Metadata) -> tuple[str, str]:
    """The status and the domain error's code that a call ends with; nothing may have changed."""
    before = everything_stored()
    error = refusal(lambda: attempt(stub, method, request, metadata))
    assert everything_stored() == before
    return code_of(error)


def code_of(error: grpc.RpcError) -> tuple[str, str]:
    """The status, and the domain error's code in the trailing metadata."""
    (code,) = (str(each.value) for each in error.trailing_metadata() or () if each.key == CODE_KEY)
    return error.code().name, code


def attempt(stub: OrderServiceStub, method: str, request: object, metadata: Metadata) -> object:
    answer = getattr(stub, method)(request, metadata=metadata, timeout=10)
    return next(answer) if method == "WatchOrder" else answer


DENIED = ("PERMISSION_DENIED", "permission_denied")
NOT_FOUND = ("NOT_FOUND", "order_not_found")
WRITES = {name for name, access in POLICY.items() if access.scope == Scope.ORDERS_WRITE}
OWNERS_OWN = ("ChangeOrder", "PayOrder")
STAFF_ONLY = ("RefundOrder", "ShipOrder", "DeliverOrder")
SHOP_ONLY = ("HandleProviderMessage", "ExpireOrders", "SettleOpenOrders")


class TestAccess:
    @pytest.mark.parametrize("method", POLICY)
    def test_nobody_is_answered_without_a_token_or_scope(
        self, stub: OrderServiceStub, order: Order, method: str
    ) -> None:
        request = requests_about(order)[method]
        wrong = Scope.ORDERS_READ if method in WRITES else Scope.ORDERS_WRITE
        tokens = {"absent": (), "bad": bearer("x.y.z"), "scope": bearer(token_for(wrong, Scope.PRODUCTS_WRITE))}
        assert {name: refused(stub, method, request, metadata) for name, metadata in tokens.items()} == {
            "absent": ("UNAUTHENTICATED", "not_authenticated"),
            "bad": ("UNAUTHENTICATED", "invalid_token"),
            "scope": DENIED,
        }

    @pytest.mark.parametrize("role", [Role.USER, Role.CATALOG_STAFF])
    @pytest.mark.parametrize("method", POLICY)
    def test_another_customer_sees_and_does_nothing_whoever_they_say_they_are(
        self, stub: OrderServiceStub, order: Order, method: str, role: Role
    ) -> None:
        eve = Person(role)
        request = requests_about(order, actor=pb.Actor(user_id=str(order.user_id), is_staff=True))[method]
        denied = (*STAFF_ONLY, *SHOP_ONLY, "CreateOrder")
        assert refused(stub, method, request, eve.metadata) == (DENIED if method in denied else NOT_FOUND)

    def test_a_customer_sees_and_does_with_their_own(self, stub: OrderServiceStub, order: Order, ada: Person) -> None:
        about = requests_about(order)
        for method in ("GetOrder", "ListOrders", "GetOrderStatus", "GetTimeline", "ListRefunds", *OWNERS_OWN):
            attempt(stub, method, about[method], ada.metadata)
        assert models.Order.objects.get().status == "paid"
        for method in (*STAFF_ONLY, *SHOP_ONLY):
            assert refused(stub, method, about[method], ada.metadata) == DENIED
        assert stub.CancelOrder(about["CancelOrder"], metadata=ada.metadata).status == "cancelled"

    @pytest.mark.parametrize("role", [Role.ORDER_STAFF, Role.ADMIN])
    def test_staff_see_every_order_and_see_it_through_but_do_not_pay_or_change_it(
        self, stub: OrderServiceStub, order: Order, role: Role
    ) -> None:
        clerk, about = Person(role), requests_about(order)
        for method in OWNERS_OWN:
            assert refused(stub, method, about[method], clerk.metadata) == NOT_FOUND
        for method in SHOP_ONLY:
            assert refused(stub, method, about[method], clerk.metadata) == DENIED
        pay(order)
        for method in ("GetOrder", "ListOrders", "GetOrderStatus", "GetTimeline", "ListRefunds", "ShipOrder"):
            attempt(stub, method, about[method], clerk.metadata)
        assert stub.DeliverOrder(about["DeliverOrder"], metadata=clerk.metadata).status == "delivered"
        assert stub.RefundOrder(about["RefundOrder"], metadata=clerk.metadata).status == "refunded"
        actors = models.OrderTransition.objects.filter(action__in=["ship", "deliver", "refund"])
        assert set(actors.values_list("actor_id", flat=True)) == {clerk.id}

    def test_a_service_acts_as_the_shop_or_as_whom_it_names(
        self, stub: OrderServiceStub, order: Order, ada: Person
    ) -> None:
        service = bearer(token_for(Scope.ORDERS_READ, Scope.ORDERS_WRITE))
        as_ada = requests_about(order, actor=pb.Actor(user_id=str(ada.id)))
        assert stub.GetOrder(requests_about(order)["GetOrder"], metadata=service).id == str(order.id)
        assert stub.PayOrder(as_ada["PayOrder"], metadata=service).status == "paid"
        assert refused(stub, "ShipOrder", as_ada["ShipOrder"], service) == ("PERMISSION_DENIED", "staff_only")
        assert stub.ShipOrder(requests_about(order)["ShipOrder"], metadata=service).status == "shipped"
        assert list(models.OrderTransition.objects.order_by("sequence").values_list("action", "actor_id")) == [
            ("pay", ada.id),
            ("ship", None),
        ]
        nobody = pb.GetOrderRequest(order_id=str(order.id), actor=pb.Actor())
        assert refused(stub, "GetOrder", nobody, service) == NOT_FOUND


class TestIds:
    def test_a_person_orders_for_themselves_and_repeats_it(
        self, stub: OrderServiceStub, lamp: Product, ada: Person
    ) -> None:
        request = pb.CreateOrderRequest(order_id=str(new_id()), items=[pb.Line(product_id=str(lamp.id), quantity=2)])
        first = stub.CreateOrder(request, metadata=ada.metadata)
        assert (first.id, first.user_id) == (request.order_id, str(ada.id))
        assert stub.CreateOrder(request, metadata=ada.metadata) == first
        assert services.products().get_stock(product_id=lamp.id).reserved == 2
        request.ClearField("order_id")
        assert UUID(stub.CreateOrder(request, metadata=ada.metadata).id).version == 7
        assert models.Order.objects.count() == 2

    def test_a_strangers_id_is_taken(self, stub: OrderServiceStub, order: Order) -> None:
        request = requests_about(order)["CreateOrder"]
        request.order_id = str(order.id)
        request.ClearField("user_id")
        eve = Person()
        error = refusal(lambda: stub.CreateOrder(request, metadata=eve.metadata))
        assert code_of(error) == ("ALREADY_EXISTS", "order_id_taken")
        assert services.orders().get_order(order_id=order.id, actor=Actor(user_id=order.user_id)) == order
        assert services.products().get_stock(product_id=order.items[0].product_id).reserved == 1

    @pytest.mark.parametrize(
        "chosen",
        [uuid4(), derived_id(datetime(2200, 1, 1, tzinfo=UTC), "x"), derived_id(datetime(2020, 1, 1, tzinfo=UTC), "x")],
    )
    def test_a_person_chooses_no_id_that_sorts_elsewhere_but_a_service_may(
        self, stub: OrderServiceStub, order: Order, ada: Person, chosen: UUID
    ) -> None:
        request = requests_about(order)["CreateOrder"]
        request.order_id = str(chosen)
        assert refused(stub, "CreateOrder", request, ada.metadata) == ("INVALID_ARGUMENT", "invalid")
        assert stub.CreateOrder(request, metadata=bearer(token_for())).id == str(chosen)

    def test_a_payment_of_another_order_is_not_told(self, stub: OrderServiceStub, order: Order, ada: Person) -> None:
        payment_id = new_id()
        request = requests_about(order)["PayOrder"]
        request.payment_id = str(payment_id)
        stub.PayOrder(request, metadata=ada.metadata)
        eve = Person()
        assert refused(stub, "PayOrder", request, eve.metadata) == NOT_FOUND
        theirs = requests_about(place(eve.id, (make_product(), 1)))["PayOrder"]
        theirs.payment_id = str(payment_id)
        assert refused(stub, "PayOrder", theirs, eve.metadata) == ("ABORTED", "order_busy")

    def test_a_service_says_whose_order_it_is(self, stub: OrderServiceStub, order: Order) -> None:
        request = requests_about(order)["CreateOrder"]
        request.ClearField("user_id")
        assert refused(stub, "CreateOrder", request, bearer(token_for())) == ("INVALID_ARGUMENT", "invalid")


LINE = pb.Line(product_id="01938d5e-7b1a-7c3e-9a51-0242ac120002", quantity=1)
ID = "01938d5e-7b1a-7c3e-9a51-0242ac120002"


def _create(**fields: Any) -> pb.CreateOrderRequest:  # noqa: ANN401 - as the message takes them
    return pb.CreateOrderRequest(**{"items": [LINE], "user_id": ID, **fields})


def _sent(**fields: Any) -> pb.CreateOrderRequest:  # noqa: ANN401 - as the message takes them
    return _create(shipping=pb.ShippingAddress(**fields))


BAD: list[tuple[str, Any, str]] = [
    ("CreateOrder", _create(items=[]), "items"),
    ("CreateOrder", _create(items=[LINE] * 1001), "items"),
    ("CreateOrder", _create(items=[LINE, pb.Line(product_id=ID)]), "items.1.quantity"),
    ("CreateOrder", _create(items=[pb.Line(product_id=ID, quantity=-1)]), "items.0.quantity"),
    ("CreateOrder", _create(items=[pb.Line(product_id=ID, quantity=1_000_001)]), "items.0.quantity"),
    ("CreateOrder", _create(items=[pb.Line(product_id="lamp", quantity=1)]), "items.0.product_id"),
    ("CreateOrder", _create(order_id="lamp"), "order_id"),
    ("CreateOrder", _create(user_id="ada"), "user_id"),
    ("CreateOrder", _create(currency="XYZ"), "currency"),
    ("CreateOrder", _create(currency=""), "currency"),
    ("CreateOrder", _create(note="x" * 1001), "note"),
    ("CreateOrder", _create(note="a\x07b"), "note"),
    ("CreateOrder", _create(note="a\0b"), "note"),
    ("CreateOrder", _sent(name="x" * 201), "shipping.name"),
    ("CreateOrder", _sent(name="a\nb"), "shipping.name"),
    ("CreateOrder", _sent(address="x" * 501), "shipping.address"),
    ("CreateOrder", _sent(city="x" * 101), "shipping.city"),
    ("CreateOrder", _sent(state="x" * 101), "shipping.state"),
    ("CreateOrder", _sent(country="x" * 101), "shipping.country"),
    ("CreateOrder", _sent(zip_code="x" * 21), "shipping.zip_code"),
    ("CreateOrder", _sent(method="x" * 33), "shipping.method"),
    ("CreateOrder", _sent(method=""), "shipping.method"),
    ("GetOrder", pb.GetOrderRequest(), "order_id"),
    ("GetOrder", pb.GetOrderRequest(order_id=ID, actor=pb.Actor(user_id="ada")), "user_id"),
    ("ListOrders", pb.ListOrdersRequest(page_token="lamp"), "page_token"),
    ("ListOrders", pb.ListOrdersRequest(page_size=-1), "page_size"),
    ("ListOrders", pb.ListOrdersRequest(status="lost"), "status"),
    ("ListOrders", pb.ListOrdersRequest(user_id=""), "user_id"),
    ("ListOrders", pb.ListOrdersRequest(created_from=Timestamp(seconds=10**18)), "created_from"),
    ("ListOrders", pb.ListOrdersRequest(created_to=Timestamp(nanos=-1)), "created_to"),
    ("GetTimeline", pb.GetTimelineRequest(order_id=ID, after=-1), "after"),
    ("WatchOrder", pb.WatchOrderRequest(order_id=ID, after=-1), "after"),
    ("WatchOrder", pb.WatchOrderRequest(order_id="lamp"), "order_id"),
    ("ChangeOrder", pb.ChangeOrderRequest(order_id=ID, items=pb.Lines()), "items.lines"),
    ("ChangeOrder", pb.ChangeOrderRequest(order_id=ID, items=pb.Lines(lines=[LINE] * 1001)), "items.lines"),
    ("ChangeOrder", pb.ChangeOrderRequest(order_id=ID, note="x" * 1001), "note"),
    ("PayOrder", pb.PayOrderRequest(order_id=ID, method="", token="x"), "method"),
    ("PayOrder", pb.PayOrderRequest(order_id=ID, method="card", token=""), "token"),
    ("PayOrder", pb.PayOrderRequest(order_id=ID, method="card", token="x" * 201), "token"),
    ("PayOrder", pb.PayOrderRequest(order_id=ID, method="card", token="x", payment_id="y"), "payment_id"),
    ("CancelOrder", pb.CancelOrderRequest(order_id=ID, reason="x" * 301), "reason"),
    ("CancelOrder", pb.CancelOrderRequest(order_id=ID, reason="a\nb"), "reason"),
    ("RefundOrder", pb.RefundOrderRequest(order_id=ID, reason="x" * 301), "reason"),
    ("RefundOrder", pb.RefundOrderRequest(order_id=ID, refund_id="x"), "refund_id"),
    ("RefundOrder", pb.RefundOrderRequest(order_id=ID, items=pb.Lines()), "items.lines"),
    *(
        ("RefundOrder", pb.RefundOrderRequest(order_id=ID, amount=amount), "amount")
        for amount in ("", "lamp", "NaN", "Infinity", "1e9999", str(BIG), f"0.{BIG}", "1_0", "٣")
    ),
    ("ShipOrder", pb.ShipOrderRequest(order_id=ID, reason="x" * 301), "reason"),
    ("DeliverOrder", pb.DeliverOrderRequest(order_id=ID, reason="x" * 301), "reason"),
]


@pytest.mark.parametrize(("method", "request_", "attr"), BAD)
def test_what_no_call_takes_is_refused_by_field(
    stub: OrderServiceStub, method: str, request_: object, attr: str
) -> None:
    error = refusal(lambda: attempt(stub, method, request_, bearer(token_for())))
    assert code_of(error) == ("INVALID_ARGUMENT", "invalid")
    assert _fields(error) == [attr]
    assert not models.Order.objects.exists()


@pytest.mark.once
@pytest.mark.parametrize(
    ("message", "serializer"),
    [
        ("order.ShippingAddress", ShippingSerializer),
        ("order.CreateOrderRequest", NewOrderSerializer),
        ("order.ChangeOrderRequest", ChangedOrderSerializer),
        ("order.PayOrderRequest", PaymentSerializer),
        *((f"order.{name}OrderRequest", ReasonSerializer) for name in ("Cancel", "Refund", "Ship", "Deliver")),
    ],
)
def test_texts_may_be_as_long_as_over_rest(message: str, serializer: type[InputSerializer]) -> None:
    longest = {name: getattr(field, "max_length", None) for name, field in serializer().fields.items()}
    texts = {name: most for name, most in longest.items() if most and name not in {"items", "currency"}}
    assert texts
    for name, most in texts.items():
        rule = BOUNDS[message][name]
        assert rule("x" * most) is None, name
        assert rule("x" * (most + 1)) == f"This must have no more than {most} characters."


def _fields(error: grpc.RpcError) -> list[str]:

    found = BadRequest()
    for detail in rpc_status.from_call(error).details:  # type: ignore[arg-type]
        detail.Unpack(found)
    return [violation.field for violation in found.field_violations]


class TestStatusCodes:
    def test_each_kind_of_refusal(self, stub: OrderServiceStub, order: Order, ada: Person) -> None:
        about = requests_about(order)
        many = requests_about(order)["CreateOrder"]
        many.items[0].quantity = 10
        assert refused(stub, "CreateOrder", many, ada.metadata) == ("RESOURCE_EXHAUSTED", "out_of_stock")
        unknown = pb.GetOrderRequest(order_id=str(new_id()))
        assert refused(stub, "GetOrder", unknown, ada.metadata) == NOT_FOUND
        early = requests_about(order)["ShipOrder"]
        service = bearer(token_for())
        assert refused(stub, "ShipOrder", early, service) == ("FAILED_PRECONDITION", "invalid_transition")
        models.Order.objects.update(change_began_at=timezone.now())
        assert refused(stub, "ChangeOrder", about["ChangeOrder"], ada.metadata) == ("ABORTED", "order_busy")
        models.Order.objects.update(change_began_at=None)
        about["PayOrder"].token = "tok_declined"
        declined = refusal(lambda: stub.PayOrder(about["PayOrder"], metadata=ada.metadata))
        assert code_of(declined) == ("FAILED_PRECONDITION", "payment_declined")
        about["PayOrder"].token = "tok_timeout"
        silent = refusal(lambda: stub.PayOrder(about["PayOrder"], metadata=ada.metadata))
        assert code_of(silent) == ("UNAVAILABLE", "payment_outcome_unknown")

    def test_a_deadline_that_passes_ends_the_wait_and_the_payment_is_found_out(
        self, stub: OrderServiceStub, order: Order, ada: Person
    ) -> None:
        may_go_on, has_ended = Event(), Event()

        def authorise(*_: object, **__: object) -> None:
            may_go_on.wait(10)
            has_ended.set()
            raise NoAnswer

        with patch.object(SandboxProvider, "authorise", authorise):
            late = refusal(lambda: stub.PayOrder(requests_about(order)["PayOrder"], metadata=ada.metadata, timeout=0.3))
            assert models.Payment.objects.get().status == "processing"
            may_go_on.set()
            assert has_ended.wait(10)
        assert late.code() is grpc.StatusCode.DEADLINE_EXCEEDED

    def test_a_list_in_pages(self, stub: OrderServiceStub, lamp: Product, ada: Person) -> None:
        mine = [str(place(ada.id, (lamp, 1)).id) for _ in range(3)]
        place(new_id(), (lamp, 1))
        first = stub.ListOrders(pb.ListOrdersRequest(page_size=2), metadata=ada.metadata)
        assert [order.id for order in first.orders] == [mine[2], mine[1]]
        rest = pb.ListOrdersRequest(page_size=2, page_token=first.next_page_token)
        last = stub.ListOrders(rest, metadata=ada.metadata)
        assert ([order.id for order in last.orders], last.next_page_token) == ([mine[0]], "")
        assert Decimal(last.orders[0].total) == Decimal("10.00")


class TestStreams:
    @pytest.fixture(autouse=True)
    def _free(self, orders: LocalOrderService) -> Iterator[None]:
        """In the end every place is free again."""
        yield
        wait_until(lambda: not orders._hub._watches)
        thread = orders._hub._thread
        if thread is not None:
            thread.join(10)

    def watch(self, stub: OrderServiceStub, order: Order, metadata: Metadata, after: int | None = None) -> Any:  # noqa: ANN401 - a call
        return stub.WatchOrder(pb.WatchOrderRequest(order_id=str(order.id), after=after), metadata=metadata, timeout=60)

    def test_changes_as_they_happen_until_the_end(self, stub: OrderServiceStub, order: Order, ada: Person) -> None:
        stream = self.watch(stub, order, ada.metadata)
        assert dict(stream.initial_metadata())["x-request-id"]
        assert next(stream).action == "place"
        pay(order)
        services.orders().cancel_order(order_id=order.id, actor=Actor(user_id=ada.id), reason="late")
        told = [(entry.sequence, entry.status, entry.action, entry.actor_id, entry.reason) for entry in stream]
        assert told == [(2, "paid", "pay", str(ada.id), ""), (3, "cancelled", "cancel", str(ada.id), "late")]
        assert stream.code() is grpc.StatusCode.OK

    def test_an_end_that_was_seen_ends_at_once(self, stub: OrderServiceStub, order: Order, ada: Person) -> None:
        services.orders().cancel_order(order_id=order.id, actor=Actor(user_id=ada.id))
        stream = self.watch(stub, order, ada.metadata, after=2)
        assert (list(stream), stream.code()) == ([], grpc.StatusCode.OK)
        assert "x-request-id" not in dict(stream.initial_metadata())

    def test_a_client_that_cancels_frees_its_place(
        self, stub: OrderServiceStub, orders: LocalOrderService, order: Order, ada: Person
    ) -> None:
        stream = self.watch(stub, order, ada.metadata, after=1)
        stream.initial_metadata()
        assert len(orders._hub._watches) == 1
        stream.cancel()
        wait_until(lambda: not orders._hub._watches)

    def test_a_log_out_ends_it_before_anything_more_is_told(
        self, stub: OrderServiceStub, order: Order, ada: Person
    ) -> None:
        stream = self.watch(stub, order, ada.metadata, after=1)
        stream.initial_metadata()
        (session,) = services.users().list_sessions(user_id=ada.id)
        services.users().log_out(user_id=ada.id, session_id=session.id)
        pay(order)
        assert refusal(lambda: next(stream)).code() is grpc.StatusCode.UNAUTHENTICATED

    def test_a_service_token_that_is_revoked_ends_it(self, stub: OrderServiceStub, order: Order) -> None:
        issued = service_tokens.issue(name="van", scopes=[Scope.ORDERS_READ], lifetime=timedelta(hours=1))
        stream = self.watch(stub, order, bearer(issued.text), after=1)
        stream.initial_metadata()
        service_tokens.revoke(issued.id)
        pay(order)
        ship(order)
        assert refusal(lambda: next(stream)).code() is grpc.StatusCode.UNAUTHENTICATED

    def test_a_deadline_ends_it(self, stub: OrderServiceStub, order: Order, ada: Person) -> None:
        request = pb.WatchOrderRequest(order_id=str(order.id), after=1)
        stream = stub.WatchOrder(request, metadata=ada.metadata, timeout=0.5)
        assert refusal(lambda: next(stream)).code() is grpc.StatusCode.DEADLINE_EXCEEDED


def wait_until(holds: Callable[[], bool]) -> None:
    """Look until it is so, ten seconds at most."""
    never = Event()
    for _ in range(200):
        if holds():
            return
        never.wait(0.05)
    raise AssertionError("It never was so.")
