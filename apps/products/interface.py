"""The products service: catalogue and inventory, as other code sees it."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from types import MappingProxyType
from uuid import UUID

from apps.common.errors import (
    AlreadyExists,
    Conflict,
    Exhausted,
    InvalidInput,
    NotFound,
    Problem,
    StaleVersion,
    Unavailable,
)
from apps.common.paging import PAGE_SIZE

# Of one order, and so of its reservation: how many lines, and how many units of each.
MAX_LINES = 1000
MAX_QUANTITY = 1_000_000
# Free attributes of a product, such as {"colour": "red", "watts": 60}.
AttributeValue = str | int | float | bool | None
Attributes = Mapping[str, AttributeValue]


@dataclass(frozen=True)
class Thumbnails:
    """The picture in WebP, at most 160, 480 and 1200 pixels on its longer side; never enlarged."""

    small: str
    medium: str
    large: str


@dataclass(frozen=True)
class Image:
    """A picture of a product. Its files never change, so that copies of them may be kept for ever; their addresses are
    below those of the media.
    """

    id: UUID
    url: str
    alt: str
    width: int
    height: int
    thumbnails: Thumbnails


@dataclass(frozen=True)
class ImagePlace:
    """Which picture comes next, and what is said of it; None leaves that as it is."""

    image_id: UUID
    alt: str | None = None


@dataclass(frozen=True)
class Category:
    """A node of the category tree."""

    id: UUID
    name: str
    slug: str
    parent_id: UUID | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True)
class Product:
    """What is for sale. `stock` is what can be sold now: on hand less reserved. Variants share a `group`."""

    id: UUID
    name: str
    description: str
    price: Decimal
    currency: str
    category: str | None
    category_id: UUID | None
    group: str
    stock: int
    sku: str
    images: Sequence[Image]
    tags: Sequence[str]
    attributes: Attributes
    active: bool
    created_at: datetime
    updated_at: datetime
    revision: int

    @property
    def etag(self) -> str:
        """The version of the whole representation, stock included (RFC 9110, section 8.8.3)."""
        return etag_of(self.revision, self.stock)


def etag_of(revision: int, stock: int) -> str:
    """The entity tag of a product at that revision, with that stock."""
    return f'"{revision}-{stock}"'


@dataclass(frozen=True)
class ProductFilter:
    """What a list is narrowed to; None does not narrow. `category` is an id, a slug or a name, with all below it.

    Only with `include_inactive` does `active` say anything: which of the two, or both.
    """

    category: str | None = None
    min_price: Decimal | None = None
    max_price: Decimal | None = None
    tag: str | None = None
    in_stock: bool | None = None
    group: str | None = None
    # Name → values of which one must fit, all as texts.
    attributes: Mapping[str, Sequence[str]] = field(default_factory=dict)
    include_inactive: bool = False
    active: bool | None = None


class Ordering(StrEnum):
    """What a list is ordered by; with a minus, the largest or latest comes first."""

    PRICE = "price"
    PRICE_DESCENDING = "-price"
    NAME = "name"
    NAME_DESCENDING = "-name"
    OLDEST = "created_at"
    NEWEST = "-created_at"


EVERYTHING = ProductFilter()


@dataclass(frozen=True)
class CategoryCount:
    id: UUID
    name: str
    slug: str
    count: int


@dataclass(frozen=True)
class TagCount:
    tag: str
    count: int


@dataclass(frozen=True)
class PriceBand:
    """Products that cost at least `min` and less than `max`."""

    min: Decimal
    max: Decimal | None
    count: int


@dataclass(frozen=True)
class Facets:
    """How many products of a search are in each category, have each tag, and cost how much; the most frequent ones."""

    categories: Sequence[CategoryCount]
    tags: Sequence[TagCount]
    price_bands: Sequence[PriceBand]


@dataclass(frozen=True)
class ProductPage:
    """Some of the products that were asked for. `count` is that of all; after the last page there is no next."""

    products: Sequence[Product]
    count: int
    next_page: int | None


@dataclass(frozen=True)
class SearchPage(ProductPage):
    """Some of what a search has found. The facets count all of it."""

    facets: Facets


@dataclass(frozen=True)
class NewProduct:
    """A product to be made. `category` is an id, a slug or a name; an unknown name is created."""

    name: str
    price: Decimal
    description: str = ""
    currency: str | None = None
    category: str | None = None
    stock: int = 0
    sku: str | None = None
    tags: Sequence[str] = ()
    attributes: Attributes = field(default_factory=dict)
    group: str = ""
    active: bool = True

    def __post_init__(self) -> None:
        if self.stock < 0:
            raise InvalidInput(Problem(f"{self.stock} units cannot be in stock.", attr="stock"))


@dataclass(frozen=True)
class ProductChange:
    """Changes to a product; None leaves a field as it is. An empty `category` takes the product out of its category."""

    name: str | None = None
    price: Decimal | None = None
    description: str | None = None
    currency: str | None = None
    category: str | None = None
    sku: str | None = None
    tags: Sequence[str] | None = None
    attributes: Attributes | None = None
    group: str | None = None
    active: bool | None = None


@dataclass(frozen=True)
class StockLine:
    """So many units of a product: at least one, and at most `MAX_QUANTITY`."""

    product_id: UUID
    quantity: int

    def __post_init__(self) -> None:
        if not 1 <= self.quantity <= MAX_QUANTITY:
            raise InvalidInput(Problem(f"{self.quantity} units cannot be ordered.", attr="quantity"))


@dataclass(frozen=True)
class StockReturn:
    """Units of an order that come back, once for each `return_id`."""

    return_id: UUID
    lines: Sequence[StockLine]


@dataclass(frozen=True)
class PricedLine:
    """A reserved line with what an order must remember of its product."""

    product_id: UUID
    quantity: int
    name: str
    sku: str
    price: Decimal
    currency: str


@dataclass(frozen=True)
class StockLevel:
    """What is in the warehouse, what of it is promised to orders, and what can be sold."""

    product_id: UUID
    on_hand: int
    reserved: int

    @property
    def available(self) -> int:
        return self.on_hand - self.reserved


class MovementKind(StrEnum):
    """Why units came or went."""

    ADJUSTMENT = "adjustment"
    SALE = "sale"
    RETURN = "return"


@dataclass(frozen=True)
class StockMovement:
    """A line of the ledger. On hand is the sum of its deltas."""

    id: UUID
    product_id: UUID
    delta: int
    kind: MovementKind
    reason: str
    order_id: UUID | None
    actor_id: UUID | None
    created_at: datetime


class ReservationState(StrEnum):
    """`active` holds stock, `committed` has deducted it, `released` has given it back."""

    ACTIVE = "active"
    COMMITTED = "committed"
    RELEASED = "released"


@dataclass(frozen=True)
class Reservation:
    """What is held for an order."""

    order_id: UUID
    state: ReservationState
    lines: Sequence[StockLine]
    expires_at: datetime
    returned: Sequence[StockLine] = ()


class ProductNotFound(NotFound):
    """Unknown, or no longer sold. Names each."""

    code = "product_not_found"


class CategoryNotFound(NotFound):
    code = "category_not_found"


class AmbiguousCategory(InvalidInput):
    """Several categories have that name."""

    code = "ambiguous_category"


class CategoryCycle(Conflict):
    """A category cannot be below itself."""

    code = "category_cycle"


class CategoryTooDeep(Conflict):
    code = "category_too_deep"


class CategoryExists(AlreadyExists):
    """Its parent has a category of that name, or another category has that slug."""

    code = "category_exists"


class CategoryInUse(Conflict):
    """It still has products or categories below it."""

    code = "category_in_use"


class InvalidPrice(InvalidInput):
    """The price is negative, or has more places than its currency."""

    code = "invalid_price"


class NotAPicture(InvalidInput):
    """It is no picture of a kind that we take, whatever it is called, or it is damaged."""

    code = "not_a_picture"


class PictureTooLarge(InvalidInput):
    """It has too many bytes or too many pixels."""

    code = "picture_too_large"


class PictureNotFound(NotFound):
    """The product has no such picture."""

    code = "picture_not_found"


class TooManyPictures(Conflict):
    code = "too_many_pictures"


class InvalidArrangement(InvalidInput):
    """An arrangement names each of the product's pictures once."""

    code = "invalid_arrangement"


class StorageUnavailable(Unavailable):
    """Where pictures are kept did not answer, or has no room."""

    code = "storage_unavailable"


class SkuTaken(AlreadyExists):
    code = "sku_taken"


class StaleProduct(StaleVersion):
    """The product has changed since the caller read it."""


class OutOfStock(Exhausted):
    """Names each line that is short, with what is available."""

    code = "out_of_stock"


class StockBelowReserved(Conflict):
    """Units that are promised to orders cannot be taken away."""

    code = "stock_below_reserved"


class StockLimit(Conflict):
    """No warehouse is that large."""

    code = "stock_limit"


class ReservationNotFound(NotFound):
    code = "reservation_not_found"


class ChangeOvertaken(Conflict):
    """The order's lines have been changed again, or the change was refused before."""

    code = "change_overtaken"


class ReservationClosed(Conflict):
    """The reservation was committed or released and cannot change."""

    code = "reservation_closed"


class ProductService(ABC):
    """Catalogue and inventory."""

    @abstractmethod
    def create_product(self, *, new: NewProduct, actor_id: UUID | None = None) -> Product:
        """Add a product with its first stock; publishes `product.created`. A SKU is made when absent.

        Raises:
            InvalidInput: a field is not what products have. Names each.
            SkuTaken: another product has it, ignoring case.
            InvalidPrice: negative, too large, or more places than the currency has.
            CategoryNotFound, AmbiguousCategory: the category is an unknown id, or a name that several have.
            StockLimit: too many units.
        """

    @abstractmethod
    def update_product(self, *, product_id: UUID, change: ProductChange, if_revision: int | None = None) -> Product:
        """Change a product; publishes `product.updated`.

        Raises:
            ProductNotFound: unknown or deleted.
            StaleProduct: the product is no longer at `if_revision`.
            InvalidInput, SkuTaken, InvalidPrice, CategoryNotFound, AmbiguousCategory: as for `create_product`.
        """

    @abstractmethod
    def delete_product(self, *, product_id: UUID, if_revision: int | None = None) -> None:
        """Take a product out of the shop for good; orders and the ledger keep it. Publishes `product.deleted`.

        Raises:
            ProductNotFound: unknown or deleted.
            StaleProduct: the product is no longer at `if_revision`.
        """

    @abstractmethod
    def announce_products(self) -> int:
        """Publish events of products that a process which died, or a renamed category, has left behind; a batch at a
        time. Returns how many.
        """

    @abstractmethod
    def get_product(self, *, product_id: UUID, include_inactive: bool = False) -> Product:
        """
        Raises:
            ProductNotFound: unknown, deleted or, unless asked for, inactive.
        """

    @abstractmethod
    def get_product_by_sku(self, *, sku: str, include_inactive: bool = False) -> Product:
        """The product with this SKU, ignoring case.

        Raises:
            ProductNotFound: as for `get_product`.
        """

    @abstractmethod
    def list_products(
        self,
        *,
        narrowed: ProductFilter = EVERYTHING,
        ordering: Ordering = Ordering.NEWEST,
        page: int = 1,
        page_size: int = PAGE_SIZE,
    ) -> ProductPage:
        """A page of the catalogue, in a bounded number of queries. No page has more than `MAX_PAGE_SIZE`.

        Raises:
            InvalidInput: something is negative, or longer than anything that it could find. Names it.
        """

    @abstractmethod
    def search_products(
        self,
        *,
        text: str,
        narrowed: ProductFilter = EVERYTHING,
        ordering: Ordering | None = None,
        page: int = 1,
        page_size: int = PAGE_SIZE,
    ) -> SearchPage:
        """A page of the products that have every word of the text, or a word that begins so; best match first unless
        another order is asked for.

        Raises:
            InvalidInput: as for `list_products`, or the text is too long.
        """

    @abstractmethod
    def get_products(self, *, product_ids: Sequence[UUID]) -> Sequence[Product]:
        """The active products among these ids, in no order, in a bounded number of queries."""

    @abstractmethod
    def add_image(self, *, product_id: UUID, content: bytes, alt: str = "") -> Image:
        """Add a picture, behind those that the product has: upright, without what the camera noted, and with
        thumbnails. Publishes `product.updated`.

        Raises:
            ProductNotFound: unknown or deleted.
            InvalidInput: `alt` is no line, or too long.
            NotAPicture: no JPEG, PNG, WebP, GIF or AVIF by its content, or a damaged one.
            PictureTooLarge: too many bytes or pixels.
            TooManyPictures: the product has as many as it may.
            StorageUnavailable: the picture cannot be kept just now.
        """

    @abstractmethod
    def arrange_images(self, *, product_id: UUID, places: Sequence[ImagePlace]) -> Sequence[Image]:
        """Put a product's pictures into this order; publishes `product.updated`.

        Raises:
            ProductNotFound: unknown or deleted.
            InvalidArrangement: not each of its pictures, once.
            InvalidInput: an `alt` is no line, or too long.
        """

    @abstractmethod
    def describe_image(self, *, product_id: UUID, image_id: UUID, alt: str) -> Image:
        """Say what a picture shows, for those who do not see it; publishes `product.updated`.

        Raises:
            ProductNotFound: unknown or deleted.
            PictureNotFound: the product has no such picture.
            InvalidInput: `alt` is no line, or too long.
        """

    @abstractmethod
    def delete_image(self, *, product_id: UUID, image_id: UUID) -> None:
        """Take a picture off a product, and its files away; publishes `product.updated`.

        Raises:
            ProductNotFound: unknown or deleted.
            PictureNotFound: the product has no such picture.
        """

    @abstractmethod
    def clean_images(self) -> int:
        """Remove files, older than a day, that no product in the shop refers to. Returns how many.

        Raises:
            StorageUnavailable: where pictures are kept does not answer; what was removed until then is gone.
        """

    @abstractmethod
    def get_category(self, *, category_id: UUID) -> Category:
        """
        Raises:
            CategoryNotFound: there is no such category.
        """

    @abstractmethod
    def create_category(self, *, name: str, slug: str | None = None, parent_id: UUID | None = None) -> Category:
        """Add a category. A slug is made when absent.

        Raises:
            InvalidInput: the name or the slug is not what categories have. Names it.
            CategoryNotFound: there is no such parent.
            CategoryExists: the name is taken below that parent, or the slug anywhere.
            CategoryTooDeep: the tree would be deeper than ten levels.
        """

    @abstractmethod
    def update_category(
        self,
        *,
        category_id: UUID,
        name: str | None = None,
        slug: str | None = None,
        move: bool = False,
        parent_id: UUID | None = None,
    ) -> Category:
        """Rename a category or, with `move`, put it below `parent_id` (None: at the top).

        Raises:
            CategoryNotFound: unknown category or parent.
            InvalidInput, CategoryExists, CategoryTooDeep: as for `create_category`.
            CategoryCycle: the parent is the category itself or below it.
        """

    @abstractmethod
    def delete_category(self, *, category_id: UUID) -> None:
        """
        Raises:
            CategoryNotFound: there is no such category.
            CategoryInUse: it has products or categories below it.
        """

    @abstractmethod
    def get_stock(self, *, product_id: UUID) -> StockLevel:
        """
        Raises:
            ProductNotFound: unknown or deleted.
        """

    @abstractmethod
    def adjust_stock(
        self,
        *,
        product_id: UUID,
        reason: str,
        actor_id: UUID | None = None,
        delta: int | None = None,
        on_hand: int | None = None,
    ) -> StockLevel:
        """Add or take away `delta` units, or set what is `on_hand`; a line of the ledger says why.
        Publishes `stock.changed` and, when few are left, `stock.low`.

        Raises:
            ProductNotFound: unknown or deleted.
            StockBelowReserved: fewer would be on hand than are promised to orders.
            StockLimit: too many units.
            InvalidInput: both of them, or neither, or no line that says why.
        """

    @abstractmethod
    def reserve_stock(self, *, order_id: UUID, lines: Sequence[StockLine], hold_for: timedelta) -> Sequence[PricedLine]:
        """Hold stock for an order, for that long from now: every line or none. Repeating it for an order returns the
        first answer.

        Lines are one per product, at most `MAX_LINES`. The answer is in the order of `lines`.

        Raises:
            InvalidInput: two lines of a product, too many of them, or a time that nothing is held for.
            OutOfStock: names each line that is short, with what is available.
            ProductNotFound: names each line whose product is unknown or no longer sold.
            ReservationClosed: the order's reservation was released before.
        """

    @abstractmethod
    def replace_reservation(self, *, order_id: UUID, change: int, lines: Sequence[StockLine]) -> Sequence[PricedLine]:
        """Hold other lines for the order instead, as long as the old ones would have been, all or nothing: when it
        fails, the old lines stay held.

        `change` numbers the changes of an order. Repeating one that was made gives the same answer; one that was
        refused or overtaken stays so, however late it comes.

        Raises:
            ChangeOvertaken: a later change was asked for before, or this one was refused.
            InvalidInput, OutOfStock, ProductNotFound: as for `reserve_stock`.
            ReservationClosed: committed or released before.
            ReservationNotFound: nothing was ever reserved for the order.
        """

    @abstractmethod
    def extend_reservation(self, *, order_id: UUID, hold_for: timedelta) -> None:
        """Keep an order's stock held for at least that long from now, before it is paid.

        Raises:
            ReservationNotFound: nothing was ever reserved for the order.
            ReservationClosed: committed or released before.
        """

    @abstractmethod
    def commit_reservation(self, *, order_id: UUID) -> None:
        """Deduct an order's stock, once. A reservation that was released meanwhile is taken again if there is stock;
        otherwise `reservation.lost` is published.

        Raises:
            ReservationNotFound: nothing was ever reserved for the order.
        """

    @abstractmethod
    def release_reservation(self, *, order_id: UUID) -> None:
        """Give an order's stock back, once: units that are held are free again, units that were deducted return.
        An order without a reservation has nothing to give back.
        """

    @abstractmethod
    def settle_reservations(
        self,
        *,
        commit: Sequence[UUID] = (),
        release: Sequence[UUID] = (),
        returns: Mapping[UUID, Sequence[StockReturn]] = MappingProxyType({}),
    ) -> None:
        """`commit_reservation` and `release_reservation` for many orders, and `returns` of what they had deducted; each
        order is in one of the three. One transaction, and a number of statements that does not depend on theirs.

        A return puts back once what it names, and never more than was deducted. An order whose payment has not been
        heard of yet is deducted first. Publishes `stock.changed`.

        Raises:
            ReservationNotFound: nothing was ever reserved for an order that is not just to be released.
        """

    @abstractmethod
    def release_expired_reservations(self) -> int:
        """Give back what is held past its time: the order was never made, or was lost sight of. Returns how many."""

    @abstractmethod
    def list_reservations(self, *, order_ids: Sequence[UUID]) -> Sequence[Reservation]:
        """The reservations of these orders, in no order."""

    @abstractmethod
    def list_active_reservations(self, *, after: UUID | None, limit: int) -> Sequence[Reservation]:
        """Reservations that hold stock, by order id, from the one after `after`; at most `limit`.

        Raises:
            InvalidInput: the limit is less than one.
        """
