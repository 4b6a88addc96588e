"""Changing stock levels, and saying what is short."""

from collections.abc import Mapping
from uuid import UUID

from apps.common.errors import Problem
from apps.products.interface import OutOfStock
from apps.products.models import Product
from apps.products.services.levels import Shift, Shifted, levels_of, shift_levels


def shift_all(shifts: Mapping[UUID, Shift]) -> dict[UUID, Shifted]:
    """Change all these levels.

    Raises:
        OutOfStock: names each product that has too little, with what is available.
    """
    if not shifts:
        return {}
    shifted = shift_levels(shifts)
    short = {key: shift.reserved or -shift.on_hand for key, shift in shifts.items() if key not in shifted}
    if short:
        available = {key: level.available for key, level in levels_of(list(short)).items()}
        names = dict(Product.objects.filter(pk__in=short).values_list("id", "name"))
        raise out_of_stock(short, available, names)
    return shifted


def out_of_stock(wanted: Mapping[UUID, int], available: Mapping[UUID, int], names: Mapping[UUID, str]) -> OutOfStock:
    """The refusal of so many units, by what is available; a product that is not mentioned there has no stock."""
    return OutOfStock(
        *(
            Problem(
                f"{names.get(key, 'It')}: {units} more wanted, {available.get(key, 0)} available (product {key}).",
                attr=f"items.{key}",
            )
            for key, units in wanted.items()
        )
    )
