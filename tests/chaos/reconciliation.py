"""What clients were told against what the shop's books say, line by line. Each fault is one sentence."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from tests.chaos.clients import CHARGING, Lines, Memory, Wish
from tests.chaos.store import Store, as_amount, as_id, as_lines

_HAS_GOODS = {"paid", "shipped", "delivered"}
# What was granted → where the order may stand in the end.
_AFTER = {
    "pay": {"paid", "shipped", "delivered", "cancelled", "refunded"},
    "cancel": {"cancelled"},
    "ship": {"shipped", "delivered", "refunded"},
    "deliver": {"delivered", "refunded"},
    "refund": {"refunded"},
}
# Where an order stands → what somebody must have asked for.
_BEFORE = {
    "paid": ["pay"],
    "shipped": ["pay", "ship"],
    "delivered": ["pay", "ship", "deliver"],
    "refunded": ["pay", "refund"],
}
# In the sandbox's books: payment, amount, what of it was given back.
# What was authorised and never captured has moved no money.
_CHARGES = """
    SELECT idempotency_key, amount, CASE state WHEN 'voided' THEN amount ELSE refunded_amount END
    FROM orders_sandboxcharge
"""


@dataclass(frozen=True)
class Charge:
    """Money at the provider."""

    payment: str
    amount: Decimal
    returned: Decimal


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
    wishes: dict[str, list[Wish]] = field(default_factory=lambda: defaultdict(list))


def faults(
    memory: Memory, store: Store, initial: Mapping[str, int], prices: Mapping[str, Decimal], *, may_expire: bool
) -> list[str]:
    """Everything that is wrong; `initial` is the first stock of each product."""
    orders = _read(store)
    for wish in memory.wishes:
        if wish.order in orders:
            orders[wish.order].wishes[wish.what].append(wish)
    found = [*_placed(memory, orders, store), *_replayed(memory)]
    for order in orders.values():
        found += _statuses(order, may_expire=may_expire)
        found += _amounts(order, prices)
        found += _money(order)
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
    for key, amount, returned in store.rows(_CHARGES):
        charge = Charge(as_id(key), as_amount(amount), as_amount(returned))
        orders[payments[charge.payment]].charges.append(charge)
    return orders


def _placed(memory: Memory, orders: Mapping[str, Order], store: Store) -> Iterator[str]:
    """Every order that was confirmed is there, no wish made two, and nobody has one that was never asked for."""
    places = memory.of("place")
    confirmed: Counter[str] = Counter()
    for wish in places:
        if wish.granted and wish.verdict:
            confirmed[wish.verdict.body["id"]] += 1
            yield from _confirmed(wish, wish.verdict.body, orders)
    yield from (f"order {key} was confirmed to {count} wishes" for key, count in confirmed.items() if count > 1)
    made_by_key = {
        (as_id(owner), key): as_id(resource)
        for owner, key, resource in store.rows("SELECT owner_id, key, resource_id FROM common_idempotencykey")
    }
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
    for what in _BEFORE.get(order.status, []):
        if not any(wish.granted or wish.open for wish in order.wishes[what]):
            yield f"order {order.id} is {order.status}, but nobody's {what} was accepted"
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


def _money(order: Order) -> Iterator[str]:
    """Who has an order that is paid was charged once; nobody else's money is kept."""
    kept = [charge for charge in order.charges if charge.returned < charge.amount]
    if len(kept) != (order.status in _HAS_GOODS):
        yield f"order {order.id} is {order.status}, but {len(kept)} charges of it are kept"
    if any(charge.returned > charge.amount for charge in order.charges):
        yield f"order {order.id} was given back more than was paid: {order.charges}"
    if any(charge.amount != order.total for charge in kept):
        yield f"order {order.id} costs {order.total}, but {kept} was charged"
    asked = [wish for wish in order.wishes["pay"] if wish.sent["token"] in CHARGING]
    if len(order.charges) > len(asked):
        yield f"order {order.id} was charged {len(order.charges)} times, and asked for {len(asked)}"
    if any(wish.granted for wish in order.wishes["pay"]) and len(order.charges) != 1:
        yield f"order {order.id} was confirmed as paid, and charged {len(order.charges)} times"


def _stock(orders: Mapping[str, Order], store: Store, initial: Mapping[str, int]) -> Iterator[str]:
    """Sold, reserved and left are what there was."""
    sold, held = Counter[str](), Counter[str]()
    for order in orders.values():
        if order.status in _HAS_GOODS or (order.status == "refunded" and "ship" in order.actions):
            sold.update(order.lines)
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
    """Each paid order was deducted once, and returned once if it was given back."""
    booked: dict[str, Counter[tuple[str, str, int]]] = defaultdict(Counter)
    for key, product, kind, delta in store.rows(
        "SELECT order_id, product_id, kind, delta FROM products_stockmovement WHERE order_id IS NOT NULL"
    ):
        booked[as_id(key)][as_id(product), kind, delta] += 1
    for key, entries in booked.items():
        if key not in orders or max(entries.values()) > 1:
            yield f"order {key} is in the ledger as {dict(entries)}"
    for order in orders.values():
        sales = Counter({(product, "sale", -quantity): 1 for product, quantity in order.lines.items()})
        returns = Counter({(product, "return", quantity): 1 for product, quantity in order.lines.items()})
        keeps = order.status in _HAS_GOODS or (order.status == "refunded" and "ship" in order.actions)
        allowed: Sequence[Counter[tuple[str, str, int]]] = [sales] if keeps else [Counter(), sales + returns]
        if booked[order.id] not in allowed:
            yield f"order {order.id} is {order.status}, but the ledger has {dict(booked[order.id])}"
