"""How long the call that is being answered may still take: calls that it makes in turn take no longer."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from math import inf
from time import monotonic

_ends_at: ContextVar[float] = ContextVar("ends_at", default=inf)


def remaining(most: float) -> float:
    """The seconds that a call may take: `most`, or what is left to the one that is being answered."""
    return max(0.0, min(most, _ends_at.get() - monotonic()))


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """What happens inside is to take no longer than that: `inf` if nobody says."""
    token = _ends_at.set(monotonic() + seconds)
    try:
        yield
    finally:
        _ends_at.reset(token)
