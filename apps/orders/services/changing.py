"""Changing a pending order.

Other lines need two transactions in two services. The order notes what it is about to do, the products service reserves
the new lines instead of the old, and the order takes them over. Whoever finds the note later does the rest: reserving
the same lines again changes nothing.
"""

import logging
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db.models import Q
from django.utils import timezone

from apps.common.databases import atomic
from apps.common.errors import DomainError, Unavailable
from apps.orders.interface import SYSTEM, Actor, Order, OrderChange, OrderStatus, ShippingAddress
from apps.orders.models import Order as OrderRow
from apps.orders.models import OrderItem as ItemRow
from apps.orders.services.pricing import Price, add_up, items_of, merge, shipping_cost
from apps.orders.services.rows import abandon_unconfirmed, check_idle, find, lock, move, to_order
from apps.orders.states import Action, target
from apps.products.interface import PricedLine, ProductService, StockLine

logger = logging.getLogger(__name__)

# No request takes longer; a change that is older belongs to a process that died.
_ABANDONED_AFTER = timedelta(seconds=60)


class Changing:
    """The part of the orders service that changes orders."""

    _products: ProductService

    def change_order(self, *, order_id: UUID, actor: Actor, change: OrderChange) -> Order:
        if change.lines is not None:
            self._check_price(order_id, actor, merge(change.lines), change.shipping)
        with atomic("orders"):
            row = lock(order_id, actor)
            target(Action.CHANGE, OrderStatus(row.status))
            abandon_unconfirmed(row, check_idle(row))
            if change.lines is None:
                _apply_details(row, change.shipping, change.note)
                return move(row, Action.CHANGE, actor)
            row.change = _to_note(change, actor)
            row.change_began_at = timezone.now()
            row.changes += 1
            row.save(update_fields=["change", "change_began_at", "changes"])
        return self._carry_out(row)

    def _settle_changes(self) -> int:
        """Finish changes that were cut off; returns how many."""
        now = timezone.now()
        # One from the future was begun by a clock that is wrong; if its process lives, both come to the same end.
        is_left = Q(change_began_at__lt=now - _ABANDONED_AFTER) | Q(change_began_at__gt=now + _ABANDONED_AFTER)
        rows = list(OrderRow.objects.filter(is_left).order_by("change_began_at")[:100])
        for row in rows:
            try:
                self._carry_out(row)
            except DomainError as refusal:
                logger.info("The change of order %s could not be finished: %s", row.number, refusal)
            except Exception:
                # One change that cannot be finished must not keep the others waiting.
                logger.exception("Finishing the change of order %s failed", row.number)
        return len(rows)

    def _carry_out(self, row: OrderRow) -> Order:
        """Reserve the noted lines and take them over; what cannot be reserved is dropped, and said."""
        noted: list[tuple[str, int]] = (row.change or {})["lines"]
        lines = [StockLine(product_id=UUID(key), quantity=quantity) for key, quantity in noted]
        try:
            priced = self._products.replace_reservation(order_id=row.id, change=row.changes, lines=lines)
        except Unavailable:
            # Nothing is known, and the lines may be reserved: the note stays, and the change is finished later.
            raise
        except DomainError:
            OrderRow.objects.filter(pk=row.pk, change_began_at=row.change_began_at).update(
                change=None, change_began_at=None
            )
            raise
        return _take_over(row.id, row.change_began_at, priced)

    def _check_price(
        self, order_id: UUID, actor: Actor, lines: list[StockLine], shipping: ShippingAddress | None
    ) -> None:
        """Refuse what could not be charged before anything is touched.

        Lines that stay keep the order's price, as they do when they are reserved. An unknown product is left to the
        reservation, which names it.
        """
        row = find(order_id, actor)
        prices = {item.product_id: (item.price, row.currency) for item in row.items.all()}
        fresh = [line.product_id for line in lines if line.product_id not in prices]
        for product in self._products.get_products(product_ids=fresh) if fresh else ():
            prices[product.id] = (product.price, product.currency)
        priced = [Price(*prices[line.product_id], line.quantity) for line in lines if line.product_id in prices]
        add_up(priced, shipping or _address(row), row.currency)


def _take_over(order_id: UUID, began_at: datetime | None, priced: Sequence[PricedLine]) -> Order:
    """Make the reserved lines the order's own."""
    with atomic("orders"):
        row = lock(order_id, SYSTEM)
        if row.change is None or row.change_began_at != began_at:
            # Somebody else has finished this change.
            return to_order(row)
        note: dict[str, Any] = row.change
        ItemRow.objects.filter(order=row).delete()
        ItemRow.objects.bulk_create(items_of(row.id, priced))
        row.change = row.change_began_at = None
        row.subtotal = sum(line.price * line.quantity for line in priced)
        _apply_details(row, ShippingAddress(**note["shipping"]) if note["shipping"] else None, note["note"])
        actor_id = note["actor_id"]
        return move(row, Action.CHANGE, Actor(user_id=UUID(actor_id) if actor_id else None))


def _apply_details(row: OrderRow, shipping: ShippingAddress | None, note: str | None) -> None:
    """Set what needs no stock, and the total that follows."""
    if shipping is not None:
        row.shipping = asdict(shipping)
        row.shipping_cost = shipping_cost(shipping, row.currency)
    if note is not None:
        row.note = note
    row.total = row.subtotal + row.shipping_cost


def _to_note(change: OrderChange, actor: Actor) -> dict[str, Any]:
    return {
        "lines": [[str(line.product_id), line.quantity] for line in merge(change.lines or [])],
        "shipping": asdict(change.shipping) if change.shipping else None,
        "note": change.note,
        "actor_id": str(actor.user_id) if actor.user_id else None,
    }


def _address(row: OrderRow) -> ShippingAddress | None:
    return ShippingAddress(**row.shipping) if row.shipping else None
