"""What products are called and cost at the moment."""

from collections.abc import Collection, Mapping, Sequence
from decimal import Decimal
from typing import NamedTuple
from uuid import UUID

from django.conf import settings
from django.db import connections

from apps.common.errors import Problem
from apps.common.money import quantize
from apps.products.interface import PricedLine, ProductNotFound, StockLine
from apps.products.models import Product

# As text, an array of ids costs the driver a tenth of what it costs as a list.
_OFFERS = """
    SELECT _id, name, sku, price, currency FROM products_product
    WHERE _id = ANY(%s::uuid[]) AND active AND deleted_at IS NULL
"""


class Offer(NamedTuple):
    """A product for sale, as an order remembers it."""

    name: str
    sku: str
    price: Decimal
    currency: str


def offers(product_ids: Collection[UUID]) -> Mapping[UUID, Offer]:
    """Those of these products that are for sale, in one query."""
    connection = connections[settings.CATALOGUE_DATABASE]
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(_OFFERS, [f"{{{','.join(map(str, product_ids))}}}"])
            rows = cursor.fetchall()
    else:
        sold = Product.objects.filter(pk__in=product_ids, active=True, deleted_at=None)
        rows = list(sold.values_list("id", "name", "sku", "price", "currency"))
    return {key: Offer(name, sku, quantize(price, currency), currency) for key, name, sku, price, currency in rows}


def price(lines: Sequence[StockLine], known: Mapping[UUID, Offer] | None = None) -> list[PricedLine]:
    """The lines with what their products are called and cost now, by these offers or those of the moment.

    Raises:
        ProductNotFound: names each line whose product is unknown or no longer sold.
    """
    if known is None:
        known = offers([line.product_id for line in lines]) if lines else {}
    missing = [line.product_id for line in lines if line.product_id not in known]
    if missing:
        raise ProductNotFound(*(Problem(f"Product {key} is not sold here.", attr=f"items.{key}") for key in missing))
    return [
        PricedLine(product_id=line.product_id, quantity=line.quantity, **known[line.product_id]._asdict())
        for line in lines
    ]
