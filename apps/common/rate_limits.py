"""How often somebody may ask: requests are counted in windows that begin with the first of them.

In Redis, where there is one, for all processes together. Without it, and while it is away, in this process.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from threading import Lock
from time import monotonic

from django.conf import settings
from django.core.cache import cache
from django_redis import get_redis_connection
from limits import RateLimitItem
from redis import RedisError

from apps.common.outages import Outage

Limits = Mapping[str, Sequence[RateLimitItem]]

# Counts a request under each key, and says for each in how many milliseconds its window ends if it is over its limit.
_COUNT = """
local waits = {}
for i, key in ipairs(KEYS) do
    local count = redis.call("incr", key)
    if count == 1 then redis.call("expire", key, ARGV[2 * i]) end
    waits[i] = count > tonumber(ARGV[2 * i - 1]) and redis.call("pttl", key) or 0
end
return waits
"""
_SWEPT_FROM = 1000


class Windows:
    """Counts of this process."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._windows: dict[str, tuple[float, int]] = {}
        self._sweep_at = _SWEPT_FROM

    def hit(self, key: str, limit: RateLimitItem) -> float:
        """Count a request; returns in how many seconds the window ends if the limit is exceeded, else 0."""
        now = monotonic()
        with self._lock:
            ends, count = self._windows.get(key, (0.0, 0))
            if ends <= now:
                ends, count = now + limit.get_expiry(), 0
                self._sweep(now)
            self._windows[key] = ends, count + 1
        return ends - now if count >= limit.amount else 0.0

    def _sweep(self, now: float) -> None:
        """Forget windows that have ended, whenever there are twice as many as after the last time."""
        if len(self._windows) >= self._sweep_at:
            self._windows = {key: window for key, window in self._windows.items() if window[0] > now}
            self._sweep_at = max(_SWEPT_FROM, 2 * len(self._windows))


class RateLimiter:
    """Counts requests against named limits. Names are those of `limits`; a name may have several limits, or none."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._here = Windows()
        self._refused: dict[str, float] = {}
        self._outage = Outage("Redis, where requests are counted,")
        self._prefix = cache.make_key("limits:")
        self._count = get_redis_connection("default").register_script(_COUNT) if settings.SHARED_CACHE else None

    def hit(self, **who: str) -> int:
        """Count a request of the one that is named under each limit; returns in how many seconds they may ask again,
        0 if this is no request too many.
        """
        if known := self.refused(**who):
            return known
        hits = list(self._keys(who))
        waits = self._hit_together(hits)
        wait = max(waits, default=0.0)
        if wait > 0:
            self._note_refused({key: wait for (_, key), wait in zip(hits, waits, strict=True) if wait > 0})
        return math.ceil(wait)

    def refused(self, **who: str) -> int:
        """In how many seconds they may ask again whom this process has refused before. Counts nothing and asks nobody,
        so that a flood costs little.
        """
        if not self._refused:
            return 0
        until = max((self._refused.get(key, 0.0) for _, key in self._keys(who)), default=0.0)
        return math.ceil(max(0.0, until - monotonic()))

    def _hit_together(self, hits: Sequence[tuple[RateLimitItem, str]]) -> list[float]:
        if self._count is not None:
            try:
                numbers = [number for limit, _ in hits for number in (limit.amount, limit.get_expiry())]
                waits = self._count([key for _, key in hits], numbers)
            except RedisError as error:
                self._outage.began(error)
            else:
                self._outage.ended()
                return [wait / 1000 for wait in waits]
        return [self._here.hit(key, limit) for limit, key in hits]

    def _note_refused(self, waits: Mapping[str, float]) -> None:
        now = monotonic()
        lasting = {key: until for key, until in self._refused.items() if until > now}
        self._refused = lasting | {key: now + wait for key, wait in waits.items()}  # never changed, as others read it

    def _keys(self, who: Mapping[str, str]) -> Iterator[tuple[RateLimitItem, str]]:
        for name, each in who.items():
            for limit in self._limits.get(name, ()):
                yield limit, f"{self._prefix}{name}:{each}:{limit.amount}/{limit.get_expiry()}"
