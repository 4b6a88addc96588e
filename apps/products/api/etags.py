"""Conditional requests (RFC 9110, section 13) on products.

A product's ETag is "revision-stock". A cached copy is fresh only if both are still the same. An editor's form, though,
must not become stale with every sale: for `If-Match` the revision alone counts.
"""

import re
from uuid import UUID

from django.utils.http import parse_etags
from rest_framework.request import Request

from apps.products.interface import Product, StaleProduct
from config import services

_REVISION = re.compile(r'"(\d+)-\d+"')


def is_fresh(request: Request, product: Product) -> bool:
    """Whether the client's copy is this very version (`If-None-Match`, compared weakly)."""
    header = request.headers.get("If-None-Match")
    if header is None:
        return False
    return header.strip() == "*" or product.etag in {tag.removeprefix("W/") for tag in parse_etags(header)}


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
    named = [match[1] for tag in parse_etags(header) if (match := _REVISION.fullmatch(tag))]
    if str(current) not in named:
        raise StaleProduct("The product has changed since you read it. Read it again.")
    return current
