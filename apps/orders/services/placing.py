"""Placing an order: the stock first, then the order."""

from collections.abc import Sequence
from secrets import randbits
from uuid import UUID

from django.conf import settings
from django.db import IntegrityError
from django.utils import timezone

from apps.common import logs
from apps.common.errors import DomainError
from apps.common.ids import new_id, readable
from apps.events.outbox import to_row
from apps.orders import events, metrics
from apps.orders.interface import NewOrder, Order, OrderIdTaken, OrderItem, OrderStatus, Shipping
from apps.orders.models import Order as OrderRow
from apps.orders.services.pricing import Amounts, add_up, merge
from apps.orders.services.recording import Placement, record
from apps.orders.services.rows import RESERVATION_MARGIN, to_order
from apps.products.interface import PricedLine, ProductService, ReservationClosed


class Placing:
    """The part of the orders service that takes orders in."""

    _products: ProductService

    def place_order(self, *, order_id: UUID, user_id: UUID, new: NewOrder) -> Order:
        logs.bind(order_id=order_id)
        try:
            return self._place(order_id, user_id, new)
        except DomainError as refusal:
            metrics.REFUSED.labels(refusal.code).inc()
            raise

    def _place(self, order_id: UUID, user_id: UUID, new: NewOrder) -> Order:
        try:
            priced = self._products.reserve_stock(
                order_id=order_id, lines=merge(new.lines), hold_for=settings.RESERVATION_TTL + RESERVATION_MARGIN
            )
        except ReservationClosed:
            # A repetition: of a request whose order has ended since, or that was cut off before it made one.
            if placed := _placed_before(order_id, user_id):
                return placed
            raise
        try:
            amounts = add_up(priced, new.shipping, new.currency)
        except DomainError:
            # A repetition may meet other rules than its order did: the stock is that order's.
            if placed := _placed_before(order_id, user_id):
                return placed
            self._products.release_reservation(order_id=order_id)
            raise
        # From here on a failure leaves the stock reserved and nothing else: whether a commit that broke off went
        # through cannot be known, so only the reservation's own expiry may give the stock back.
        while True:
            placement = _to_placement(order_id=order_id, user_id=user_id, new=new, amounts=amounts, lines=priced)
            try:
                record(placement)
            except IntegrityError:
                if placed := _placed_before(order_id, user_id):
                    return placed
                # Another order of the day has drawn the same number: with a million of them, one in a million has.
                if not OrderRow.objects.filter(number=placement.order.number).exists():
                    raise
            else:
                metrics.count_order()
                return placement.order


def _to_placement(
    *,
    order_id: UUID,
    user_id: UUID,
    new: NewOrder,
    amounts: Amounts,
    lines: Sequence[PricedLine],
) -> Placement:
    now = timezone.now()
    order = Order(
        id=order_id,
        number=_number(now.strftime("%y%m%d")),
        user_id=user_id,
        status=OrderStatus.PENDING,
        currency=amounts.currency,
        subtotal=amounts.subtotal,
        total=amounts.total,
        items=[_to_item(line) for line in lines],
        shipping=Shipping(**vars(new.shipping), cost=amounts.shipping_cost, status="pending") if new.shipping else None,
        payment=None,
        note=new.note,
        created_at=now,
        updated_at=now,
    )
    event = to_row("orders", events.order_fact(events.CREATED, order, sequence=1))
    return Placement(order, new.shipping, amounts.shipping_cost, event)


def _to_item(line: PricedLine) -> OrderItem:
    return OrderItem(
        id=new_id(),
        product_id=line.product_id,
        product_name=line.name,
        sku=line.sku,
        quantity=line.quantity,
        price=line.price,
        total=line.price * line.quantity,
    )


def _number(day: str) -> str:
    """A number that can be read out on the telephone: the day, and 40 random bits."""
    return f"{day}-{readable(randbits(40), 8)}"


def _placed_before(order_id: UUID, user_id: UUID) -> Order | None:
    """The order, if this is a repetition.

    Raises:
        OrderIdTaken: it is somebody else's, and so is the stock that is held for it.
    """
    row = OrderRow.objects.filter(pk=order_id).first()
    if row is not None and row.user_id != user_id:
        raise OrderIdTaken("Another order has this id. Choose a new one.")
    return to_order(row) if row else None
