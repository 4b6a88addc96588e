"""Examples for the OpenAPI document."""

from drf_spectacular.utils import OpenApiExample

_CATEGORY = {
    "id": "019aa9c2-6a51-7e53-9a3f-0f3b2a9c1d20",
    "name": "Electronics",
    "slug": "electronics",
    "parent_id": None,
    "created_at": "2026-01-02T03:04:05.678901Z",
    "updated_at": "2026-01-02T03:04:05.678901Z",
}
_PRODUCT = {
    "id": "019aa9c2-6a51-7e53-9a3f-0f3b2a9c1d21",
    "name": "Test Product",
    "description": "",
    "price": "99.99",
    "currency": "USD",
    "category": "Electronics",
    "category_id": _CATEGORY["id"],
    "stock": 100,
    "sku": "TEST-7K3Q9F2M",
    "images": [],
    "tags": ["new"],
    "attributes": {"colour": "red"},
    "active": True,
    "created_at": "2026-01-02T03:04:05.678901Z",
    "updated_at": "2026-01-02T03:04:05.678901Z",
}

_MEDIA = "https://shop.example.com/media/products/21/019aa9c26a517e539a3f0f3b2a9c1d21-019aa9c26a517e539a3f0f3b2a9c1d22"
_IMAGE = {
    "id": "019aa9c2-6a51-7e53-9a3f-0f3b2a9c1d22",
    "url": f"{_MEDIA}.jpg",
    "alt": "The lamp on a desk",
    "width": 4032,
    "height": 3024,
    "thumbnails": {name: f"{_MEDIA}-{name}.webp" for name in ("small", "medium", "large")},
}

NEW_PRODUCT = OpenApiExample(
    "A new product",
    {"name": "Test Product", "price": 99.99, "stock": 100, "category": "Electronics"},
    request_only=True,
)
PRODUCT_CHANGE = OpenApiExample("A new price", {"price": "89.99"}, request_only=True)
PRODUCT = OpenApiExample("A product", _PRODUCT, response_only=True, status_codes=["200", "201"])
IMAGE = OpenApiExample("A picture", _IMAGE, response_only=True, status_codes=["200", "201"])
ARRANGEMENT = OpenApiExample("An order", {"images": [{"id": _IMAGE["id"], "alt": "A lamp"}]}, request_only=True)
NEW_CATEGORY = OpenApiExample("A new category", {"name": "Electronics"}, request_only=True)
CATEGORY = OpenApiExample("A category", _CATEGORY, response_only=True, status_codes=["200", "201"])
DELIVERY = OpenApiExample("A delivery", {"delta": 50, "reason": "delivery 4711"}, request_only=True)
COUNT = OpenApiExample("A count", {"on_hand": 48, "reason": "stock-taking"}, request_only=True)
LEVEL = OpenApiExample(
    "A level",
    {"product_id": _PRODUCT["id"], "on_hand": 100, "reserved": 2, "available": 98},
    response_only=True,
    status_codes=["200"],
)
