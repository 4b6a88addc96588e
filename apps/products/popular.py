"""Popular products: views and sales, which count less and less as time goes by.

In Redis, one sorted set: who looks at a product adds a little, who buys it adds more, and once an hour everything is
multiplied so that it halves in a week. Without Redis the ledger of the last month stands in.
"""

import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from uuid import UUID

from django.conf import settings
from django.core.cache import cache
from django.db.models import Sum
from django.utils import timezone
from django_redis import get_redis_connection

from apps.common.cached import AWAY
from apps.common.ids import earliest_id
from apps.products.interface import MovementKind
from apps.products.models import Product, StockMovement

MOST = 100
_KEY = "products:popular"
_SALE = 20  # a sold unit says as much as that many views
_HALF_LIFE_HOURS = 7 * 24
_KEPT = 10_000
_LEDGER_OF = timedelta(days=30)
# Views are counted here first: a request in Redis for each would cost as much as the answer.
_FLUSH_VIEWS = 100
_FLUSH_SECONDS = 2.0
_COOLED_SECONDS = 30 * 60


class _Views:
    """Views that Redis has not heard of yet. A process that dies takes the last few with it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[UUID] = Counter()
        self._flushed_at = 0.0

    def add(self, product_id: UUID) -> Mapping[UUID, int]:
        """Count one; returns what is due for Redis, if anything."""
        with self._lock:
            self._counts[product_id] += 1
            is_due = self._counts.total() >= _FLUSH_VIEWS or time.monotonic() - self._flushed_at > _FLUSH_SECONDS
            if not is_due:
                return {}
            due, self._counts, self._flushed_at = self._counts, Counter(), time.monotonic()
            return due


_views = _Views()


def count_view(product_id: UUID) -> None:
    """Somebody has looked at the product."""
    if settings.SHARED_CACHE and (due := _views.add(product_id)):
        _add(due)


def count_sale(units: Mapping[UUID, int]) -> None:
    """So many units of each have been sold."""
    if settings.SHARED_CACHE:
        _add({product_id: count * _SALE for product_id, count in units.items()})


def cool() -> None:
    """Let an hour pass: everything counts a little less, and what hardly counts is forgotten."""
    if not settings.SHARED_CACHE:
        return
    # Of several that run the same schedule, the first: for the others the hour has passed.
    if not cache.add(f"{_KEY}:cooled", 1, timeout=_COOLED_SECONDS):
        return
    key = cache.make_key(_KEY)
    with suppress(*AWAY), get_redis_connection("default").pipeline() as pipeline:
        pipeline.zunionstore(key, {key: 0.5 ** (1 / _HALF_LIFE_HOURS)})
        pipeline.zremrangebyrank(key, 0, -_KEPT - 1)
        pipeline.execute()


def top() -> Sequence[UUID]:
    """The most popular products that are for sale, at most `MOST`; a shop that knows of none shows its newest."""
    ranked = _ranked()
    sold = set(Product.objects.filter(pk__in=ranked, active=True).values_list("pk", flat=True))
    found = [key for key in ranked if key in sold]
    if found:
        return found
    newest = Product.objects.filter(active=True).order_by("-id")
    return list(newest.values_list("pk", flat=True)[:MOST])


def _ranked() -> list[UUID]:
    if settings.SHARED_CACHE:
        try:
            keys = get_redis_connection("default").zrevrange(cache.make_key(_KEY), 0, MOST - 1)
        except AWAY:
            keys = []  # the ledger knows, too
        if keys:
            return [UUID(key.decode()) for key in keys]
    sales = StockMovement.objects.filter(kind=MovementKind.SALE, id__gte=earliest_id(timezone.now() - _LEDGER_OF))
    most = sales.order_by().values("product_id").annotate(units=-Sum("delta")).order_by("-units", "product_id")
    return list(most.values_list("product_id", flat=True)[:MOST])


def _add(scores: Mapping[UUID, int]) -> None:
    # Popularity is no bookkeeping.
    with suppress(*AWAY), get_redis_connection("default").pipeline(transaction=False) as pipeline:
        for product_id, score in scores.items():
            pipeline.zincrby(cache.make_key(_KEY), score, str(product_id))
        pipeline.execute()
