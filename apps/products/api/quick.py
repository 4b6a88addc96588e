"""Answers that are put together from what Redis remembers, past REST framework: several times as fast.

Only for what anybody may see. Whoever shows a token, a session or a wish for another format, and every address whose
answer is not remembered, goes the whole way; that remembers its answer for the next.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from hashlib import blake2b
from typing import Any
from uuid import UUID

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseNotModified
from django.http.response import HttpResponseBase
from django.views.decorators.csrf import csrf_exempt
from rest_framework.request import Request

from apps.common.api.renderers import to_json
from apps.products import cache, popular
from apps.products.api.etags import is_fresh
from apps.products.api.representation import product_body
from apps.products.interface import Product, etag_of
from apps.products.services.levels import levels_of
from config import services

View = Callable[..., HttpResponseBase]

# Stands for the shop's own address, which each request names. Nobody can write it into a product.
_HERE = f"https://{blake2b(settings.SECRET_KEY.encode(), digest_size=16).hexdigest()}.invalid"
_HERE_BYTES = _HERE.encode()
_STOCK = -1
_LONGEST_ADDRESS = 1000
_KNOWN = frozenset(
    {"category", "group", "limit", "max_price", "min_price", "ordering", "page", "page_size", "q", "tag"}
)
_HEADERS = {"Vary": "Accept, Cookie"}


def product(whole_way: View) -> View:
    """One product."""

    @csrf_exempt
    @wraps(whole_way)
    def view(request: HttpRequest, product_id: UUID) -> HttpResponseBase:
        if not _is_plain(request) or request.GET:
            return whole_way(request, product_id=product_id)
        found = _bodies([product_id], request, wait=True)
        if not found:
            return whole_way(request, product_id=product_id)
        popular.count_view(product_id)
        body, etag = found[product_id]
        headers = {**_HEADERS, "ETag": etag, "Cache-Control": "no-cache"}
        if is_fresh(request, etag):
            return HttpResponseNotModified(headers=headers)
        return HttpResponse(body, content_type="application/json", headers=headers)

    return view


def page(whole_way: View) -> View:
    """A page of products."""

    @csrf_exempt
    @wraps(whole_way)
    def view(request: HttpRequest) -> HttpResponseBase:
        if not _is_keepable(request):
            return whole_way(request)
        address = request.get_full_path()
        made = cache.page(address)
        if made is None:
            try:
                return whole_way(request)
            finally:
                cache.page_made(address)
        found = _bodies(made.product_ids, request)
        bodies = b",".join(found[key][0] for key in made.product_ids if key in found)
        parts = [made.head.replace(_HERE_BYTES, _here(request)), bodies, made.tail]
        return HttpResponse(b"".join(parts), content_type="application/json", headers=_HEADERS)

    return view


def keep(request: Request, generation: str, answer: Mapping[str, Any], products: Sequence[Product] = ()) -> None:
    """Remember a page that the whole way has made, if it is one that anybody may see. Its `results` are these products,
    which are remembered by themselves, or whatever else they are.
    """
    if not _is_keepable(request._request):  # noqa: SLF001 - Django's request below REST framework's
        return
    cache.remember_answers({each.id: _cut(each) for each in products})
    # None may also be a level that is not there yet, and is opened without anything being forgotten.
    cache.remember_stock({each.id: each.stock for each in products if each.stock})
    whole = to_json({**answer, "results": []} if products else answer)
    head, mark, tail = whole.partition(b'"results":[')
    made = cache.Page(
        generation=generation,
        head=head.replace(_here(request), _HERE_BYTES) + mark,
        product_ids=[each.id for each in products],
        tail=tail,
    )
    cache.remember_page(request.get_full_path(), made)


def _is_keepable(request: HttpRequest) -> bool:
    """Whether anybody gets that page, until the catalogue changes: what is in stock changes with every order.

    What an address says beside that would come back in the links of the next one who asks, and fill Redis.
    """
    known = all(name in _KNOWN or name.startswith("attributes[") for name in request.GET)
    return _is_plain(request) and known and len(request.get_full_path()) <= _LONGEST_ADDRESS


def _is_plain(request: HttpRequest) -> bool:
    """Whether it is somebody unknown who asks for JSON."""
    accept = request.headers.get("Accept", "*/*")
    return (
        settings.SHARED_CACHE
        and request.method == "GET"
        and "Authorization" not in request.headers
        and settings.SESSION_COOKIE_NAME not in request.COOKIES
        and (accept in {"*/*", "application/json"} or accept.startswith("application/json,"))
    )


def _bodies(product_ids: Sequence[UUID], request: HttpRequest, *, wait: bool = False) -> dict[UUID, tuple[bytes, str]]:
    """The JSON of these products, and their ETags; those that are not for sale are missing. Two queries at most, and
    with `wait` none while somebody else is asking the same.
    """
    known, stock = cache.answers(product_ids)
    if missing := [key for key in product_ids if key not in known]:
        known |= _await(missing[0]) if wait else _look_up(missing)
    if uncounted := [key for key in known if key not in stock]:
        levels = levels_of(uncounted)
        cache.remember_stock({key: level.available for key, level in levels.items()})
        stock |= {key: levels[key].available if key in levels else 0 for key in uncounted}
    here = _here(request)
    return {key: _join(each, stock[key], here) for key, each in known.items()}


def _await(product_id: UUID) -> dict[UUID, cache.Answer]:
    if found := cache.await_answer(product_id):
        return {product_id: found}
    try:
        return _look_up([product_id])
    finally:
        cache.answer_looked_up(product_id)


def _look_up(product_ids: Sequence[UUID]) -> dict[UUID, cache.Answer]:
    made = {each.id: _cut(each) for each in services.products().get_products(product_ids=product_ids)}
    cache.remember_answers(made)
    return made


def _cut(each: Product) -> cache.Answer:
    body = to_json({**product_body(each, _HERE), "stock": _STOCK})
    # No client names a key before this one.
    head, key, tail = body.partition(b'"stock":')
    return cache.Answer(revision=each.revision, head=head + key, tail=tail.removeprefix(str(_STOCK).encode()))


def _join(each: cache.Answer, stock: int, here: bytes) -> tuple[bytes, str]:
    body = b"%b%d%b" % (each.head, stock, each.tail)
    return body.replace(_HERE_BYTES, here), etag_of(each.revision, stock)


def _here(request: HttpRequest | Request) -> bytes:
    return bytes(request.build_absolute_uri("/").rstrip("/"), "ascii")
