"""What goes out, as plain values: a list of products costs no serializer objects."""

from typing import Any

from django.conf import settings
from rest_framework.request import Request

from apps.products.interface import Category, Facets, Image, Product, StockLevel
from apps.products.models import StockMovement


def product_body(product: Product, here: str) -> dict[str, Any]:
    """A product; the addresses of its images are absolute, from the shop's own (`here`)."""
    return {
        "id": product.id,
        "name": product.name,
        "description": product.description,
        "price": str(product.price),
        "currency": product.currency,
        "category": product.category,
        "category_id": product.category_id,
        "group": product.group,
        "stock": product.stock,
        "sku": product.sku,
        "images": [image_body(image, here) for image in product.images],
        "tags": product.tags,
        "attributes": product.attributes,
        "active": product.active,
        "created_at": product.created_at,
        "updated_at": product.updated_at,
    }


def image_body(image: Image, here: str) -> dict[str, Any]:
    """A picture; its files are below the shop's own address (`here`), or in a bucket."""
    address = settings.MEDIA_URL if "://" in settings.MEDIA_URL else f"{here}{settings.MEDIA_URL}"
    return {
        "id": image.id,
        "url": address + image.url,
        "alt": image.alt,
        "width": image.width,
        "height": image.height,
        "thumbnails": {
            "small": address + image.thumbnails.small,
            "medium": address + image.thumbnails.medium,
            "large": address + image.thumbnails.large,
        },
    }


def here_of(request: Request) -> str:
    """The shop's own address, as the client calls it."""
    return request.build_absolute_uri("/").rstrip("/")


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
