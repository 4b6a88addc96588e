"""What of the catalogue is remembered in Redis, and when it is forgotten.

| what | under | forgotten |
| --- | --- | --- |
| a product's answer, without its stock | its id | when the product changes, or its category's name |
| what of a product can be sold | its id | when its level changes |
| a page: which products, and what is around them | its address | when any product or category changes |

Should Redis be away at that moment, each lasts at most a minute. Prices and stock of orders are never read from here.
"""

import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from uuid import UUID

from django.conf import settings
from django.core.cache import cache
from django.db.transaction import on_commit

from apps.common.cached import Cached, await_refill, read, refilled
from apps.common.databases import alias_of

_SECONDS = 60.0
_ANSWERS = Cached("products:answer", seconds=_SECONDS)
_STOCK = Cached("products:stock", seconds=_SECONDS)
_GENERATION = "products:generation"


@dataclass(frozen=True)
class Answer:
    """A product's JSON, cut where its stock stands."""

    revision: int
    head: bytes
    tail: bytes


@dataclass(frozen=True)
class Page:
    """A page's JSON, cut where its products stand; as of a generation of the catalogue."""

    generation: str
    head: bytes
    product_ids: Sequence[UUID]
    tail: bytes


def answers(product_ids: Sequence[UUID]) -> tuple[dict[UUID, Answer], dict[UUID, int]]:
    """What is remembered of these products: their answers, and what of them can be sold."""
    keys = [shelf.key(each) for shelf in (_ANSWERS, _STOCK) for each in product_ids]
    found = read(keys)
    return _ANSWERS.pick(product_ids, found), _STOCK.pick(product_ids, found)


def await_answer(product_id: UUID) -> Answer | None:
    """What is remembered of a product, perhaps by somebody who is just looking it up. None: look it up, then call
    `answer_looked_up`.
    """
    return await_refill(_ANSWERS.key(product_id), lambda: answers([product_id])[0].get(product_id))


def answer_looked_up(product_id: UUID) -> None:
    refilled(_ANSWERS.key(product_id))


def remember_answers(found: dict[UUID, Answer]) -> None:
    _ANSWERS.remember(found)


def remember_stock(found: dict[UUID, int]) -> None:
    _STOCK.remember(found)


def page(address: str) -> Page | None:
    """The page that was answered at this address, unless the catalogue has changed since, perhaps by somebody who is
    just making it. None: make it, then call `page_made`.
    """
    key = _page_key(address)
    return _look(key) or await_refill(key, partial(_look, key))


def page_made(address: str) -> None:
    refilled(_page_key(address))


def remember_page(address: str, made: Page) -> None:
    """Keep a page that was made of what the catalogue was at `generation()` or later."""
    cache.set(_page_key(address), made, _SECONDS)


def generation() -> str:
    """A name for what the catalogue is now. Ask before reading what is to be remembered."""
    known: str | None = cache.get(_GENERATION)
    if known is None:
        cache.add(_GENERATION, secrets.token_hex(8), None)
        known = cache.get(_GENERATION)
    return known or ""


def product_changed(*product_ids: UUID) -> None:
    """The catalogue has changed, and what is remembered of these products. Call it in the transaction of the change."""
    _on_commit(partial(_forget_products, product_ids))


def stock_changed(product_ids: Iterable[UUID]) -> None:
    """Call it in the transaction of the change."""
    _on_commit(partial(_STOCK.forget, list(product_ids)))


def _on_commit(forget: partial[None]) -> None:
    if settings.SHARED_CACHE:
        on_commit(forget, using=alias_of("products"))


def _forget_products(product_ids: Sequence[UUID]) -> None:
    _ANSWERS.forget(product_ids)
    cache.set(_GENERATION, secrets.token_hex(8), None)


def _look(key: str) -> Page | None:
    found = read([key, _GENERATION])
    made: Page | None = found.get(key)
    return made if made and made.generation and made.generation == found.get(_GENERATION) else None


def _page_key(address: str) -> str:
    return f"products:page:{blake2b(address.encode(), digest_size=16).hexdigest()}"
