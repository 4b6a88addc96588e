"""The catalogue's floor: what Django costs that knows the answer, or asks for it in one statement.

The same server and middleware, and the same JSON as the shop's.
"""

from typing import Any
from urllib.parse import urlencode
from uuid import UUID

import orjson
from django.http import HttpRequest, HttpResponse

from apps.common.api.renderers import to_json
from apps.common.databases import connection_of
from apps.products.api.representation import product_body
from config import services

PAGE_SIZE = 20

_details: dict[UUID, bytes] = {}

# The ids first: an index has them in the order of prices, and only what is on the page is read as a whole.
_PAGE = """
    WITH wanted AS (
        SELECT array_agg(_id) AS ids FROM products_category
        WHERE path LIKE (SELECT path FROM products_category WHERE slug = %(category)s) || '%%'
    ), page AS (
        SELECT _id FROM products_product
        WHERE active AND price >= %(min_price)s AND category_id = ANY((SELECT ids FROM wanted)::uuid[])
        ORDER BY price, _id LIMIT %(page_size)s
    ), matching AS (
        SELECT count(*) AS count FROM products_product
        WHERE active AND price >= %(min_price)s AND category_id = ANY((SELECT ids FROM wanted)::uuid[])
    )
    SELECT product._id, product.name, product.description, round(product.price, 2)::text, product.currency,
        category.name, product.category_id, product."group", coalesce(level.on_hand - level.reserved, 0), product.sku,
        product.images::text, product.tags::text, product.attributes::text, product.active, product.created_at,
        product.updated_at, (SELECT count FROM matching)
    FROM page
    JOIN products_product AS product USING (_id)
    LEFT JOIN products_category AS category ON category._id = product.category_id
    LEFT JOIN products_stocklevel AS level ON level.product_id = product._id
    ORDER BY product.price, product._id
"""
_FIELDS = (
    "id", "name", "description", "price", "currency", "category", "category_id", "group", "stock", "sku", "images",
    "tags", "attributes", "active", "created_at", "updated_at",
)  # fmt: skip


def product(request: HttpRequest, product_id: UUID) -> HttpResponse:
    """The bytes of the shop's answer, as it was the first time."""
    body = _details.get(product_id) or _remember(request, product_id)
    return HttpResponse(body, content_type="application/json")


def page(request: HttpRequest) -> HttpResponse:
    """The first page of a category's products from a price on, cheapest first."""
    here = _here(request)
    query = {"category": request.GET["category"], "min_price": request.GET["min_price"], "ordering": "price"}
    with connection_of("products").cursor() as cursor:
        cursor.execute(_PAGE, {**query, "page_size": PAGE_SIZE})
        rows = cursor.fetchall()
    count = rows[0][-1] if rows else 0
    next_page = f"{here}/api/v1/products?{urlencode({**query, 'page': 2})}" if count > PAGE_SIZE else None
    results = [_product(row, here) for row in rows]
    answer = {"count": count, "next": next_page, "previous": None, "results": results}
    return HttpResponse(to_json(answer), content_type="application/json")


def _product(row: tuple[Any, ...], here: str) -> dict[str, Any]:
    found = dict(zip(_FIELDS, row, strict=False))
    images = orjson.loads(found["images"])
    for image in images:
        image["url"] = f"{here}/media/{image['url']}"
        image["thumbnails"] = {name: f"{here}/media/{path}" for name, path in image["thumbnails"].items()}
    found["images"] = images
    # They are JSON, and go out as they are.
    found["tags"], found["attributes"] = orjson.Fragment(found["tags"]), orjson.Fragment(found["attributes"])
    return found


def _remember(request: HttpRequest, product_id: UUID) -> bytes:
    found = services.products().get_product(product_id=product_id)
    return _details.setdefault(product_id, to_json(product_body(found, _here(request))))


def _here(request: HttpRequest) -> str:
    return request.build_absolute_uri("/").rstrip("/")
