"""The facts that the products service publishes."""

from uuid import UUID

from apps.common.ids import derived_id
from apps.events.envelope import Fact
from apps.products.interface import Product, StockLevel

CREATED = "product.created"
UPDATED = "product.updated"
DELETED = "product.deleted"
STOCK_CHANGED = "stock.changed"
STOCK_LOW = "stock.low"
RESERVATION_LOST = "reservation.lost"
IMPORT_REQUESTED = "import.requested"


def product_fact(kind: str, product: Product) -> Fact:
    """What the service tells of a product: `product_id`, `name`, `price`, `currency`, `stock`.

    Its id follows from product and revision: a document store cannot commit it with the change, so that it may be told
    a second time.
    """
    return Fact(
        id=derived_id(product.updated_at, f"product:{product.id}:{product.revision}"),
        type=kind,
        subject=product.id,
        sequence=product.revision,
        data={
            "product_id": str(product.id),
            "name": product.name,
            "price": str(product.price),
            "currency": product.currency,
            "stock": product.stock,
        },
    )


def stock_fact(kind: str, level: StockLevel, sequence: int) -> Fact:
    """What the service tells of a stock level: `product_id`, `on_hand`, `reserved`, `available`."""
    return Fact(
        type=kind,
        subject=level.product_id,
        sequence=sequence,
        data={
            "product_id": str(level.product_id),
            "on_hand": level.on_hand,
            "reserved": level.reserved,
            "available": level.available,
        },
    )


def reservation_lost_fact(order_id: UUID) -> Fact:
    """A paid order's stock went to others while it was not held: `order_id`."""
    return Fact(type=RESERVATION_LOST, subject=order_id, sequence=1, data={"order_id": str(order_id)})


def import_requested_fact(job_id: UUID, chunk: int) -> Fact:
    """The next part of a file waits to be imported: `chunk`, counted from 0."""
    return Fact(type=IMPORT_REQUESTED, subject=job_id, sequence=chunk + 1, data={"chunk": chunk})
