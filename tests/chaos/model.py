"""What a shop is, in plain Python: orders, stock and money, small enough to be obviously right.

A method of `ShopModel` says what the shop must answer: "ok", or the code of the error. Orders are numbered as they are
placed; products are numbers, too.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

Lines = Mapping[int, int]
GOOD, DECLINED, POOR, SLOW, LOST = (
    "tok_visa",
    "tok_declined",
    "tok_insufficient_funds",
    "tok_timeout",
    "tok_timeout_lost",
)
_REFUSALS = {DECLINED: "payment_declined", POOR: "insufficient_funds"}


@dataclass(frozen=True)
class Message:
    """What the stock is told of an order: that it is sold, or that it comes back."""

    order: int
    sequence: int
    is_sold: bool


@dataclass(eq=False)
class OrderModel:
    """`held` is what the stock has for it; `open` the token of a payment of which nobody knows what became."""

    lines: Lines
    status: str = "pending"
    sequence: int = 1
    held: str = "active"
    heard: int = 0
    open: str = ""
    is_overdue: bool = False
    is_held_too_long: bool = False
    charges: int = 0
    is_repaid: bool = False


@dataclass
class ShopModel:
    """`on_hand` and `reserved` count units of each product, `told` what the stock is to hear of orders, and `lost` the
    paid orders whose goods have gone to others.
    """

    on_hand: Counter[int]
    reserved: Counter[int] = field(default_factory=Counter)
    orders: list[OrderModel] = field(default_factory=list)
    told: list[Message] = field(default_factory=list)
    lost: list[int] = field(default_factory=list)

    def place(self, lines: Lines) -> str:
        if not self._has(lines):
            return "out_of_stock"
        self.reserved.update(lines)
        self.orders.append(OrderModel(lines))
        return "ok"

    def change(self, number: int, lines: Lines) -> str:
        order = self.orders[number]
        if order.status != "pending":
            return "invalid_transition"
        if order.open:
            return "order_busy"
        if order.held != "active":
            return "reservation_closed"
        more = {key: lines.get(key, 0) - order.lines.get(key, 0) for key in {*lines, *order.lines}}
        if not self._has({key: units for key, units in more.items() if units > 0}):
            return "out_of_stock"
        self.reserved.update(more)
        order.lines = lines
        order.is_held_too_long &= order.is_overdue
        self._move(order, "pending")
        return "ok"

    def pay(self, number: int, token: str) -> str:
        order = self.orders[number]
        if order.status != "pending":
            return "invalid_transition"
        if order.open:
            return "order_busy"
        if order.held != "active":  # the payment fails, and the order is cancelled
            self._move(order, "pending")
            self._tell(order, "cancelled", is_sold=False)
            return "invalid_transition"
        order.is_held_too_long = False
        if token in _REFUSALS:
            self._move(order, "pending")
            return _REFUSALS[token]
        order.charges += token != LOST
        if token in {SLOW, LOST}:
            order.open = token
            return "payment_outcome_unknown"
        self._tell(order, "paid", is_sold=True)
        return "ok"

    def settle(self) -> None:
        """What became of payments is found out."""
        for order in self.orders:
            if order.open == SLOW:
                self._tell(order, "paid", is_sold=True)
            elif order.open == LOST:
                self._move(order, "pending")
            order.open = ""

    def cancel(self, number: int) -> str:
        order = self.orders[number]
        if order.status not in {"pending", "paid"}:
            return "invalid_transition"
        if order.open:
            return "order_busy"
        order.is_repaid = order.status == "paid"
        self._tell(order, "cancelled", is_sold=False)
        return "ok"

    def ship(self, number: int) -> str:
        return self._fulfil(number, "paid", "shipped")

    def deliver(self, number: int) -> str:
        return self._fulfil(number, "shipped", "delivered")

    def refund(self, number: int) -> str:
        order = self.orders[number]
        if order.status not in {"paid", "shipped", "delivered"}:
            return "invalid_transition"
        order.is_repaid = True
        # Goods that have left do not come back by themselves.
        self._tell(order, "refunded", is_sold=order.status != "paid")
        return "ok"

    def expire(self) -> None:
        for order in self.orders:
            if order.status == "pending" and order.is_overdue and not order.open:
                self._tell(order, "expired", is_sold=False)

    def sweep(self) -> None:
        """What is held for too long comes back."""
        for order in self.orders:
            if order.held == "active" and order.is_held_too_long:
                self._give_back(order)

    def hear(self, message: Message) -> None:
        """The stock hears of an order: once, and nothing that is older than what it has heard."""
        order = self.orders[message.order]
        if message.sequence <= order.heard:
            return
        order.heard = message.sequence
        if message.is_sold:
            self._sell(message.order)
        else:
            self._give_back(order)

    def hear_of_loss(self, number: int) -> None:
        """A paid order whose goods have gone is cancelled and paid back."""
        if self.orders[number].status == "paid":
            self.cancel(number)

    def _sell(self, number: int) -> None:
        order = self.orders[number]
        if order.held == "active":
            self.reserved.subtract(order.lines)
        elif order.held == "released" and not self._has(order.lines):
            self.lost.append(number)
            return
        elif order.held == "sold":
            return
        self.on_hand.subtract(order.lines)
        order.held = "sold"

    def _give_back(self, order: OrderModel) -> None:
        if order.held == "active":
            self.reserved.subtract(order.lines)
        elif order.held == "sold":
            self.on_hand.update(order.lines)
        order.held = "released"

    def _has(self, lines: Lines) -> bool:
        return all(self.on_hand[key] - self.reserved[key] >= units for key, units in lines.items())

    def _fulfil(self, number: int, before: str, after: str) -> str:
        order = self.orders[number]
        if order.status != before:
            return "invalid_transition"
        self._move(order, after)
        return "ok"

    def _tell(self, order: OrderModel, status: str, *, is_sold: bool) -> None:
        self._move(order, status)
        self.told.append(Message(self.orders.index(order), order.sequence, is_sold))

    def _move(self, order: OrderModel, status: str) -> None:
        order.status = status
        order.sequence += 1
