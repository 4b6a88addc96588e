"""The orders service: orders, payments and their states, as other code sees it."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from uuid import UUID

from apps.common.errors import Busy, Conflict, Forbidden, InvalidInput, NotFound, PaymentRefused, Unavailable
from apps.products.interface import StockLine


class OrderStatus(StrEnum):
    """Where an order stands; `states.py` has the moves between them."""

    PENDING = "pending"
    PAID = "paid"
    SHIPPED = "shipped"
    DELIVERED = "delivered"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    REFUNDED = "refunded"


class PaymentStatus(StrEnum):
    """`processing` is open: asked for, and the answer not yet known."""

    PROCESSING = "processing"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    REFUNDING = "refunding"
    REFUNDED = "refunded"


@dataclass(frozen=True)
class Actor:
    """Who does something to an order: a person, or the shop itself (no id)."""

    user_id: UUID | None
    is_staff: bool = False


SYSTEM = Actor(user_id=None, is_staff=True)


@dataclass(frozen=True)
class ShippingAddress:
    """Where an order goes, and by which of the shop's methods."""

    name: str = ""
    address: str = ""
    city: str = ""
    state: str = ""
    country: str = ""
    zip_code: str = ""
    method: str = "standard"


@dataclass(frozen=True)
class NewOrder:
    """What a customer asks for. Lines of one product are merged."""

    lines: Sequence[StockLine]
    shipping: ShippingAddress | None = None
    currency: str | None = None
    note: str = ""


@dataclass(frozen=True)
class OrderChange:
    """Changes to a pending order; None leaves a part as it is. `lines` replaces all lines."""

    lines: Sequence[StockLine] | None = None
    shipping: ShippingAddress | None = None
    note: str | None = None


@dataclass(frozen=True)
class OrderItem:
    """A line of an order, with the product as it was when ordered."""

    id: UUID
    product_id: UUID
    product_name: str
    sku: str
    quantity: int
    price: Decimal
    total: Decimal


@dataclass(frozen=True)
class Shipping:
    """Where an order goes, what that costs, and how far it has come."""

    name: str
    address: str
    city: str
    state: str
    country: str
    zip_code: str
    method: str
    cost: Decimal
    status: str


@dataclass(frozen=True)
class Payment:
    """The last attempt to pay an order."""

    method: str
    amount: Decimal
    status: PaymentStatus
    transaction_id: str
    paid_at: datetime | None


@dataclass(frozen=True)
class Order:
    """An order."""

    id: UUID
    number: str
    user_id: UUID
    status: OrderStatus
    currency: str
    subtotal: Decimal
    total: Decimal
    items: Sequence[OrderItem]
    shipping: Shipping | None
    payment: Payment | None
    note: str
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True)
class TimelineEntry:
    """A change of an order: when, by whom (no id: the shop itself) and why. `sequence` counts the order's changes."""

    sequence: int
    status: OrderStatus
    action: str
    actor_id: UUID | None
    reason: str
    at: datetime


# At most so many changes of an order are told at once. Few orders have ten.
TIMELINE_PAGE = 100


class OrderWatch(Iterator[TimelineEntry | None]):
    """What happens to an order, as it happens: each change once, in order, and None about once a second meanwhile, so
    that whoever waits can look whether anybody still listens.

    It ends when the order can change no more, after a few minutes, or when this process stops. Whoever then watches
    again `after` the last change that they have seen misses nothing.
    """

    @abstractmethod
    def close(self) -> None:
        """Watch no longer. Call it in any case: the number of those who watch is bounded."""


class OrderNotFound(NotFound):
    """Unknown, or somebody else's."""

    code = "order_not_found"


class StaffOnly(Forbidden):
    """Not for customers, whosever order it is."""

    code = "staff_only"


class InvalidTransition(Conflict):
    """The order's state does not allow this move."""

    code = "invalid_transition"


class OrderBusy(Busy):
    """A change or a payment of this order is being carried out."""

    code = "order_busy"


class CurrencyMismatch(InvalidInput):
    """An order has one currency, that of all its products."""

    code = "currency_mismatch"


class UnknownShippingMethod(InvalidInput):
    """Not a method of the shop, or not offered in the order's currency."""

    code = "unknown_shipping_method"


class AmountTooLarge(InvalidInput):
    """The total has more digits than we can charge."""

    code = "amount_too_large"


class UnknownPaymentMethod(InvalidInput):
    code = "unknown_payment_method"


class PaymentDeclined(PaymentRefused):
    """The provider said no, and why."""

    code = "payment_declined"


class InsufficientFunds(PaymentRefused):
    code = "insufficient_funds"


class PaymentUnknown(Unavailable):
    """The provider did not answer in time. The payment is settled within a minute or two, one way or the other."""

    code = "payment_outcome_unknown"
    retry_after = 60


class TooManyWatchers(Unavailable):
    """As many watch orders already as this process has room for."""

    code = "too_many_watchers"
    retry_after = 15


class OrderService(ABC):
    """Orders, payments and their states.

    Methods that take an `actor` see only that person's orders, unless the actor is staff.
    """

    @abstractmethod
    def place_order(self, *, order_id: UUID, user_id: UUID, new: NewOrder) -> Order:
        """Reserve stock and make the order; publishes `order.created`. Repeating it with an id returns that order.

        Raises:
            OutOfStock, ProductNotFound (apps.products.interface): names each such line.
            CurrencyMismatch: products of several currencies, or of another than asked for.
            UnknownShippingMethod: not a method of the shop.
            AmountTooLarge: the total has too many digits.
            ReservationClosed (apps.products.interface): an earlier attempt with this id was cut off so long ago that
                its stock was given back. Place the order anew.
        """

    @abstractmethod
    def get_order(self, *, order_id: UUID, actor: Actor) -> Order:
        """
        Raises:
            OrderNotFound: unknown, or somebody else's.
        """

    @abstractmethod
    def get_status(self, *, order_id: UUID, actor: Actor) -> OrderStatus:
        """Where the order stands, from the cache while it is there.

        Raises:
            OrderNotFound: unknown, or somebody else's.
        """

    @abstractmethod
    def get_timeline(self, *, order_id: UUID, actor: Actor, after: int = 0) -> Sequence[TimelineEntry]:
        """The order's changes after that of the sequence number `after`, oldest first: the next `TIMELINE_PAGE`.

        Raises:
            OrderNotFound: unknown, or somebody else's.
        """

    @abstractmethod
    def watch_order(self, *, order_id: UUID, actor: Actor, after: int | None = None) -> OrderWatch | None:
        """Hear of each change of the order after that of the sequence number `after`; without one, of the latest and
        of all that follow. None if there will be none: the order has ended, and its end has been seen.

        Raises:
            OrderNotFound: unknown, or somebody else's.
            TooManyWatchers: there is no room for another.
        """

    @abstractmethod
    def change_order(self, *, order_id: UUID, actor: Actor, change: OrderChange) -> Order:
        """Change a pending order, all or nothing; other lines are reserved instead. Publishes `order.updated`.

        Raises:
            OrderNotFound: unknown, or somebody else's.
            InvalidTransition: it is not pending.
            OrderBusy: it is being changed or paid.
            OutOfStock, ProductNotFound, CurrencyMismatch, UnknownShippingMethod, AmountTooLarge: as for `place_order`.
        """

    @abstractmethod
    def pay_order(self, *, order_id: UUID, payment_id: UUID, actor: Actor, method: str, token: str) -> Order:
        """Charge the order's total once; publishes `order.paid` or `payment.failed`.
        Repeating it with a payment's id returns what became of that payment.

        Raises:
            OrderNotFound: unknown, or somebody else's.
            InvalidTransition: it is not pending.
            OrderBusy: it is being changed or paid.
            UnknownPaymentMethod: the provider does not offer it.
            PaymentDeclined, InsufficientFunds: nothing was charged; the order can be paid another way.
            PaymentUnknown: the provider did not answer; the outcome will be found out.
        """

    @abstractmethod
    def cancel_order(self, *, order_id: UUID, actor: Actor, reason: str = "") -> Order:
        """Cancel a pending or paid order, whose payment is refunded; publishes `order.cancelled`.

        Raises:
            OrderNotFound, InvalidTransition, OrderBusy: as above.
            PaymentUnknown: the provider did not answer; the refund will be completed.
        """

    @abstractmethod
    def refund_order(self, *, order_id: UUID, actor: Actor, reason: str = "") -> Order:
        """Give back all that was paid, for staff; publishes `order.refunded`.

        Raises:
            StaffOnly: the actor is a customer.
            OrderNotFound, InvalidTransition, OrderBusy, PaymentUnknown: as above.
        """

    @abstractmethod
    def ship_order(self, *, order_id: UUID, actor: Actor, reason: str = "") -> Order:
        """Mark a paid order as on its way, for staff; publishes `order.shipped`.

        Raises:
            StaffOnly: the actor is a customer.
            OrderNotFound, InvalidTransition, OrderBusy: as above.
        """

    @abstractmethod
    def deliver_order(self, *, order_id: UUID, actor: Actor, reason: str = "") -> Order:
        """Mark a shipped order as delivered, for staff; publishes `order.delivered`.

        Raises:
            StaffOnly: the actor is a customer.
            OrderNotFound, InvalidTransition, OrderBusy: as above.
        """

    @abstractmethod
    def expire_orders(self) -> int:
        """Expire pending orders whose time to pay is over; publishes `order.expired` for each. Returns how many."""

    @abstractmethod
    def settle_open_orders(self) -> int:
        """Finish what a crash or a silent provider left open: payments and refunds whose outcome is unknown, changes
        that were cut off. Returns how many orders were settled.
        """
