"""What callers of `product.ProductService` may do and send, whatever client they have."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import cast
from uuid import uuid4

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import BadRequest
from grpc_status import rpc_status

from apps.common.errors import TooLarge
from apps.users.interface import Role, Scope
from config import services
from grpc_api.clients.breaker import FAILURES
from grpc_api.clients.products import RemoteProductService
from grpc_api.gen import product_pb2 as pb
from grpc_api.gen.product_pb2_grpc import ProductServiceStub
from grpc_api.servers.products import POLICY, hosted
from grpc_api.tests.running import bearer, channel_to, peer, person, refusal, serving, token_for
from tests.flow import everything_stored

pytestmark = pytest.mark.django_db(transaction=True)

_CATALOGUE_STAFF = {Role.CATALOG_STAFF, Role.ADMIN}
_ID = str(uuid4())


@pytest.fixture
def stub(transactional_db: None) -> Iterator[ProductServiceStub]:
    with serving(hosted(services.products())) as address, channel_to(address) as channel:
        yield ProductServiceStub(channel)


@pytest.fixture
def all_scopes(transactional_db: None) -> str:
    return token_for()


def token_of(role: Role) -> str:
    return person(role)[1]


def make(stub: ProductServiceStub, token: str, **fields: object) -> pb.Product:
    new = pb.NewProduct(**{"name": "Lamp", "price": "10.00", "stock": 5, **fields})  # type: ignore[arg-type]
    product: pb.Product = stub.CreateProduct(pb.CreateProductRequest(product=new), metadata=bearer(token))
    return product


def call(stub: ProductServiceStub, method: str, request: Message, token: str) -> Callable[[], object]:
    return lambda: getattr(stub, method)(request, metadata=bearer(token))


def outcome(error: grpc.RpcError) -> tuple[str, list[str | bytes], list[str]]:
    """The status code, the domain error's code, and the fields that it names."""
    ended = cast(grpc.Call, error)
    status, violations = rpc_status.from_call(ended), BadRequest()
    assert status is not None
    for packed in status.details:
        packed.Unpack(violations)
    codes = [value for key, value in ended.trailing_metadata() if key == "error-code"]
    return ended.code().name, codes, [each.field for each in violations.field_violations]


def empty_request(method: str) -> Message:
    described = pb.DESCRIPTOR.services_by_name["ProductService"].methods_by_name[method]
    request: Message = getattr(pb, described.input_type.name)()
    return request


class TestAccess:
    @pytest.mark.parametrize("method", POLICY)
    def test_without_a_token_nothing_is_answered(self, stub: ProductServiceStub, method: str) -> None:
        error = refusal(lambda: getattr(stub, method)(empty_request(method)))
        assert outcome(error)[:2] == ("UNAUTHENTICATED", ["not_authenticated"])

    @pytest.mark.parametrize("role", Role)
    def test_what_people_may_do(self, stub: ProductServiceStub, role: Role) -> None:
        token = token_of(role)
        for method, access in POLICY.items():
            reads = access.scope == Scope.PRODUCTS_READ
            is_staffs = method in {
                "CreateProduct", "UpdateProduct", "DeleteProduct", "AddImage", "ArrangeImages", "DescribeImage",
                "DeleteImage", "CreateCategory", "UpdateCategory", "DeleteCategory", "GetStock", "AdjustStock",
            }  # fmt: skip
            code = _code_of(call(stub, method, empty_request(method), token))
            assert (code == "PERMISSION_DENIED") is not (reads or (is_staffs and role in _CATALOGUE_STAFF)), method

    @pytest.mark.parametrize("scope", Scope)
    def test_what_other_systems_may_do(self, stub: ProductServiceStub, scope: Scope) -> None:
        token = token_for(scope)
        for method, access in POLICY.items():
            code = _code_of(call(stub, method, empty_request(method), token))
            assert (code == "PERMISSION_DENIED") is not (access.scope == scope), method

    def test_what_is_refused_changes_nothing(self, stub: ProductServiceStub, all_scopes: str) -> None:
        lamp = make(stub, all_scopes)
        tokens = [token_of(Role.USER), token_of(Role.ORDER_STAFF), token_for(Scope.PRODUCTS_READ)]
        before = everything_stored()
        requests: dict[str, Message] = {
            "CreateProduct": pb.CreateProductRequest(product=pb.NewProduct(name="Vase", price="1")),
            "UpdateProduct": pb.UpdateProductRequest(id=lamp.id, change=pb.ProductChange(name="Vase")),
            "DeleteProduct": pb.DeleteProductRequest(id=lamp.id),
            "CreateCategory": pb.CreateCategoryRequest(name="Lights"),
            "AdjustStock": pb.AdjustStockRequest(product_id=lamp.id, reason="x", delta=1),
            "ReserveStock": pb.ReserveStockRequest(
                order_id=_ID, lines=[pb.StockLine(product_id=lamp.id, quantity=1)], hold_for=Duration(seconds=60)
            ),
        }
        for token in tokens:
            for method, request in requests.items():
                assert outcome(refusal(call(stub, method, request, token)))[:2] == (
                    "PERMISSION_DENIED",
                    ["permission_denied"],
                )
        assert everything_stored() == before

    def test_only_catalogue_staff_and_other_systems_see_what_is_inactive(
        self, stub: ProductServiceStub, all_scopes: str
    ) -> None:
        shown, hidden = make(stub, all_scopes), make(stub, all_scopes, active=False, sku="H")
        everything = pb.ProductFilter(include_inactive=True, active=False)
        by_id = pb.GetProductRequest(id=hidden.id, include_inactive=True)
        by_sku = pb.GetProductBySkuRequest(sku="h", include_inactive=True)
        for token, is_seen in (
            (token_of(Role.USER), False),
            (token_of(Role.ORDER_STAFF), False),
            (token_of(Role.CATALOG_STAFF), True),
            (token_for(Scope.PRODUCTS_READ), True),
        ):
            metadata = bearer(token)
            listed = stub.ListProducts(pb.ListProductsRequest(filter=everything), metadata=metadata)
            found = stub.SearchProducts(pb.SearchProductsRequest(text="lamp", filter=everything), metadata=metadata)
            wanted = [hidden.id if is_seen else shown.id]
            assert [[each.id for each in page.products] for page in (listed, found)] == [wanted, wanted]
            for method, request in (("GetProduct", by_id), ("GetProductBySku", by_sku)):
                assert _code_of(call(stub, method, request, token)) == ("OK" if is_seen else "NOT_FOUND")

    def test_a_person_acts_as_themselves(self, stub: ProductServiceStub, all_scopes: str) -> None:
        lamp = make(stub, all_scopes, stock=0)
        staff_id, token = person(Role.CATALOG_STAFF)
        request = pb.AdjustStockRequest(product_id=lamp.id, reason="x", delta=1, actor_id=_ID)
        stub.AdjustStock(request, metadata=bearer(token))
        stub.AdjustStock(request, metadata=bearer(all_scopes))
        movements = [rows for (_, table), rows in everything_stored().items() if table == "products_stockmovement"]
        (ledger,) = movements
        named = ["".join(character for character in row if character.isalnum()) for row in ledger]
        assert sum(staff_id.hex in row for row in named) == 1
        assert sum(_ID.replace("-", "") in row for row in named) == 1


def _code_of(made: Callable[[], object]) -> str:
    try:
        made()
    except grpc.RpcError as error:
        return str(error.code().name)
    return "OK"


class TestInput:
    @pytest.mark.parametrize(
        ("request_message", "attr"),
        [
            (pb.GetProductRequest(id="7"), "id"),
            (pb.GetProductRequest(), "id"),
            (pb.GetProductsRequest(ids=[_ID, "x"]), "ids"),
            (pb.GetProductsRequest(ids=[_ID] * 101), "ids"),
            (pb.ListProductsRequest(ordering="colour"), "ordering"),
            (pb.ListProductsRequest(page=0), "page"),
            (pb.ListProductsRequest(page_size=-1), "page_size"),
            (pb.ListProductsRequest(filter=pb.ProductFilter(min_price="cheap")), "min_price"),
            (pb.ListProductsRequest(filter=pb.ProductFilter(max_price="NaN")), "max_price"),
            (pb.SearchProductsRequest(text="x\0"), "text"),
            (pb.SearchProductsRequest(text="x" * 201), "text"),
            (pb.CreateProductRequest(), "price"),
            (pb.CreateProductRequest(product=pb.NewProduct(name="x", price="Infinity")), "price"),
            (pb.CreateProductRequest(product=pb.NewProduct(name="x", price="1_000")), "price"),
            (
                pb.CreateProductRequest(
                    product=pb.NewProduct(name="x", price="1", attributes={"a\0": pb.AttributeValue(text="b")})
                ),
                "attributes",
            ),
            (
                pb.CreateProductRequest(
                    product=pb.NewProduct(name="x", price="1", attributes={"a": pb.AttributeValue(text="b\0")})
                ),
                "attributes",
            ),
            (pb.CreateProductRequest(product=pb.NewProduct(name="x", price="1", currency="XAU")), "currency"),
            (pb.CreateProductRequest(product=pb.NewProduct(name="x", price="1", stock=-1)), "stock"),
            (pb.CreateProductRequest(product=pb.NewProduct(name="x", price="1"), actor_id="me"), "actor_id"),
            (
                pb.CreateProductRequest(
                    product=pb.NewProduct(name="x", price="1", attributes={"a": pb.AttributeValue()})
                ),
                "attributes",
            ),
            (
                pb.CreateProductRequest(
                    product=pb.NewProduct(name="x", price="1", attributes={"a": pb.AttributeValue(integer=2**63 - 1)})
                ),
                "attributes",
            ),
            (pb.UpdateProductRequest(id="x"), "id"),
            (pb.DeleteProductRequest(id="x"), "id"),
            (pb.AddImageRequest(product_id="x"), "product_id"),
            (pb.ArrangeImagesRequest(product_id=_ID, places=[pb.ImagePlace(image_id="x")]), "image_id"),
            (pb.DescribeImageRequest(product_id=_ID, image_id="x"), "image_id"),
            (pb.DeleteImageRequest(product_id=_ID), "image_id"),
            (pb.GetCategoryRequest(id="x"), "id"),
            (pb.CreateCategoryRequest(name="x", parent_id="x"), "parent_id"),
            (pb.CreateCategoryRequest(), "name"),
            (pb.UpdateCategoryRequest(id="x"), "id"),
            (pb.DeleteCategoryRequest(id="x"), "id"),
            (pb.GetStockRequest(product_id="x"), "product_id"),
            (pb.AdjustStockRequest(product_id=_ID, reason="x"), ""),
            (pb.AdjustStockRequest(product_id=_ID, delta=1), "reason"),
            (pb.AdjustStockRequest(product_id=_ID, reason="x", delta=0), "delta"),
            (pb.ReserveStockRequest(order_id="x"), "order_id"),
            (pb.ReserveStockRequest(order_id=_ID), "hold_for"),
            (pb.ReserveStockRequest(order_id=_ID, hold_for=Duration(seconds=2**62)), "hold_for"),
            (pb.ReserveStockRequest(order_id=_ID, lines=[pb.StockLine(product_id="x", quantity=1)]), "product_id"),
            (pb.ReserveStockRequest(order_id=_ID, lines=[pb.StockLine(product_id=_ID)]), "quantity"),
            (
                pb.ReserveStockRequest(order_id=_ID, lines=[pb.StockLine(product_id=_ID, quantity=10**6 + 1)]),
                "quantity",
            ),
            (
                pb.ReserveStockRequest(
                    order_id=_ID, lines=[pb.StockLine(product_id=_ID, quantity=1)] * 1001, hold_for=Duration(seconds=1)
                ),
                "lines",
            ),
            (pb.ReplaceReservationRequest(order_id=_ID, lines=[pb.StockLine(product_id=_ID, quantity=1)] * 2), "lines"),
            (pb.ExtendReservationRequest(order_id=_ID, hold_for=Duration(seconds=-1)), "hold_for"),
            (pb.CommitReservationRequest(), "order_id"),
            (pb.ReleaseReservationRequest(order_id="x"), "order_id"),
            (pb.SettleReservationsRequest(commit=["x"]), "commit"),
            (pb.SettleReservationsRequest(release=[_ID] * 1001), "release"),
            (pb.SettleReservationsRequest(returns={"x": pb.StockReturns()}), "returns"),
            (
                pb.SettleReservationsRequest(returns={_ID: pb.StockReturns(values=[pb.StockReturn(return_id="x")])}),
                "return_id",
            ),
            (pb.ListReservationsRequest(order_ids=[_ID] * 1001), "order_ids"),
            (pb.ListActiveReservationsRequest(), "limit"),
            (pb.ListActiveReservationsRequest(limit=1001), "limit"),
            (pb.ListActiveReservationsRequest(limit=1, after="x"), "after"),
        ],
        ids=lambda each: type(each).__name__.removesuffix("Request") if isinstance(each, Message) else each,
    )
    def test_what_cannot_be_is_named(
        self, stub: ProductServiceStub, all_scopes: str, request_message: Message, attr: str
    ) -> None:
        before = everything_stored()
        method = type(request_message).__name__.removesuffix("Request")
        assert outcome(refusal(call(stub, method, request_message, all_scopes))) == (
            "INVALID_ARGUMENT",
            ["invalid"],
            [attr],
        )
        assert everything_stored() == before


def test_what_a_client_leaves_out_has_its_default(stub: ProductServiceStub, all_scopes: str) -> None:
    made = stub.CreateProduct(
        pb.CreateProductRequest(product=pb.NewProduct(name="Lamp", price="1")), metadata=bearer(all_scopes)
    )
    assert (made.active, made.currency, made.price, made.stock) == (True, "USD", "1.00", 0)
    assert not made.HasField("category")
    page = stub.ListProducts(pb.ListProductsRequest(), metadata=bearer(all_scopes))
    assert (list(page.products), page.count, page.HasField("next_page")) == ([made], 1, False)


class TestStatusCodes:
    def test_each_kind_of_refusal_has_its_own(self, stub: ProductServiceStub, all_scopes: str) -> None:
        lamp = make(stub, all_scopes, sku="L-1", stock=1)
        line = pb.StockLine(product_id=lamp.id, quantity=2)
        change = pb.ProductChange(name="Vase")
        requests: dict[str, tuple[Message, tuple[str, list[str], list[str]]]] = {
            "ReserveStock": (
                pb.ReserveStockRequest(order_id=_ID, lines=[line], hold_for=Duration(seconds=60)),
                ("RESOURCE_EXHAUSTED", ["out_of_stock"], [f"items.{lamp.id}"]),
            ),
            "GetProduct": (pb.GetProductRequest(id=_ID), ("NOT_FOUND", ["product_not_found"], [""])),
            "CreateProduct": (
                pb.CreateProductRequest(product=pb.NewProduct(name="Vase", price="1", sku="l-1")),
                ("ALREADY_EXISTS", ["sku_taken"], ["sku"]),
            ),
            "UpdateProduct": (
                pb.UpdateProductRequest(id=lamp.id, change=change, if_revision=7),
                ("ABORTED", ["precondition_failed"], [""]),
            ),
            "AdjustStock": (
                pb.AdjustStockRequest(product_id=lamp.id, reason="x", delta=-2),
                ("FAILED_PRECONDITION", ["stock_below_reserved"], [""]),
            ),
            "CommitReservation": (
                pb.CommitReservationRequest(order_id=_ID),
                ("NOT_FOUND", ["reservation_not_found"], [""]),
            ),
        }
        before = everything_stored()
        for method, (request, wanted) in requests.items():
            assert outcome(refusal(call(stub, method, request, all_scopes))) == wanted
        assert everything_stored() == before


def test_what_is_too_large_is_not_sent_and_says_nothing_against_the_service(transactional_db: None) -> None:
    with serving(hosted(services.products())) as address:
        products = RemoteProductService(replace(peer("products", address), message_bytes=10_000))
        for _ in range(FAILURES):
            with pytest.raises(TooLarge) as refused:
                products.add_image(product_id=uuid4(), content=b"x" * 10_000)
        assert str(refused.value) == "A request to the products service has at most 10000 bytes."
        assert products.list_products().count == 0
