"""Orders for tests, made the way customers make them."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID

from standardwebhooks.webhooks import Webhook

from apps.common.ids import new_id
from apps.orders.interface import SYSTEM, Actor, NewOrder, Order, ShippingAddress
from apps.orders.payments.sandbox import webhook_secret
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


def notice(
    payment_id: object, outcome: str = "approved", *, at: datetime | None = None
) -> tuple[bytes, dict[str, str]]:
    """A message of the sandbox, and the headers with which it is signed."""
    body = json.dumps({"payment_id": str(payment_id), "outcome": outcome})
    signed_at = at or datetime.now(UTC)
    message_id = f"msg_{new_id().hex}"
    signature = Webhook(webhook_secret()).sign(message_id, signed_at, body)
    headers = {
        "webhook-id": message_id,
        "webhook-timestamp": str(int(signed_at.timestamp())),
        "webhook-signature": signature,
    }
    return body.encode(), headers


def confirm(payment_id: object, outcome: str = "approved") -> None:
    """The customer confirms a payment, or does not, and the sandbox tells us."""
    body, headers = notice(payment_id, outcome)
    services.orders().handle_provider_message(provider="sandbox", body=body, headers=headers)


def ship(order: Order) -> Order:
    return services.orders().ship_order(order_id=order.id, actor=SYSTEM)
