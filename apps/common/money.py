"""Amounts of money: a Decimal with as many places as its ISO 4217 currency has."""

from decimal import ROUND_HALF_UP, Decimal
from functools import cache

from iso4217 import Currency

# The largest number of places among the currencies in use; columns keep as many.
MAX_PLACES = 3
MAX_DIGITS = 14


@cache
def places_of(currency: str) -> int:
    """How many decimal places the ISO 4217 currency has: 2 for USD, 0 for JPY, 3 for KWD.

    Raises:
        ValueError: there is no such currency, or nothing is priced in it (gold, test codes).
    """
    exponent = Currency(currency).exponent
    if exponent is None or exponent > MAX_PLACES:
        raise ValueError(currency)
    return exponent


def is_currency(code: str) -> bool:
    """Whether prices can be in this ISO 4217 currency."""
    try:
        places_of(code)
    except ValueError:
        return False
    return True


def quantize(amount: Decimal, currency: str) -> Decimal:
    """The amount with exactly its currency's places, half rounded up."""
    return amount.quantize(Decimal(1).scaleb(-places_of(currency)), rounding=ROUND_HALF_UP)


def fits(amount: Decimal, currency: str) -> bool:
    """Whether the amount has no more places than its currency: 1.5 yen do not exist."""
    return amount == quantize(amount, currency)
