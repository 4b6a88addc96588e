"""Orders for tests, made the way customers make them."""

from decimal import Decimal
from uuid import UUID

from apps.common.ids import new_id
from apps.orders.interface import SYSTEM, Actor, NewOrder, Order, ShippingAddress
from apps.products.interface import NewProduct, Product, StockLine
from config import services


def make_product(
    *, name: str = "Lamp", stock: int = 10, price: str = "10.00", sku: str | None = None, currency: str | None = None
) -> Product:
    """A product for sale."""
    new = NewProduct(name=name, price=Decimal(price), stock=stock, sku=sku, currency=currency)
    return services.products().create_product(new=new)


def place(user_id: UUID, *lines: tuple[Product, int], shipping: ShippingAddress | None = None) -> Order:
    """An order of these products."""
    wanted = [StockLine(product_id=product.id, quantity=quantity) for product, quantity in lines]
    return services.orders().place_order(
        order_id=new_id(), user_id=user_id, new=NewOrder(lines=wanted, shipping=shipping)
    )


def pay(order: Order, token: str = "tok_visa") -> Order:  # noqa: S107 - a sandbox token
    """The order, paid by its owner."""
    actor = Actor(user_id=order.user_id)
    return services.orders().pay_order(order_id=order.id, payment_id=new_id(), actor=actor, method="card", token=token)


def ship(order: Order) -> Order:
    return services.orders().ship_order(order_id=order.id, actor=SYSTEM)
