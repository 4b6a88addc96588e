"""Whether there is enough of a product, as staff look at it: in stock, low, or sold out."""

from enum import StrEnum

from django.conf import settings
from django.db.models import Exists, F, OuterRef, Q, QuerySet

from apps.products.models import Product, StockLevel
from apps.products.store import documents

_SOLD_OUT = Q(on_hand__lte=F("reserved"))


class Supply(StrEnum):
    """What can be sold now: more than `LOW_STOCK_THRESHOLD`, some, or nothing."""

    IN_STOCK = "in_stock"
    LOW = "low"
    SOLD_OUT = "sold_out"


def supply_of(available: int) -> Supply:
    if available <= 0:
        return Supply.SOLD_OUT
    return Supply.LOW if available <= settings.LOW_STOCK_THRESHOLD else Supply.IN_STOCK


def in_supply(products: QuerySet[Product], supply: Supply) -> QuerySet[Product]:
    """Those of the products of which there is so much."""
    scarce = Q(on_hand__lte=F("reserved") + settings.LOW_STOCK_THRESHOLD)
    if documents.are_apart():
        return _in_other_store(products, supply, scarce)
    level = StockLevel.objects.filter(product_id=OuterRef("pk"))
    match supply:
        case Supply.SOLD_OUT:
            return products.filter(~Exists(level.exclude(_SOLD_OUT)))
        case Supply.LOW:
            return products.filter(Exists(level.filter(scarce).exclude(_SOLD_OUT)))
        case Supply.IN_STOCK:
            return products.filter(Exists(level.exclude(scarce)))


def _in_other_store(products: QuerySet[Product], supply: Supply, scarce: Q) -> QuerySet[Product]:
    """No join reaches the inventory. What is scarce is the smaller part of a shop: 10,000 of them are 350 kB."""
    levels = StockLevel.objects.order_by()
    match supply:
        case Supply.SOLD_OUT:
            return products.filter(pk__in=list(levels.filter(_SOLD_OUT).values_list("pk", flat=True)))
        case Supply.LOW:
            low = levels.filter(scarce).exclude(_SOLD_OUT)
            return products.filter(pk__in=list(low.values_list("pk", flat=True)))
        case Supply.IN_STOCK:
            return products.exclude(pk__in=list(levels.filter(scarce).values_list("pk", flat=True)))
