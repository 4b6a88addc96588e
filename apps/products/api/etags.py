"""Conditional requests (RFC 9110, section 13) on products.

A product's ETag is "revision-stock". A cached copy is fresh only if both are still the same. An editor's form, though,
must not become stale with every sale: for `If-Match` the revision alone counts.
"""

import re
from uuid import UUID

from django.http import HttpRequest
from django.utils.http import parse_etags
from rest_framework.request import Request

from apps.products.interface import StaleProduct
from config import services

_VERSION = re.compile(r'"(\d{1,18})-(\d{1,18})"')


def is_fresh(request: HttpRequest | Request, etag: str) -> bool:
    """Whether the client's copy is this very version (`If-None-Match`, compared weakly)."""
    header = request.headers.get("If-None-Match")
    if header is None:
        return False
    return header.strip() == "*" or etag in {tag.removeprefix("W/") for tag in parse_etags(header)}


def stocks_read(request: Request) -> set[int]:
    """What the client has seen of the stock, by its `If-Match`: it may send that back with the rest of the product."""
    return {stock for _, stock in _versions(request.headers.get("If-Match", ""))}


def revision_to_change(request: Request, product_id: UUID) -> int | None:
    """The revision that the client wants to change; None when it did not say (no `If-Match`, or `*`).

    Raises:
        StaleProduct: the product has moved on, or the header names no version of a product.
        ProductNotFound: unknown or deleted.
    """
    header = request.headers.get("If-Match")
    if header is None or header.strip() == "*":
        return None
    current = services.products().get_product(product_id=product_id, include_inactive=True).revision
    if current not in {revision for revision, _ in _versions(header)}:
        raise StaleProduct("The product has changed since you read it. Read it again.")
    return current


def _versions(header: str) -> list[tuple[int, int]]:
    """The revisions and stocks that strong entity tags name."""
    matches = [_VERSION.fullmatch(tag) for tag in parse_etags(header)]
    return [(int(match[1]), int(match[2])) for match in matches if match]
