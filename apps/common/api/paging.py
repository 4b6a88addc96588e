"""Pages: numbered for the catalogue, by cursor where a list only grows."""

from typing import Any
from uuid import UUID

from rest_framework.exceptions import NotFound
from rest_framework.pagination import Cursor, CursorPagination, PageNumberPagination
from rest_framework.request import Request

from apps.common.paging import MAX_PAGE_SIZE, PAGE_SIZE


def _with_null(schema: dict[str, Any]) -> dict[str, Any]:
    """REST framework's schema of a page says `nullable`, which OpenAPI 3.1 does not know."""
    for name in ("next", "previous"):
        link = schema["properties"][name]
        del link["nullable"]
        link["type"] = ["string", "null"]
    return {**schema, "required": list(schema["properties"])}


class PagePagination(PageNumberPagination):
    """`?page=&page_size=`: 20 by default, at most 100."""

    page_size = PAGE_SIZE
    page_size_query_param = "page_size"
    max_page_size = MAX_PAGE_SIZE

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        return _with_null(super().get_paginated_response_schema(schema))


class NewestFirst(CursorPagination):
    """Newest first by UUIDv7; an index look-up however deep the page."""

    page_size = PAGE_SIZE
    page_size_query_param = "page_size"
    max_page_size = MAX_PAGE_SIZE
    ordering = "-id"

    def decode_cursor(self, request: Request) -> Cursor | None:
        cursor = super().decode_cursor(request)
        if cursor is not None and cursor.position is not None:
            try:
                UUID(str(cursor.position))
            except ValueError:
                raise NotFound(self.invalid_cursor_message) from None
        return cursor

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        return _with_null(super().get_paginated_response_schema(schema))
