"""What an order costs."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from uuid import UUID

from django.conf import settings

from apps.common.errors import Problem
from apps.common.ids import new_id
from apps.common.money import MAX_DIGITS, MAX_PLACES, quantize
from apps.orders.interface import AmountTooLarge, CurrencyMismatch, ShippingAddress, UnknownShippingMethod
from apps.orders.models import OrderItem
from apps.products.interface import PricedLine, StockLine

_LARGEST = Decimal(10) ** (MAX_DIGITS - MAX_PLACES)


@dataclass(frozen=True)
class Price:
    """What so many units of something cost each."""

    price: Decimal
    currency: str
    quantity: int


@dataclass(frozen=True)
class Amounts:
    """An order's money, in one currency."""

    currency: str
    subtotal: Decimal
    shipping_cost: Decimal

    @property
    def total(self) -> Decimal:
        return self.subtotal + self.shipping_cost


def merge(lines: Sequence[StockLine]) -> list[StockLine]:
    """One line for each product, in the order of their first mention."""
    quantities: dict[UUID, int] = {}
    for line in lines:
        quantities[line.product_id] = quantities.get(line.product_id, 0) + line.quantity
    return [StockLine(product_id=product_id, quantity=quantity) for product_id, quantity in quantities.items()]


def add_up(
    lines: Sequence[PricedLine | Price], shipping: ShippingAddress | None, currency: str | None = None
) -> Amounts:
    """The amounts of an order of these lines.

    Raises:
        CurrencyMismatch: products of several currencies, or of another than asked for.
        UnknownShippingMethod: not a method of the shop in that currency.
        AmountTooLarge: more digits than we can charge.
    """
    found = sorted({line.currency for line in lines} | ({currency} if currency else set()))
    if len(found) != 1:
        raise CurrencyMismatch(
            Problem(f"An order has one currency; this would have {' and '.join(found)}.", "currency")
        )
    amounts = Amounts(
        currency=found[0],
        subtotal=sum((line.price * line.quantity for line in lines), Decimal(0)),
        shipping_cost=shipping_cost(shipping, found[0]),
    )
    if amounts.total >= _LARGEST:
        raise AmountTooLarge(Problem("The order's total is more than can be charged.", "items"))
    return amounts


def shipping_cost(shipping: ShippingAddress | None, currency: str) -> Decimal:
    """What the shop asks for the shipping method.

    Raises:
        UnknownShippingMethod: not a method of the shop in that currency.
    """
    if shipping is None:
        return Decimal(0)
    prices = settings.SHIPPING_METHODS.get(shipping.method)
    if prices is None or (prices and currency not in prices):
        offered = sorted(m for m, p in settings.SHIPPING_METHODS.items() if not p or currency in p)
        raise UnknownShippingMethod(
            Problem(f"Shipping in {currency} is by {', '.join(offered)}.", attr="shipping.method")
        )
    return quantize(Decimal(prices.get(currency, 0)), currency)


def items_of(order_id: UUID, lines: Sequence[PricedLine]) -> list[OrderItem]:
    """The order's item rows, unsaved."""
    return [
        OrderItem(
            id=new_id(),
            order_id=order_id,
            product_id=line.product_id,
            product_name=line.name,
            sku=line.sku,
            quantity=line.quantity,
            price=line.price,
            total=line.price * line.quantity,
        )
        for line in lines
    ]
