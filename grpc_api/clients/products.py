"""The products service, elsewhere."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from types import MappingProxyType
from uuid import UUID

from django.conf import settings

from apps.common.errors import InvalidInput, Problem
from apps.common.paging import PAGE_SIZE
from apps.products import interface
from apps.products.interface import (
    EVERYTHING,
    Category,
    Image,
    ImagePlace,
    NewProduct,
    Ordering,
    PictureTooLarge,
    PricedLine,
    Product,
    ProductChange,
    ProductFilter,
    ProductPage,
    ProductService,
    Reservation,
    SearchPage,
    StockLevel,
    StockLine,
    StockReturn,
)
from grpc_api import attributes
from grpc_api.batches import MAX_PRODUCTS
from grpc_api.clients.remote import Peer, Remote
from grpc_api.convert import from_message, from_messages, to_duration, to_message, to_messages
from grpc_api.errors import registry
from grpc_api.gen import product_pb2 as pb
from grpc_api.gen.product_pb2_grpc import ProductServiceStub

_REPEATABLE = (
    "GetProduct",
    "GetProductBySku",
    "GetProducts",
    "ListProducts",
    "SearchProducts",
    "GetCategory",
    "GetStock",
    "ReserveStock",
    "ReplaceReservation",
    "ExtendReservation",
    "CommitReservation",
    "ReleaseReservation",
    "SettleReservations",
    "ListReservations",
    "ListActiveReservations",
)
# Seconds that pictures take to be sent and drawn, that a batch of housekeeping takes, and looking through all files.
_DRAWING, _KEEPING_HOUSE, _CLEANING = 60.0, 60.0, 600.0

attributes.register()


class RemoteProductService(ProductService):
    """Speaks to the products service over gRPC."""

    def __init__(self, peer: Peer) -> None:
        self._remote = Remote(peer, ProductServiceStub, "product.ProductService", registry(interface), _REPEATABLE)

    # --- Products ----------------------------------------------------------------------------

    def create_product(self, *, new: NewProduct, actor_id: UUID | None = None) -> Product:
        request = pb.CreateProductRequest(product=to_message(pb.NewProduct, new), actor_id=_text(actor_id))
        return from_message(Product, self._remote.call("CreateProduct", request))

    def update_product(self, *, product_id: UUID, change: ProductChange, if_revision: int | None = None) -> Product:
        request = pb.UpdateProductRequest(
            id=str(product_id), change=to_message(pb.ProductChange, change), if_revision=if_revision
        )
        return from_message(Product, self._remote.call("UpdateProduct", request))

    def delete_product(self, *, product_id: UUID, if_revision: int | None = None) -> None:
        self._remote.call("DeleteProduct", pb.DeleteProductRequest(id=str(product_id), if_revision=if_revision))

    def announce_products(self) -> int:
        answer = self._remote.call("AnnounceProducts", pb.AnnounceProductsRequest(), deadline=_KEEPING_HOUSE)
        return int(answer.count)

    def get_product(self, *, product_id: UUID, include_inactive: bool = False) -> Product:
        request = pb.GetProductRequest(id=str(product_id), include_inactive=include_inactive)
        return from_message(Product, self._remote.call("GetProduct", request))

    def get_product_by_sku(self, *, sku: str, include_inactive: bool = False) -> Product:
        request = pb.GetProductBySkuRequest(sku=sku, include_inactive=include_inactive)
        return from_message(Product, self._remote.call("GetProductBySku", request))

    def list_products(
        self,
        *,
        narrowed: ProductFilter = EVERYTHING,
        ordering: Ordering = Ordering.NEWEST,
        page: int = 1,
        page_size: int = PAGE_SIZE,
    ) -> ProductPage:
        request = pb.ListProductsRequest(
            filter=to_message(pb.ProductFilter, narrowed), ordering=ordering, page=page, page_size=page_size
        )
        return from_message(ProductPage, self._remote.call("ListProducts", request))

    def search_products(
        self,
        *,
        text: str,
        narrowed: ProductFilter = EVERYTHING,
        ordering: Ordering | None = None,
        page: int = 1,
        page_size: int = PAGE_SIZE,
    ) -> SearchPage:
        request = pb.SearchProductsRequest(
            text=text,
            filter=to_message(pb.ProductFilter, narrowed),
            ordering=ordering,
            page=page,
            page_size=page_size,
        )
        return from_message(SearchPage, self._remote.call("SearchProducts", request))

    def get_products(self, *, product_ids: Sequence[UUID]) -> Sequence[Product]:
        found: list[Product] = []
        for start in range(0, len(product_ids), MAX_PRODUCTS):
            ids = map(str, product_ids[start : start + MAX_PRODUCTS])
            answer = self._remote.call("GetProducts", pb.GetProductsRequest(ids=ids))
            found += from_messages(Product, answer.products)
        return found

    # --- Pictures ----------------------------------------------------------------------------

    def add_image(self, *, product_id: UUID, content: bytes, alt: str = "") -> Image:
        if len(content) > settings.MAX_UPLOAD_BYTES:
            # As the service says, which need not be sent all of it for that.
            raise PictureTooLarge(Problem(f"A picture has at most {settings.MAX_UPLOAD_BYTES} bytes.", attr="image"))
        request = pb.AddImageRequest(product_id=str(product_id), content=content, alt=alt)
        return from_message(Image, self._remote.call("AddImage", request, deadline=_DRAWING))

    def arrange_images(self, *, product_id: UUID, places: Sequence[ImagePlace]) -> Sequence[Image]:
        request = pb.ArrangeImagesRequest(product_id=str(product_id), places=to_messages(pb.ImagePlace, places))
        return from_messages(Image, self._remote.call("ArrangeImages", request).images)

    def describe_image(self, *, product_id: UUID, image_id: UUID, alt: str) -> Image:
        request = pb.DescribeImageRequest(product_id=str(product_id), image_id=str(image_id), alt=alt)
        return from_message(Image, self._remote.call("DescribeImage", request))

    def delete_image(self, *, product_id: UUID, image_id: UUID) -> None:
        self._remote.call("DeleteImage", pb.DeleteImageRequest(product_id=str(product_id), image_id=str(image_id)))

    def clean_images(self) -> int:
        answer = self._remote.call("CleanImages", pb.CleanImagesRequest(), deadline=_CLEANING)
        return int(answer.count)

    # --- Categories --------------------------------------------------------------------------

    def get_category(self, *, category_id: UUID) -> Category:
        return from_message(Category, self._remote.call("GetCategory", pb.GetCategoryRequest(id=str(category_id))))

    def create_category(self, *, name: str, slug: str | None = None, parent_id: UUID | None = None) -> Category:
        request = pb.CreateCategoryRequest(name=name, slug=slug, parent_id=_text(parent_id))
        return from_message(Category, self._remote.call("CreateCategory", request))

    def update_category(
        self,
        *,
        category_id: UUID,
        name: str | None = None,
        slug: str | None = None,
        move: bool = False,
        parent_id: UUID | None = None,
    ) -> Category:
        request = pb.UpdateCategoryRequest(
            id=str(category_id), name=name, slug=slug, move=move, parent_id=_text(parent_id)
        )
        return from_message(Category, self._remote.call("UpdateCategory", request))

    def delete_category(self, *, category_id: UUID) -> None:
        self._remote.call("DeleteCategory", pb.DeleteCategoryRequest(id=str(category_id)))

    # --- Inventory ---------------------------------------------------------------------------

    def get_stock(self, *, product_id: UUID) -> StockLevel:
        return from_message(StockLevel, self._remote.call("GetStock", pb.GetStockRequest(product_id=str(product_id))))

    def adjust_stock(
        self,
        *,
        product_id: UUID,
        reason: str,
        actor_id: UUID | None = None,
        delta: int | None = None,
        on_hand: int | None = None,
    ) -> StockLevel:
        request = pb.AdjustStockRequest(product_id=str(product_id), reason=reason, actor_id=_text(actor_id))
        if delta is not None and on_hand is not None:
            raise InvalidInput("Give either delta or on_hand.")  # a message holds one of them
        if delta is not None:
            request.delta = delta
        if on_hand is not None:
            request.on_hand = on_hand
        return from_message(StockLevel, self._remote.call("AdjustStock", request))

    def reserve_stock(self, *, order_id: UUID, lines: Sequence[StockLine], hold_for: timedelta) -> Sequence[PricedLine]:
        request = pb.ReserveStockRequest(
            order_id=str(order_id), lines=to_messages(pb.StockLine, lines), hold_for=to_duration(hold_for)
        )
        return _priced(self._remote.call("ReserveStock", request))

    def replace_reservation(self, *, order_id: UUID, change: int, lines: Sequence[StockLine]) -> Sequence[PricedLine]:
        request = pb.ReplaceReservationRequest(
            order_id=str(order_id), change=change, lines=to_messages(pb.StockLine, lines)
        )
        return _priced(self._remote.call("ReplaceReservation", request))

    def extend_reservation(self, *, order_id: UUID, hold_for: timedelta) -> None:
        request = pb.ExtendReservationRequest(order_id=str(order_id), hold_for=to_duration(hold_for))
        self._remote.call("ExtendReservation", request)

    def commit_reservation(self, *, order_id: UUID) -> None:
        self._remote.call("CommitReservation", pb.CommitReservationRequest(order_id=str(order_id)))

    def release_reservation(self, *, order_id: UUID) -> None:
        self._remote.call("ReleaseReservation", pb.ReleaseReservationRequest(order_id=str(order_id)))

    def settle_reservations(
        self,
        *,
        commit: Sequence[UUID] = (),
        release: Sequence[UUID] = (),
        returns: Mapping[UUID, Sequence[StockReturn]] = MappingProxyType({}),
    ) -> None:
        request = pb.SettleReservationsRequest(
            commit=map(str, commit),
            release=map(str, release),
            returns={str(order_id): to_message(pb.StockReturns, each) for order_id, each in returns.items()},
        )
        self._remote.call("SettleReservations", request)

    def release_expired_reservations(self) -> int:
        request = pb.ReleaseExpiredReservationsRequest()
        answer = self._remote.call("ReleaseExpiredReservations", request, deadline=_KEEPING_HOUSE)
        return int(answer.count)

    def list_reservations(self, *, order_ids: Sequence[UUID]) -> Sequence[Reservation]:
        answer = self._remote.call("ListReservations", pb.ListReservationsRequest(order_ids=map(str, order_ids)))
        return from_messages(Reservation, answer.reservations)

    def list_active_reservations(self, *, after: UUID | None, limit: int) -> Sequence[Reservation]:
        request = pb.ListActiveReservationsRequest(after=_text(after), limit=limit)
        answer = self._remote.call("ListActiveReservations", request)
        return from_messages(Reservation, answer.reservations)


def _text(key: UUID | None) -> str | None:
    return str(key) if key else None


def _priced(answer: pb.ReserveStockResponse | pb.ReplaceReservationResponse) -> Sequence[PricedLine]:
    return from_messages(PricedLine, answer.lines)
