"""What goes out, as plain values: a list of products costs no serializer objects."""

from typing import Any
from urllib.parse import urljoin

from django.conf import settings
from rest_framework.request import Request

from apps.products.interface import Category, Product, StockLevel
from apps.products.models import StockMovement
from apps.products.selection import Facets


def product_body(product: Product, request: Request) -> dict[str, Any]:
    """A product; the addresses of its images are absolute."""
    return {
        "id": product.id,
        "name": product.name,
        "description": product.description,
        "price": str(product.price),
        "currency": product.currency,
        "category": product.category,
        "category_id": product.category_id,
        "stock": product.stock,
        "sku": product.sku,
        "images": [
            {
                "id": image.id,
                "url": request.build_absolute_uri(urljoin(settings.MEDIA_URL, image.url)),
                "alt": image.alt,
            }
            for image in product.images
        ],
        "tags": product.tags,
        "attributes": product.attributes,
        "active": product.active,
        "created_at": product.created_at,
        "updated_at": product.updated_at,
    }


def category_body(category: Category) -> dict[str, Any]:
    """A category."""
    return {
        "id": category.id,
        "name": category.name,
        "slug": category.slug,
        "parent_id": category.parent_id,
        "created_at": category.created_at,
        "updated_at": category.updated_at,
    }


def level_body(level: StockLevel) -> dict[str, Any]:
    """A stock level."""
    return {
        "product_id": level.product_id,
        "on_hand": level.on_hand,
        "reserved": level.reserved,
        "available": level.available,
    }


def movement_body(movement: StockMovement) -> dict[str, Any]:
    """A line of the ledger."""
    return {
        "id": movement.id,
        "product_id": movement.product_id,
        "delta": movement.delta,
        "kind": movement.kind,
        "reason": movement.reason,
        "order_id": movement.order_id,
        "actor_id": movement.actor_id,
        "created_at": movement.created_at,
    }


def facets_body(facets: Facets) -> dict[str, Any]:
    """The counts beside a search."""
    return {
        "categories": [
            {"id": each.id, "name": each.name, "slug": each.slug, "count": each.count} for each in facets.categories
        ],
        "tags": [{"tag": each.tag, "count": each.count} for each in facets.tags],
        "price_bands": [
            {"min": str(band.min), "max": None if band.max is None else str(band.max), "count": band.count}
            for band in facets.price_bands
        ],
    }
