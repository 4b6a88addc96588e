"""What no log line and no span may say: secrets, and what is known of people.

By name, where there is one (`MASKED_KEYS`), and by what it looks like, wherever that is: in a message, a traceback or
an address. A text that only looks so is masked too; nobody misses it.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Final

MASK: Final = "***"

# Parts of names; `customer_email` and `X-Api-Key` are found by theirs.
MASKED_KEYS: Final = (
    *("password", "passwd", "secret", "token", "authorization", "cookie", "api_key", "private_key", "signature", "otp"),
    *("card", "cvc", "cvv", "iban", "email", "phone", "address", "first_name", "last_name", "zip_code"),
)
# Names with such a part that say nothing of anybody.
_HARMLESS: Final = frozenset({"server.address", "address_family"})

_KEY = "|".join(key.replace("_", "[_ -]?") for key in MASKED_KEYS)
_NAMED = re.compile(
    # name=text, "name": "text", and so in an address's query. A value in brackets is looked at by itself.
    rf"""(?P<name>(?:{_KEY})[\w-]*)(?P<is>["']?\s*[=:]\s*)(?P<value>"[^"]*"|'[^']*'|[^\s"'&,;)}}\]([{{<]+)""",
    re.IGNORECASE,
)
_HEADER = re.compile(r"\b(Bearer|Basic|Digest)\s+[\w.~+/=-]{8,}", re.IGNORECASE)
_JWT = re.compile(r"\beyJ[\w-]+\.[\w-]+(?:\.[\w-]*)?")
_KEYS = re.compile(r"\b(?:sk|rk|pk|whsec|tok|pm|seti|pi)_[\w-]{4,}")
_EMAIL = re.compile(r"[\w.!#$%&'+^`{|}~-]+@[\w-]+(?:\.[\w-]+)*\.[^\W\d][\w-]+")
_CREDENTIALS = re.compile(r"(?<=://)[^\s/@]+@")
# PostgreSQL names what it refuses: Key (email)=(somebody@example.com) already exists.
_DETAIL = re.compile(r"(?<=\)=)\([^)]*\)")
_ROW = re.compile(r"(?<=Failing row contains )\(.*\)")
_DIGITS = re.compile(r"(?<![\w.-])\d(?:[ -]?\d){12,18}(?![\w.-])")


def mask(text: str) -> str:
    """The text without what looks like a secret, or like somebody's address or card."""
    for is_worth_it, pattern, replacement in _RULES:
        if is_worth_it(text):
            text = pattern.sub(replacement, text)
    return text


def mask_value(name: str, value: object) -> object:
    """What may be told of a value with that name."""
    if is_masked(name) and value not in (None, ""):
        return MASK
    if isinstance(value, str):
        return mask(value)
    if isinstance(value, Mapping):
        return {key: mask_value(str(key), each) for key, each in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, bytes):
        return [mask_value("", each) for each in value]
    return value if isinstance(value, bool | int | float | None) else mask(str(value))


@lru_cache(maxsize=4096)
def is_masked(name: str) -> bool:
    """Whether what has that name is never told."""
    name = name.lower().replace("-", "_")
    return name not in _HARMLESS and any(key in name for key in MASKED_KEYS)


def _named(match: re.Match[str]) -> str:
    value = match["value"]
    quote = value[0] if value[0] in "\"'" else ""
    return f"{match['name']}{match['is']}{quote}{MASK}{quote}"


def _card(match: re.Match[str]) -> str:
    """A number is a card's if its check digit says so (Luhn)."""
    digits = [int(digit) for digit in reversed(match[0]) if digit.isdigit()]
    doubled = (sum(divmod(2 * digit, 10)) for digit in digits[1::2])
    return MASK if (sum(digits[::2]) + sum(doubled)) % 10 == 0 else match[0]


def _has(*parts: str) -> Callable[[str], bool]:
    """Looking for these costs a tenth of looking for the pattern."""
    return lambda text: any(part in text for part in parts)


def _may_name(text: str) -> bool:
    return ("=" in text or ":" in text) and _ANY_KEY.search(text) is not None


_ANY_KEY = re.compile(_KEY, re.IGNORECASE)
_RULES: Sequence[tuple[Callable[[str], bool], re.Pattern[str], str | Callable[[re.Match[str]], str]]] = (
    (_has("earer ", "asic ", "igest ", "EARER "), _HEADER, rf"\1 {MASK}"),
    (_has("eyJ"), _JWT, MASK),
    (_has("sk_", "rk_", "pk_", "whsec_", "tok_", "pm_", "pi_", "seti_"), _KEYS, MASK),
    (_has("://"), _CREDENTIALS, f"{MASK}@"),
    (_has("@"), _EMAIL, MASK),
    (_has(")=("), _DETAIL, f"({MASK})"),
    (_has("Failing row contains ("), _ROW, f"({MASK})"),
    (_may_name, _NAMED, _named),
    (lambda text: len(text) > 12, _DIGITS, _card),  # noqa: PLR2004 - the shortest card's digits
)
