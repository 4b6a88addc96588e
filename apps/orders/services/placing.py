"""Placing an order: the stock first, then the order."""

from dataclasses import asdict
from uuid import UUID

from django.db import IntegrityError
from django.utils import timezone

from apps.common.databases import atomic
from apps.common.errors import DomainError
from apps.common.ids import readable
from apps.events.outbox import publish
from apps.orders import events
from apps.orders.interface import NewOrder, Order
from apps.orders.models import Order as OrderRow
from apps.orders.models import OrderItem as ItemRow
from apps.orders.services.pricing import Amounts, add_up, items_of, merge
from apps.orders.services.rows import RESERVATION_MARGIN, expiry, to_order
from apps.products.interface import ProductService, ReservationClosed


class Placing:
    """The part of the orders service that takes orders in."""

    _products: ProductService

    def place_order(self, *, order_id: UUID, user_id: UUID, new: NewOrder) -> Order:
        expires_at = expiry()
        try:
            priced = self._products.reserve_stock(
                order_id=order_id, lines=merge(new.lines), expires_at=expires_at + RESERVATION_MARGIN
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
        row, items = _to_row(order_id, user_id, new, amounts), items_of(order_id, priced)
        row.expires_at = expires_at
        # From here on a failure leaves the stock reserved and nothing else: whether a commit that broke off went
        # through cannot be known, so only the reservation's own expiry may give the stock back.
        try:
            with atomic("orders"):
                row.save(force_insert=True)
                ItemRow.objects.bulk_create(items)
                order = to_order(row, items)
                publish("orders", events.order_fact(events.CREATED, order, row.sequence))
        except IntegrityError:
            if placed := _placed_before(order_id, user_id):
                return placed
            raise
        return order


def _to_row(order_id: UUID, user_id: UUID, new: NewOrder, amounts: Amounts) -> OrderRow:
    now = timezone.now()
    return OrderRow(
        id=order_id,
        number=_number(order_id, now.strftime("%y%m%d")),
        user_id=user_id,
        currency=amounts.currency,
        subtotal=amounts.subtotal,
        shipping_cost=amounts.shipping_cost,
        total=amounts.total,
        shipping=asdict(new.shipping) if new.shipping else None,
        note=new.note,
        created_at=now,
        updated_at=now,
    )


def _number(order_id: UUID, day: str) -> str:
    """A number that can be read out on the telephone: the day, and 40 of the id's random bits."""
    return f"{day}-{readable(order_id.int, 8)}"


def _placed_before(order_id: UUID, user_id: UUID) -> Order | None:
    row = OrderRow.objects.filter(pk=order_id, user_id=user_id).first()
    return to_order(row) if row else None
