"""What the products service does when it hears of an order, and its housekeeping."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from celery import shared_task
from django.conf import settings
from django.core.mail import send_mail

from apps.events.consumer import batch_subscriber, subscriber
from apps.events.envelope import Event
from apps.orders.events import PAID, order_id_of
from apps.products import popular
from apps.products.interface import ProductNotFound, StockLine, StockReturn
from apps.products.transfer import jobs
from config import services


@batch_subscriber("products.settle_reservation", ordered=True)
def settle_reservation(events: Sequence[Event]) -> None:
    """Deduct the stock of orders that are paid, put back what a refund returns, and give back that of orders that ended
    unpaid.

    An event of a paid order names all that has come back so far, so that one that was overtaken is not missed.
    """
    commit, release, returns = [], [], {}
    for event in events:
        order_id, returned = order_id_of(event.data), event.data.get("returns")
        if event.type == PAID or returned == []:
            commit.append(order_id)
        elif returned is None:
            release.append(order_id)
        else:
            returns[order_id] = [_to_return(each) for each in returned]
    services.products().settle_reservations(commit=commit, release=release, returns=returns)


def _to_return(data: Mapping[str, Any]) -> StockReturn:
    lines = [StockLine(product_id=UUID(line["product_id"]), quantity=line["quantity"]) for line in data["lines"]]
    return StockReturn(return_id=UUID(data["return_id"]), lines=lines)


@subscriber("products.mail_staff", transactional=False)
def mail_staff(event: Event) -> None:
    """Tell the staff that a product is running out; one that has left the shop is nobody's worry."""
    try:
        product = services.products().get_product(product_id=UUID(event.data["product_id"]), include_inactive=True)
    except ProductNotFound:
        return
    left = event.data["on_hand"]
    body = f"{left} of {product.name} ({product.sku}) are left on hand."
    # A subject is one line, whatever the name is.
    subject = f"Running out: {' '.join(product.name.split())}"
    send_mail(subject, body, settings.DEFAULT_FROM_EMAIL, [settings.STAFF_EMAIL])


@subscriber("products.run_import", transactional=False)
def run_import(event: Event) -> None:
    """Import the next part of a file: each row commits by itself."""
    jobs.run_chunk(services.products(), event.subject, event.data["chunk"])


@shared_task(name="products.clean_imports")
def clean_imports() -> None:
    """Forget old imports and their files."""
    jobs.clean()


@shared_task(name="products.release_orphaned_reservations")
def release_orphaned_reservations() -> None:
    """Give back stock that is held past its time."""
    services.products().release_expired_reservations()


@shared_task(name="products.clean_pictures")
def clean_pictures() -> None:
    """Remove files that no picture refers to."""
    services.products().clean_images()


@shared_task(name="products.announce_products")
def announce_products() -> None:
    """Publish the events of products that are not out yet."""
    while services.products().announce_products():
        pass


@batch_subscriber("products.count_sales", transactional=False)
def count_sales(events: Sequence[Event]) -> None:
    """What is bought becomes popular."""
    units: Counter[UUID] = Counter()
    for event in events:
        units.update({UUID(item["product_id"]): item["quantity"] for item in event.data["items"]})
    popular.count_sale(units)


@shared_task(name="products.cool_popular")
def cool_popular() -> None:
    """Let popularity fade."""
    popular.cool()
