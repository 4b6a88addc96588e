"""What a shop is, in plain Python: orders, stock and money, small enough to be obviously right.

A method of `ShopModel` says what the shop must answer: "ok", or the code of the error. Orders are numbered as they are
placed; products are numbers, too, and each unit costs the same.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

Lines = Mapping[int, int]
PRICE = 10
GOOD, DECLINED, POOR, SLOW, LOST, ASKS = (
    "tok_visa",
    "tok_declined",
    "tok_insufficient_funds",
    "tok_timeout",
    "tok_timeout_lost",
    "tok_3ds",
)
_REFUSALS = {DECLINED: "payment_declined", POOR: "insufficient_funds"}
# What the provider makes of a refund. Of the last two nobody hears: it is not made, and it is.
Fate = Literal["made", "refused", "silent", "unheard"]


@dataclass(frozen=True)
class Message:
    """What the stock is told of an order: that it ended unpaid, or which of its refunds have put goods back so far."""

    order: int
    sequence: int
    returns: Sequence[int] | None


@dataclass(eq=False)
class Charge:
    """A payment in the provider's books. Only what is captured is money."""

    amount: int
    state: str = "authorised"


@dataclass(frozen=True)
class Wish:
    """What is to be paid back; nothing said: all that is left."""

    amount: int | None = None
    lines: Lines | None = None
    restock: bool | None = None


@dataclass(eq=False)
class Refund:
    """Money that goes back. `end` is where it leaves the order, if that ends with it."""

    amount: int
    lines: Lines
    restock: bool
    end: str
    state: str = "unknown"
    is_made: bool = False


@dataclass(eq=False)
class OrderModel:
    """`held` is what the stock has for it; `payment` the status of the payment that has not failed, and `charge` what
    the provider has for that.
    """

    lines: Lines
    status: str = "pending"
    sequence: int = 1
    held: str = "active"
    heard: int = 0
    is_overdue: bool = False
    is_held_too_long: bool = False
    payment: str = ""
    charge: Charge | None = None
    charges: list[Charge] = field(default_factory=list)
    refunds: list[Refund] = field(default_factory=list)
    returned: list[Refund] = field(default_factory=list)

    @property
    def total(self) -> int:
        return PRICE * sum(self.lines.values())

    @property
    def is_busy(self) -> bool:
        return "unknown" in {self.payment, *(refund.state for refund in self.refunds)}

    @property
    def promised(self) -> int:
        return sum(refund.amount for refund in self.refunds if refund.state != "failed")

    @property
    def paid_back(self) -> int:
        return sum(refund.amount for refund in self.refunds if refund.is_made)

    @property
    def units_left(self) -> Counter[int]:
        """What no refund has paid for."""
        return Counter(self.lines) - units(refund for refund in self.refunds if refund.state != "failed")


@dataclass
class ShopModel:
    """`on_hand` and `reserved` count units of each product, `told` what the stock is to hear of orders, `lost` the paid
    orders whose goods have gone to others, and `asked` the charges that a customer was asked to confirm.
    """

    on_hand: Counter[int]
    reserved: Counter[int] = field(default_factory=Counter)
    orders: list[OrderModel] = field(default_factory=list)
    told: list[Message] = field(default_factory=list)
    lost: list[int] = field(default_factory=list)
    asked: list[tuple[OrderModel, Charge]] = field(default_factory=list)

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
        if order.is_busy:
            return "order_busy"
        self._abandon(order)
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
        if order.is_busy:
            return "order_busy"
        self._abandon(order)
        if order.held != "active":
            self._fail_without_goods(order)
            return "invalid_transition"
        order.is_held_too_long = False
        if token in _REFUSALS:
            self._move(order, "pending")
            return _REFUSALS[token]
        if token != LOST:
            order.charge = Charge(order.total)
            order.charges.append(order.charge)
        order.payment = "unknown"
        if token in {SLOW, LOST}:
            return "payment_outcome_unknown"
        if token == ASKS and order.charge:
            order.payment = order.charge.state = "requires_action"
            self.asked.append((order, order.charge))
        else:
            self._capture(order)
        return "ok"

    def confirm(self, which: int, state: str, *, is_heard: bool) -> None:
        """A customer says yes or no to a payment, perhaps long after it was given up; the shop may not hear of it."""
        order, charge = self.asked[which]
        if charge.state == "requires_action":
            charge.state = state
        if is_heard:
            self._look_at(order, charge)

    def settle(self) -> None:
        """What became of payments and refunds is found out."""
        for order in self.orders:
            if order.payment == "unknown" and order.charge:
                self._capture(order)
            elif order.payment == "unknown":
                self._fail(order)
            for charge in order.charges:
                self._look_at(order, charge)
            for refund in order.refunds:
                if refund.state == "unknown":
                    self._pay_back(order, refund, "made")

    def cancel(self, number: int, fate: Fate = "made") -> str:
        order = self.orders[number]
        if order.status not in {"pending", "paid"}:
            return "invalid_transition"
        if order.is_busy:
            return "order_busy"
        if order.status == "paid":
            return self._refund(order, Wish(), "cancelled", fate)
        self._abandon(order)
        self._tell(order, "cancelled", None)
        return "ok"

    def ship(self, number: int) -> str:
        return self._fulfil(number, "paid", "shipped")

    def deliver(self, number: int) -> str:
        return self._fulfil(number, "shipped", "delivered")

    def refund(self, number: int, wish: Wish, fate: Fate) -> str:
        order = self.orders[number]
        if order.status not in {"paid", "shipped", "delivered"}:
            return "invalid_transition"
        if order.is_busy:
            return "order_busy"
        return self._refund(order, wish, "refunded", fate)

    def refund_again(self, number: int) -> str:
        """Who asks again for the last refund hears what became of it; one that was cut off is carried out now."""
        order = self.orders[number]
        refund = order.refunds[-1]
        if refund.state == "unknown":
            return self._pay_back(order, refund, "made")
        return "ok" if refund.state == "succeeded" else "payment_declined"

    def expire(self) -> None:
        for order in self.orders:
            if order.status == "pending" and order.is_overdue and not order.is_busy:
                self._abandon(order)
                self._tell(order, "expired", None)

    def sweep(self) -> None:
        """What is held for too long comes back."""
        for order in self.orders:
            if order.is_held_too_long:
                self._release(order)

    def hear(self, message: Message) -> None:
        """The stock hears of an order: once, and nothing that is older than what it has heard."""
        order = self.orders[message.order]
        if message.sequence <= order.heard:
            return
        order.heard = message.sequence
        if message.returns is None:
            self._release(order)
        else:
            self._sell(message.order, [order.refunds[index] for index in message.returns])

    def hear_of_loss(self, number: int) -> None:
        """A paid order whose goods have gone is cancelled and paid back."""
        if self.orders[number].status == "paid":
            self.cancel(number)

    def _abandon(self, order: OrderModel) -> None:
        """The order goes on without a payment that waits for its customer."""
        if order.payment == "requires_action":
            self._fail(order)

    def _look_at(self, order: OrderModel, charge: Charge) -> None:
        """The provider is asked what a customer has done. What it has for a payment that was given up is voided."""
        if charge is not order.charge:
            charge.state = "voided"
        elif order.payment == "requires_action" and charge.state == "voided":
            self._fail(order)
        elif order.payment == "requires_action" and charge.state == "authorised":
            if order.held == "active":
                order.is_held_too_long = False
                self._capture(order)
            else:
                charge.state = "voided"
                self._fail_without_goods(order)

    def _capture(self, order: OrderModel) -> None:
        assert order.charge
        order.charge.state, order.payment = "captured", "succeeded"
        self._tell(order, "paid", [])

    def _fail(self, order: OrderModel) -> None:
        order.payment, order.charge = "", None
        self._move(order, order.status)

    def _fail_without_goods(self, order: OrderModel) -> None:
        self._fail(order)
        self._tell(order, "cancelled", None)

    def _refund(self, order: OrderModel, wish: Wish, end: str, fate: Fate) -> str:
        left, lines = order.total - order.promised, wish.lines
        if lines is not None and not lines.keys() <= order.lines.keys():
            return "unknown_line"
        if lines is not None and not Counter(lines) <= order.units_left:
            return "refund_too_large"
        amount = wish.amount or (left if lines is None else PRICE * sum(lines.values()))
        if amount > left:
            return "refund_too_large"
        is_all = amount == left
        if lines is None and wish.restock and not is_all:
            return "invalid_refund"
        if lines is None:
            lines = order.units_left if is_all else {}
        restock = order.status == "paid" if wish.restock is None else wish.restock
        refund = Refund(amount, lines, bool(lines) and restock, end if is_all else "")
        order.refunds.append(refund)
        return self._pay_back(order, refund, fate)

    def _pay_back(self, order: OrderModel, refund: Refund, fate: Fate) -> str:
        if fate == "refused":
            refund.state = "failed"
            self._move(order, order.status)
            return "payment_declined"
        refund.is_made |= fate != "silent"
        if fate != "made":
            return "payment_outcome_unknown"
        refund.state = "succeeded"
        order.payment = "refunded" if refund.end else "partially_refunded"
        back = [at for at, each in enumerate(order.refunds) if each.restock and each.state == "succeeded"]
        self._tell(order, refund.end or order.status, back)
        return "ok"

    def _sell(self, number: int, returns: Sequence[Refund]) -> None:
        """Goods leave the shelves once; what refunds put back comes back once each."""
        order = self.orders[number]
        back = units(refund for refund in returns if refund not in order.returned)
        kept = Counter(order.lines) - back
        if order.held == "released" and not kept:
            return
        if order.held == "released" and not self._has(kept):
            self.lost.append(number)
            return
        if order.held == "active":
            self.reserved.subtract(order.lines)
        if order.held != "sold":
            self.on_hand.subtract(order.lines)
        self.on_hand.update(back)
        order.held, order.returned = "sold", list(returns)

    def _release(self, order: OrderModel) -> None:
        if order.held == "active":
            self.reserved.subtract(order.lines)
            order.held = "released"

    def _has(self, lines: Lines) -> bool:
        return all(self.on_hand[key] - self.reserved[key] >= units for key, units in lines.items())

    def _fulfil(self, number: int, before: str, after: str) -> str:
        order = self.orders[number]
        if order.status != before:
            return "invalid_transition"
        if order.is_busy:
            return "order_busy"
        self._move(order, after)
        return "ok"

    def _tell(self, order: OrderModel, status: str, returns: Sequence[int] | None) -> None:
        self._move(order, status)
        self.told.append(Message(self.orders.index(order), order.sequence, returns))

    def _move(self, order: OrderModel, status: str) -> None:
        order.status = status
        order.sequence += 1


def units(refunds: Iterable[Refund]) -> Counter[int]:
    """How many units of each product these refunds pay for."""
    return sum((Counter(refund.lines) for refund in refunds), Counter())
