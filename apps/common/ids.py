"""Identifiers."""

from datetime import datetime
from hashlib import blake2b
from uuid import UUID

from uuid_utils.compat import uuid7

# Crockford's base 32: no letter that is mistaken for a digit, or for another, when read aloud.
_DIGITS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def readable(number: int, length: int) -> str:
    """The last `5 * length` bits of the number in `length` characters that people can read out on the telephone."""
    return "".join(_DIGITS[number >> 5 * place & 31] for place in reversed(range(length)))


def new_id() -> UUID:
    """A UUIDv7 (RFC 9562, section 5.7): unique, and sorted by the time it was made, so that indexes stay compact."""
    return uuid7()


def derived_id(at: datetime, key: str, counter: int = 0) -> UUID:
    """A UUIDv7 of that moment whose random bits follow from `key`. Ids of one moment sort by `counter` (below 4096)."""
    milliseconds = int(at.timestamp() * 1000)
    noise = int.from_bytes(blake2b(key.encode(), digest_size=8).digest()) >> 2
    return UUID(int=(milliseconds << 80) | (7 << 76) | (counter << 64) | (2 << 62) | noise)


def earliest_id(at: datetime) -> UUID:
    """The smallest UUIDv7 of that moment: ids made from then on are not below it."""
    return UUID(int=(int(at.timestamp() * 1000) << 80) | (7 << 76) | (2 << 62))
