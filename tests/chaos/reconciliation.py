"""What clients were told against what the shop's books say, line by line. Each fault is one sentence."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from tests.chaos.clients import CHARGING, CONFIRMED, Lines, Memory, Wish
from tests.chaos.store import Store, as_amount, as_id, as_lines

_HAS_GOODS = {"paid", "shipped", "delivered"}
# What was granted → where the order may stand in the end.
_AFTER = {
    "pay": {"paid", "shipped", "delivered", "cancelled", "refunded"},
    "cancel": {"cancelled"},
    "ship": {"shipped", "delivered", "refunded"},
    "deliver": {"delivered", "refunded"},
    "part": {"paid", "shipped", "delivered", "cancelled", "refunded"},
    "refund": {"refunded"},
}
# Where an order stands → what somebody must have asked for, in one of these ways.
_BEFORE: Mapping[str, Sequence[tuple[str, ...]]] = {
    "paid": [("pay",)],
    "shipped": [("pay",), ("ship",)],
    "delivered": [("pay",), ("ship",), ("deliver",)],
    "refunded": [("pay",), ("refund", "part")],
}


@dataclass(frozen=True)
class Charge:
    """Money at the provider: what is captured, less what was given back."""

    payment: str
    amount: Decimal
    returned: Decimal
    state: str

    @property
    def kept(self) -> Decimal:
        return self.amount - self.returned if self.state == "captured" else Decimal(0)


@dataclass(frozen=True)
class Refund:
    """A refund as the database has it."""

    id: str
    amount: Decimal
    status: str
    restock: bool
    lines: Mapping[str, int]

    @property
    def is_made(self) -> bool:
        return self.status == "succeeded"

    @property
    def goods(self) -> Lines:
        """What it has put back."""
        return self.lines if self.is_made and self.restock else {}


@dataclass
class Order:
    """An order as the database has it."""

    id: str
    user: str
    status: str
    total: Decimal
    lines: dict[str, int] = field(default_factory=dict)
    sum_of_lines: Decimal = Decimal(0)
    actions: list[str] = field(default_factory=list)
    by_the_shop: set[str] = field(default_factory=set)
    charges: list[Charge] = field(default_factory=list)
    refunds: list[Refund] = field(default_factory=list)
    wishes: dict[str, list[Wish]] = field(default_factory=lambda: defaultdict(list))


def faults(
    memory: Memory, store: Store, initial: Mapping[str, int], prices: Mapping[str, Decimal], *, may_expire: bool
) -> list[str]:
    """Everything that is wrong; `initial` is the first stock of each product."""
    orders = _read(store)
    for wish in memory.wishes:
        if wish.order in orders:
            orders[wish.order].wishes[wish.what].append(wish)
    found = [*_placed(memory, orders, store), *_replayed(memory), *_books(store)]
    made_by_key = _made_by_key(store)
    for order in orders.values():
        found += _statuses(order, may_expire=may_expire)
        found += _amounts(order, prices)
        found += _money(order)
        found += _refunds(order, made_by_key, prices)
    return [*found, *_stock(orders, store, initial), *_ledger(orders, store)]


def _read(store: Store) -> dict[str, Order]:
    orders = {
        as_id(key): Order(as_id(key), as_id(user), status, as_amount(total))
        for key, user, status, total in store.rows("SELECT id, user_id, status, total FROM orders_order")
    }
    for key, product, quantity, total in store.rows(
        "SELECT order_id, product_id, quantity, total FROM orders_orderitem"
    ):
        orders[as_id(key)].lines[as_id(product)] = quantity
        orders[as_id(key)].sum_of_lines += as_amount(total)
    for key, action, actor in store.rows(
        "SELECT order_id, action, actor_id FROM orders_ordertransition ORDER BY sequence"
    ):
        orders[as_id(key)].actions.append(action)
        if actor is None:
            orders[as_id(key)].by_the_shop.add(action)
    payments = {as_id(key): as_id(order) for key, order in store.rows("SELECT id, order_id FROM orders_payment")}
    for key, amount, returned, state in store.rows(
        "SELECT idempotency_key, amount, refunded_amount, state FROM orders_sandboxcharge"
    ):
        charge = Charge(as_id(key), as_amount(amount), as_amount(returned), state)
        orders[payments[charge.payment]].charges.append(charge)
    for key, order, amount, status, restock, lines in store.rows(
        "SELECT id, order_id, amount, status, restock, lines FROM orders_refund ORDER BY id"
    ):
        goods = {line["product_id"]: line["quantity"] for line in as_lines(lines)}
        orders[as_id(order)].refunds.append(Refund(as_id(key), as_amount(amount), status, bool(restock), goods))
    return orders


def _made_by_key(store: Store) -> Mapping[tuple[str, str], str]:
    """What was made for whom under which key."""
    return {
        (as_id(owner), key): as_id(resource)
        for owner, key, resource in store.rows("SELECT owner_id, key, resource_id FROM common_idempotencykey")
    }


def _books(store: Store) -> Iterator[str]:
    """The provider has given back, refund by refund, what we say that it has."""
    theirs = {
        key.replace("-", ""): as_amount(amount)
        for key, amount in store.rows("SELECT idempotency_key, amount FROM orders_sandboxrefund")
        if not key.endswith("-return")  # of a payment that was given up
    }
    ours = {
        as_id(key).replace("-", ""): as_amount(amount)
        for key, amount in store.rows("SELECT id, amount FROM orders_refund WHERE status = 'succeeded'")
    }
    for key in ours.keys() | theirs.keys():
        if ours.get(key) != theirs.get(key):
            yield f"refund {key} is of {ours.get(key)} in our books, and of {theirs.get(key)} in the provider's"


def _placed(memory: Memory, orders: Mapping[str, Order], store: Store) -> Iterator[str]:
    """Every order that was confirmed is there, no wish made two, and nobody has one that was never asked for."""
    places = memory.of("place")
    confirmed: Counter[str] = Counter()
    for wish in places:
        if wish.granted and wish.verdict:
            confirmed[wish.verdict.body["id"]] += 1
            yield from _confirmed(wish, wish.verdict.body, orders)
    yield from (f"order {key} was confirmed to {count} wishes" for key, count in confirmed.items() if count > 1)
    made_by_key = _made_by_key(store)
    unsure: Counter[str] = Counter()
    for wish in places:
        made = orders.get(made_by_key.get((wish.user, wish.key), ""))
        if wish.refused and made:
            yield f"order {made.id} exists, but was refused: {wish.verdict}"
        elif wish.open and made:
            made.wishes["place"].append(wish)
        elif wish.open and not wish.key:
            unsure[wish.user] += 1
    unexplained = Counter(order.user for order in orders.values() if not order.wishes["place"])
    for user, count in (unexplained - unsure).items():
        yield f"{user} has {count} orders more than were confirmed, or may have been made without an answer"


def _confirmed(wish: Wish, body: dict[str, Any], orders: Mapping[str, Order]) -> Iterator[str]:
    told = {line["product_id"]: line["quantity"] for line in body["items"]}
    if body["id"] not in orders:
        yield f"order {body['id']} was confirmed and does not exist"
    elif told != dict(wish.sent["lines"]):
        yield f"order {body['id']} was confirmed with {told}, but {wish.sent['lines']} were asked for"
    else:
        orders[body["id"]].wishes["place"].append(wish)


def _replayed(memory: Memory) -> Iterator[str]:
    """A key has one answer."""
    for wish in memory.wishes:
        answers = [answer for answer in wish.answers if answer.decides]
        if any(answer != answers[0] for answer in answers[1:]):
            yield f"{wish.what} {wish.key} was answered {answers}"


def _statuses(order: Order, *, may_expire: bool) -> Iterator[str]:
    for what, allowed in _AFTER.items():
        if any(wish.granted for wish in order.wishes[what]) and order.status not in allowed:
            yield f"order {order.id} is {order.status}, but its {what} was confirmed"
    for ways in _BEFORE.get(order.status, []):
        if not any(_may_have_been(wish, order) for what in ways for wish in order.wishes[what]):
            yield f"order {order.id} is {order.status}, but nobody's {' or '.join(ways)} was accepted"
    cancels = [wish for wish in order.wishes["cancel"] if wish.granted or wish.open]
    if order.status == "cancelled" and not cancels and not (may_expire and "cancel" in order.by_the_shop):
        yield f"order {order.id} is cancelled, but nobody asked for that"
    if order.status == "expired" and not may_expire:
        yield f"order {order.id} has expired before its time"
    yield from (
        f"order {order.id} was {action} {count} times"
        for action, count in Counter(order.actions).items()
        if count > 1 and action in {"pay", "cancel", "expire", "ship", "deliver", "refund"}
    )


def _amounts(order: Order, prices: Mapping[str, Decimal]) -> Iterator[str]:
    """The lines are those of the last change that was confirmed, or of one that was not answered."""
    allowed: list[Lines] = [wish.sent["lines"] for wish in order.wishes["place"]]
    for wish in order.wishes["change"]:
        if wish.granted:
            allowed = [wish.sent["lines"]]
        elif wish.open:
            allowed.append(wish.sent["lines"])
    if allowed and order.lines not in [dict(lines) for lines in allowed]:
        yield f"order {order.id} has {order.lines}, not {allowed}"
    total = sum((prices[product] * quantity for product, quantity in order.lines.items()), Decimal(0))
    if not order.total == order.sum_of_lines == total:
        yield f"order {order.id} costs {order.total}, its lines {order.sum_of_lines}, and {total} by the price list"


def _may_have_been(wish: Wish, order: Order) -> bool:
    """Whether something may have come of a wish. A payment that waits for its customer needs their yes."""
    needs_yes = wish.what == "pay" and wish.sent["token"] == CONFIRMED
    has_yes = any(said.sent["outcome"] == "approved" for said in order.wishes["confirm"])
    return (wish.granted or wish.open) and (has_yes or not needs_yes)


def _money(order: Order) -> Iterator[str]:
    """Who has an order that is paid was charged once; nobody else's money is kept."""
    captured = [charge for charge in order.charges if charge.state == "captured"]
    kept = [charge for charge in captured if charge.kept]
    if len(kept) != (order.status in _HAS_GOODS):
        yield f"order {order.id} is {order.status}, but {len(kept)} charges of it are kept"
    if any(not 0 <= charge.returned <= charge.amount for charge in order.charges):
        yield f"order {order.id} was given back more than was paid: {order.charges}"
    if any(charge.amount != order.total for charge in kept):
        yield f"order {order.id} costs {order.total}, but {kept} was charged"
    held = [charge for charge in order.charges if charge.state not in {"captured", "voided"}]
    if any(charge.state == "authorised" for charge in held) or (held and order.status != "pending"):
        yield f"order {order.id} is {order.status}, and the provider still holds {held}"
    asked = [wish for wish in order.wishes["pay"] if wish.sent["token"] in CHARGING]
    if len(order.charges) > len(asked):
        yield f"order {order.id} was charged {len(order.charges)} times, and asked for {len(asked)}"
    if any(wish.granted for wish in order.wishes["pay"]) and len(captured) != 1:
        yield f"order {order.id} was confirmed as paid, and charged {len(captured)} times"


def _refunds(order: Order, made_by_key: Mapping[tuple[str, str], str], prices: Mapping[str, Decimal]) -> Iterator[str]:
    """Each refund was asked for, and each that was granted was made: once, and of what was asked."""
    made = {refund.id: refund for refund in order.refunds if refund.is_made}
    wishes = [*order.wishes["part"], *order.wishes["refund"]]
    by_refund = [(made_by_key.get((wish.user, wish.key), ""), wish) for wish in wishes if wish.key]
    for key, wish in by_refund:
        if wish.granted != (key in made) and not wish.open:
            yield f"order {order.id}: {wish.what} {wish.sent} was answered {wish.verdict}, but there is {made.get(key)}"
        elif key in made:
            yield from _as_asked(order, wish, made[key], prices)
    without_key = [wish for wish in wishes if not wish.key]
    others = made.keys() - {key for key, _ in by_refund}
    granted = sum(wish.granted for wish in without_key)
    possible = sum(wish.granted or wish.open for wish in without_key) + (order.status == "cancelled")
    if not granted <= len(others) <= possible:
        yield f"order {order.id} has {len(others)} refunds without a key, not {granted} to {possible}"


def _as_asked(order: Order, wish: Wish, refund: Refund, prices: Mapping[str, Decimal]) -> Iterator[str]:
    lines = {line["product_id"]: line["quantity"] for line in wish.sent.get("items", [])}
    amount = Decimal(wish.sent["amount"]) if "amount" in wish.sent else sum(prices[key] * n for key, n in lines.items())
    if amount and refund.amount != amount:
        yield f"order {order.id}: {wish.sent} came to {refund}, not to {amount}"
    if lines and refund.lines != lines:
        yield f"order {order.id}: {wish.sent} came to {refund}"
    restock = wish.sent.get("restock", None if "ship" in order.actions else True)
    if lines and restock is not None and refund.restock != restock:
        yield f"order {order.id}: {wish.sent} came to {refund}"


def _stock(orders: Mapping[str, Order], store: Store, initial: Mapping[str, int]) -> Iterator[str]:
    """Sold, reserved and left are what there was."""
    sold, held = Counter[str](), Counter[str]()
    for order in orders.values():
        if "pay" in order.actions:
            sold.update(order.lines)
            for refund in order.refunds:
                sold.subtract(refund.goods)
        elif order.status == "pending":
            held.update(order.lines)
    for key, lines in store.rows("SELECT order_id, lines FROM products_reservation WHERE state = 'active'"):
        if as_id(key) not in orders:  # a request was cut off; what it holds comes back by itself
            held.update({line["product_id"]: line["quantity"] for line in as_lines(lines)})
    for key, on_hand, reserved in store.rows("SELECT product_id, on_hand, reserved FROM products_stocklevel"):
        product = as_id(key)
        if product in initial and (on_hand, reserved) != (initial[product] - sold[product], held[product]):
            yield (
                f"product {product}: of {initial[product]} there are {on_hand} on hand and {reserved} reserved, with "
                f"{sold[product]} sold and {held[product]} in orders"
            )
        if not 0 <= reserved <= on_hand:
            yield f"product {product}: {reserved} reserved of {on_hand}"


def _ledger(orders: Mapping[str, Order], store: Store) -> Iterator[str]:
    """Each paid order was deducted once, and each of its refunds has put its goods back once."""
    booked: dict[str, Counter[tuple[str, str, str, int]]] = defaultdict(Counter)
    for key, product, kind, refund, delta in store.rows(
        "SELECT order_id, product_id, kind, return_id, delta FROM products_stockmovement WHERE order_id IS NOT NULL"
    ):
        booked[as_id(key)][as_id(product), kind, as_id(refund) if refund else "", delta] += 1
    for key in booked.keys() - orders.keys():
        yield f"order {key} is in the ledger as {dict(booked[key])}, and does not exist"
    for order in orders.values():
        entries = Counter[tuple[str, str, str, int]]()
        if "pay" in order.actions:
            entries.update((product, "sale", "", -quantity) for product, quantity in order.lines.items())
        for refund in order.refunds:
            entries.update((product, "return", refund.id, units) for product, units in refund.goods.items())
        left = Counter(order.lines) - sum((Counter(refund.goods) for refund in order.refunds), Counter())
        # Stock that was given back before anybody heard of the payment, and came back as a whole, never left.
        if booked[order.id] != entries and not (not left and not booked[order.id]):
            yield f"order {order.id} is {order.status}, but the ledger has {booked[order.id]}, not {entries}"
