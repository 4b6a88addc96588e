"""The orders service: orders, payments and their states, as other code sees it."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Protocol
from uuid import UUID

from apps.common.errors import (
    AlreadyExists,
    Busy,
    Conflict,
    Forbidden,
    InvalidInput,
    NotFound,
    PaymentRefused,
    Unavailable,
)
from apps.common.paging import PAGE_SIZE
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
    """Where an attempt to pay stands.

    `processing`: the provider is being asked. `unknown`: it did not answer, or nobody lived to hear it; settled by
    asking again. `requires_action`: the customer must confirm at the bank; nothing else waits for that.
    """

    PROCESSING = "processing"
    UNKNOWN = "unknown"
    REQUIRES_ACTION = "requires_action"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    PARTIALLY_REFUNDED = "partially_refunded"
    REFUNDED = "refunded"


class RefundStatus(StrEnum):
    """Where an attempt to pay back stands; `processing` and `unknown` as for payments."""

    PROCESSING = "processing"
    UNKNOWN = "unknown"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


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
class NextAction:
    """What the customer must do before the payment goes on: `type` as the provider names it, where, and with what."""

    type: str
    url: str | None = None
    client_secret: str | None = None


@dataclass(frozen=True)
class Payment:
    """The attempt to pay an order that has not failed, or else the last. `next_action` is told only to the payer."""

    method: str
    amount: Decimal
    refunded_amount: Decimal
    status: PaymentStatus
    transaction_id: str
    paid_at: datetime | None
    next_action: NextAction | None = None


@dataclass(frozen=True)
class Refund:
    """An attempt to pay back some or all of what was paid. `restock`: whether its `items` go back on the shelves."""

    id: UUID
    amount: Decimal
    currency: str
    status: RefundStatus
    items: Sequence[StockLine]
    restock: bool
    reason: str
    failure_detail: str
    created_at: datetime
    refunded_at: datetime | None


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
class OrderPage:
    """Some orders, newest first. `next_cursor` is for the page after this one; None: there is none."""

    orders: Sequence[Order]
    next_cursor: UUID | None


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
    that the caller can look whether anybody still listens.

    It ends when the order can change no more, after a few minutes, or when this process stops. Watching again
    `after` the last change that was seen misses nothing.
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


class OrderIdTaken(AlreadyExists):
    """Somebody else's order has the id that was chosen for a new one."""

    code = "order_id_taken"


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
    """The provider of this shop does not offer it."""

    code = "unknown_payment_method"


class PaymentDeclined(PaymentRefused):
    """The provider said no, and why."""

    code = "payment_declined"


class InsufficientFunds(PaymentRefused):
    """The account behind the card or the like has less than the order costs. Nothing was charged."""

    code = "insufficient_funds"


class RefundTooLarge(Conflict):
    """More would be paid back than is left of the payment, or of the units that were bought."""

    code = "refund_too_large"


class UnknownLine(InvalidInput):
    """The order has no such line."""

    code = "unknown_line"


class InvalidRefund(InvalidInput):
    """An amount that cannot be paid, or a refund that says too little of what it is for."""

    code = "invalid_refund"


class UnknownProvider(NotFound):
    """Not the payment provider of this shop."""

    code = "unknown_provider"


class InvalidSignature(InvalidInput):
    """Nobody proves that the provider has sent this."""

    code = "invalid_signature"


class PaymentUnknown(Unavailable):
    """The provider did not answer in time. The payment is settled within a minute or two, one way or the other."""

    code = "payment_outcome_unknown"
    retry_after = 60


class TooManyWatchers(Unavailable):
    """As many watch orders already as this process has room for."""

    code = "too_many_watchers"
    retry_after = 15


class OrderAction(Protocol):
    """What is done to an order for a reason: the form of `cancel_order`, `ship_order` and others below."""

    def __call__(self, *, order_id: UUID, actor: Actor, reason: str) -> Order: ...


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
            OrderIdTaken: the id is that of somebody else's order, which stays as it is.
        """

    @abstractmethod
    def get_order(self, *, order_id: UUID, actor: Actor) -> Order:
        """
        Raises:
            OrderNotFound: unknown, or somebody else's.
        """

    @abstractmethod
    def list_orders(
        self,
        *,
        actor: Actor,
        user_id: UUID | None = None,
        status: OrderStatus | None = None,
        created_from: datetime | None = None,
        created_to: datetime | None = None,
        cursor: UUID | None = None,
        page_size: int = PAGE_SIZE,
    ) -> OrderPage:
        """The orders that the actor may see, newest first: of one user, of one status, created at or after
        `created_from` and before `created_to`. A page has at most `MAX_PAGE_SIZE` of them, and costs the same however
        far the `cursor` has come.

        Raises:
            OrderNotFound: `user_id` is somebody else's.
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

        The payment may come back as `requires_action`, with what the customer must do; the order is pending then, and
        free: paying anew, changing, cancelling or expiring it gives that payment up.

        Raises:
            OrderNotFound: unknown, or somebody else's.
            InvalidTransition: it is not pending.
            OrderBusy: it is being changed or paid.
            UnknownPaymentMethod: the provider does not offer it.
            PaymentDeclined, InsufficientFunds: nothing was charged; the order can be paid another way.
            PaymentUnknown: the provider did not answer; the outcome will be found out.
        """

    @abstractmethod
    def handle_provider_message(self, *, provider: str, body: bytes, headers: Mapping[str, str]) -> None:
        """Settle the payment or refund that a provider's message names, by asking the provider. What the message says
        beyond that is not believed, so that it does no harm late, twice or out of order.

        Raises:
            UnknownProvider: not this shop's.
            InvalidSignature: the message is forged, unsigned or too old.
            PaymentUnknown: the provider did not answer; it should send the message again.
        """

    @abstractmethod
    def cancel_order(self, *, order_id: UUID, actor: Actor, reason: str = "") -> Order:
        """Cancel a pending or paid order; all that is left of its payment is refunded. Publishes `order.cancelled`.

        Raises:
            OrderNotFound, InvalidTransition, OrderBusy: as above.
            PaymentDeclined: the provider refused the refund; the order is as it was.
            PaymentUnknown: the provider did not answer; the refund will be completed.
        """

    @abstractmethod
    def refund_order(
        self,
        *,
        order_id: UUID,
        actor: Actor,
        reason: str = "",
        refund_id: UUID | None = None,
        amount: Decimal | None = None,
        lines: Sequence[StockLine] | None = None,
        restock: bool | None = None,
    ) -> Order:
        """Give back what `lines` cost, or an `amount`, or, with neither, all that is left; for staff. With both, the
        amount is what is paid back for these lines. `restock` says whether the goods go back on the shelves; by default
        they do as long as they have not been shipped.

        Publishes `order.refunded` when nothing of the payment is left, else `refund.completed`; `refund.failed` when
        the provider refuses. Repeating it with a refund's id returns what became of that refund.

        Raises:
            StaffOnly: the actor is a customer.
            RefundTooLarge: more than is left of the payment, or of a line.
            UnknownLine: names each product that was not ordered.
            InvalidRefund: an amount that is not positive or does not fit the currency, or goods that go back without
                being named.
            PaymentDeclined: the provider refused; nothing was paid back.
            OrderNotFound, InvalidTransition, OrderBusy, PaymentUnknown: as above.
        """

    @abstractmethod
    def list_refunds(self, *, order_id: UUID, actor: Actor) -> Sequence[Refund]:
        """The order's refunds, refused ones included, oldest first.

        Raises:
            OrderNotFound: unknown, or somebody else's.
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
        """Finish what a crash or a silent provider left open: payments and refunds whose outcome is unknown, payments
        that customers have confirmed or left, changes that were cut off. Returns how many were settled.
        """
