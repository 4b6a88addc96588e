"""`product.ProductService`: a message in, one call of the interface, a message out."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from uuid import UUID

import grpc
from google.protobuf.empty_pb2 import Empty

from apps.common.paging import PAGE_SIZE
from apps.products.interface import (
    ImagePlace,
    NewProduct,
    Ordering,
    ProductChange,
    ProductFilter,
    ProductService,
    StockLine,
    StockReturn,
)
from apps.users.interface import Role, Scope
from grpc_api import attributes
from grpc_api.batches import MAX_ORDERS, MAX_PRODUCTS
from grpc_api.convert import (
    from_message,
    from_messages,
    read_choice,
    read_id,
    read_ids,
    read_optional_id,
    read_span,
    to_message,
    to_messages,
)
from grpc_api.gen import product_pb2 as pb
from grpc_api.gen.product_pb2_grpc import ProductServiceServicer, add_ProductServiceServicer_to_server
from grpc_api.servers import calls
from grpc_api.servers.bounds import Bounds, count, number
from grpc_api.servers.interceptors import EVERYONE, Access, Policy
from grpc_api.servers.server import Hosted

SERVICE = "product.ProductService"

_STAFF = frozenset({Role.CATALOG_STAFF, Role.ADMIN})
_READ = Access(Scope.PRODUCTS_READ, EVERYONE)
_WRITE = Access(Scope.PRODUCTS_WRITE, _STAFF)
_STOCK = Access(Scope.STOCK_WRITE, _STAFF)
_RESERVE = Access(Scope.STOCK_WRITE)
_KEEP_HOUSE = Access(Scope.PRODUCTS_WRITE)

POLICY: Policy = {
    "GetProduct": _READ,
    "GetProductBySku": _READ,
    "GetProducts": _READ,
    "ListProducts": _READ,
    "SearchProducts": _READ,
    "CreateProduct": _WRITE,
    "UpdateProduct": _WRITE,
    "DeleteProduct": _WRITE,
    "AnnounceProducts": _KEEP_HOUSE,
    "AddImage": _WRITE,
    "ArrangeImages": _WRITE,
    "DescribeImage": _WRITE,
    "DeleteImage": _WRITE,
    "CleanImages": _KEEP_HOUSE,
    "GetCategory": _READ,
    "CreateCategory": _WRITE,
    "UpdateCategory": _WRITE,
    "DeleteCategory": _WRITE,
    "GetStock": _STOCK,
    "AdjustStock": _STOCK,
    "ReserveStock": _RESERVE,
    "ReplaceReservation": _RESERVE,
    "ExtendReservation": _RESERVE,
    "CommitReservation": _RESERVE,
    "ReleaseReservation": _RESERVE,
    "SettleReservations": _RESERVE,
    "ReleaseExpiredReservations": _RESERVE,
    "ListReservations": _RESERVE,
    "ListActiveReservations": _RESERVE,
}

attributes.register()

_ORDERS = count(0, MAX_ORDERS)

# What the service itself knows no end of.
BOUNDS: Bounds = {
    "product.GetProductsRequest": {"ids": count(0, MAX_PRODUCTS)},
    "product.SettleReservationsRequest": {"commit": _ORDERS, "release": _ORDERS, "returns": _ORDERS},
    "product.ListReservationsRequest": {"order_ids": _ORDERS},
    "product.ListActiveReservationsRequest": {"limit": number(1, MAX_ORDERS)},
}


class ProductServicer(ProductServiceServicer):
    def __init__(self, products: ProductService) -> None:
        self._products = products

    # --- Products ----------------------------------------------------------------------------

    def GetProduct(self, request: pb.GetProductRequest, context: grpc.ServicerContext) -> pb.Product:
        product = self._products.get_product(
            product_id=read_id(request.id), include_inactive=request.include_inactive and _sees_inactive()
        )
        return to_message(pb.Product, product)

    def GetProductBySku(self, request: pb.GetProductBySkuRequest, context: grpc.ServicerContext) -> pb.Product:
        product = self._products.get_product_by_sku(
            sku=request.sku, include_inactive=request.include_inactive and _sees_inactive()
        )
        return to_message(pb.Product, product)

    def GetProducts(self, request: pb.GetProductsRequest, context: grpc.ServicerContext) -> pb.GetProductsResponse:
        products = self._products.get_products(product_ids=read_ids(request.ids, "ids"))
        return pb.GetProductsResponse(products=to_messages(pb.Product, products))

    def ListProducts(self, request: pb.ListProductsRequest, context: grpc.ServicerContext) -> pb.ListProductsResponse:
        page = self._products.list_products(
            narrowed=_filter(request.filter),
            ordering=_ordering(request) or Ordering.NEWEST,
            page=request.page if request.HasField("page") else 1,
            page_size=request.page_size if request.HasField("page_size") else PAGE_SIZE,
        )
        return to_message(pb.ListProductsResponse, page)

    def SearchProducts(
        self, request: pb.SearchProductsRequest, context: grpc.ServicerContext
    ) -> pb.SearchProductsResponse:
        page = self._products.search_products(
            text=request.text,
            narrowed=_filter(request.filter),
            ordering=_ordering(request),
            page=request.page if request.HasField("page") else 1,
            page_size=request.page_size if request.HasField("page_size") else PAGE_SIZE,
        )
        return to_message(pb.SearchProductsResponse, page)

    def CreateProduct(self, request: pb.CreateProductRequest, context: grpc.ServicerContext) -> pb.Product:
        product = self._products.create_product(
            new=from_message(NewProduct, request.product), actor_id=_actor_id(request)
        )
        return to_message(pb.Product, product)

    def UpdateProduct(self, request: pb.UpdateProductRequest, context: grpc.ServicerContext) -> pb.Product:
        product = self._products.update_product(
            product_id=read_id(request.id),
            change=from_message(ProductChange, request.change),
            if_revision=request.if_revision if request.HasField("if_revision") else None,
        )
        return to_message(pb.Product, product)

    def DeleteProduct(self, request: pb.DeleteProductRequest, context: grpc.ServicerContext) -> Empty:
        self._products.delete_product(
            product_id=read_id(request.id),
            if_revision=request.if_revision if request.HasField("if_revision") else None,
        )
        return Empty()

    def AnnounceProducts(
        self, request: pb.AnnounceProductsRequest, context: grpc.ServicerContext
    ) -> pb.AnnounceProductsResponse:
        return pb.AnnounceProductsResponse(count=self._products.announce_products())

    # --- Pictures ----------------------------------------------------------------------------

    def AddImage(self, request: pb.AddImageRequest, context: grpc.ServicerContext) -> pb.Image:
        image = self._products.add_image(
            product_id=read_id(request.product_id, "product_id"), content=request.content, alt=request.alt
        )
        return to_message(pb.Image, image)

    def ArrangeImages(
        self, request: pb.ArrangeImagesRequest, context: grpc.ServicerContext
    ) -> pb.ArrangeImagesResponse:
        images = self._products.arrange_images(
            product_id=read_id(request.product_id, "product_id"),
            places=from_messages(ImagePlace, request.places),
        )
        return pb.ArrangeImagesResponse(images=to_messages(pb.Image, images))

    def DescribeImage(self, request: pb.DescribeImageRequest, context: grpc.ServicerContext) -> pb.Image:
        image = self._products.describe_image(
            product_id=read_id(request.product_id, "product_id"),
            image_id=read_id(request.image_id, "image_id"),
            alt=request.alt,
        )
        return to_message(pb.Image, image)

    def DeleteImage(self, request: pb.DeleteImageRequest, context: grpc.ServicerContext) -> Empty:
        self._products.delete_image(
            product_id=read_id(request.product_id, "product_id"), image_id=read_id(request.image_id, "image_id")
        )
        return Empty()

    def CleanImages(self, request: pb.CleanImagesRequest, context: grpc.ServicerContext) -> pb.CleanImagesResponse:
        return pb.CleanImagesResponse(count=self._products.clean_images())

    # --- Categories --------------------------------------------------------------------------

    def GetCategory(self, request: pb.GetCategoryRequest, context: grpc.ServicerContext) -> pb.Category:
        return to_message(pb.Category, self._products.get_category(category_id=read_id(request.id)))

    def CreateCategory(self, request: pb.CreateCategoryRequest, context: grpc.ServicerContext) -> pb.Category:
        category = self._products.create_category(
            name=request.name,
            slug=request.slug if request.HasField("slug") else None,
            parent_id=read_optional_id(request, "parent_id"),
        )
        return to_message(pb.Category, category)

    def UpdateCategory(self, request: pb.UpdateCategoryRequest, context: grpc.ServicerContext) -> pb.Category:
        category = self._products.update_category(
            category_id=read_id(request.id),
            name=request.name if request.HasField("name") else None,
            slug=request.slug if request.HasField("slug") else None,
            move=request.move,
            parent_id=read_optional_id(request, "parent_id"),
        )
        return to_message(pb.Category, category)

    def DeleteCategory(self, request: pb.DeleteCategoryRequest, context: grpc.ServicerContext) -> Empty:
        self._products.delete_category(category_id=read_id(request.id))
        return Empty()

    # --- Inventory ---------------------------------------------------------------------------

    def GetStock(self, request: pb.GetStockRequest, context: grpc.ServicerContext) -> pb.StockLevel:
        level = self._products.get_stock(product_id=read_id(request.product_id, "product_id"))
        return to_message(pb.StockLevel, level)

    def AdjustStock(self, request: pb.AdjustStockRequest, context: grpc.ServicerContext) -> pb.StockLevel:
        level = self._products.adjust_stock(
            product_id=read_id(request.product_id, "product_id"),
            reason=request.reason,
            actor_id=_actor_id(request),
            delta=request.delta if request.HasField("delta") else None,
            on_hand=request.on_hand if request.HasField("on_hand") else None,
        )
        return to_message(pb.StockLevel, level)

    def ReserveStock(self, request: pb.ReserveStockRequest, context: grpc.ServicerContext) -> pb.ReserveStockResponse:
        priced = self._products.reserve_stock(
            order_id=_order_id(request.order_id),
            lines=_lines(request.lines),
            hold_for=read_span(request.hold_for, "hold_for"),
        )
        return pb.ReserveStockResponse(lines=to_messages(pb.PricedLine, priced))

    def ReplaceReservation(
        self, request: pb.ReplaceReservationRequest, context: grpc.ServicerContext
    ) -> pb.ReplaceReservationResponse:
        priced = self._products.replace_reservation(
            order_id=_order_id(request.order_id), change=request.change, lines=_lines(request.lines)
        )
        return pb.ReplaceReservationResponse(lines=to_messages(pb.PricedLine, priced))

    def ExtendReservation(self, request: pb.ExtendReservationRequest, context: grpc.ServicerContext) -> Empty:
        self._products.extend_reservation(
            order_id=_order_id(request.order_id), hold_for=read_span(request.hold_for, "hold_for")
        )
        return Empty()

    def CommitReservation(self, request: pb.CommitReservationRequest, context: grpc.ServicerContext) -> Empty:
        self._products.commit_reservation(order_id=_order_id(request.order_id))
        return Empty()

    def ReleaseReservation(self, request: pb.ReleaseReservationRequest, context: grpc.ServicerContext) -> Empty:
        self._products.release_reservation(order_id=_order_id(request.order_id))
        return Empty()

    def SettleReservations(self, request: pb.SettleReservationsRequest, context: grpc.ServicerContext) -> Empty:
        self._products.settle_reservations(
            commit=read_ids(request.commit, "commit"),
            release=read_ids(request.release, "release"),
            returns={
                read_id(order_id, "returns"): from_messages(StockReturn, returns.values)
                for order_id, returns in request.returns.items()
            },
        )
        return Empty()

    def ReleaseExpiredReservations(
        self, request: pb.ReleaseExpiredReservationsRequest, context: grpc.ServicerContext
    ) -> pb.ReleaseExpiredReservationsResponse:
        return pb.ReleaseExpiredReservationsResponse(count=self._products.release_expired_reservations())

    def ListReservations(
        self, request: pb.ListReservationsRequest, context: grpc.ServicerContext
    ) -> pb.ListReservationsResponse:
        found = self._products.list_reservations(order_ids=read_ids(request.order_ids, "order_ids"))
        return pb.ListReservationsResponse(reservations=to_messages(pb.Reservation, found))

    def ListActiveReservations(
        self, request: pb.ListActiveReservationsRequest, context: grpc.ServicerContext
    ) -> pb.ListActiveReservationsResponse:
        found = self._products.list_active_reservations(after=read_optional_id(request, "after"), limit=request.limit)
        return pb.ListActiveReservationsResponse(reservations=to_messages(pb.Reservation, found))


def _sees_inactive() -> bool:
    person = calls.person()
    return person is None or person.role in _STAFF


def _actor_id(request: pb.CreateProductRequest | pb.AdjustStockRequest) -> UUID | None:
    """Whose doing it is: a person's own, or that of whom another system names."""
    person = calls.person()
    return person.id if person else read_optional_id(request, "actor_id")


def _order_id(text: str) -> UUID:
    return read_id(text, "order_id")


def _lines(messages: Iterable[pb.StockLine]) -> Sequence[StockLine]:
    return from_messages(StockLine, messages)


def _filter(message: pb.ProductFilter) -> ProductFilter:
    narrowed = from_message(ProductFilter, message)
    return narrowed if _sees_inactive() else replace(narrowed, include_inactive=False)


def _ordering(request: pb.ListProductsRequest | pb.SearchProductsRequest) -> Ordering | None:
    return read_choice(Ordering, request.ordering, "ordering") if request.HasField("ordering") else None


def hosted(products: ProductService) -> Hosted:
    """The service, for a server."""
    servicer = ProductServicer(products)
    return Hosted(SERVICE, POLICY, lambda server: add_ProductServiceServicer_to_server(servicer, server), BOUNDS)
