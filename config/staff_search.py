"""What the search of the staff pages finds beside their names: products, orders and the like."""

from django.contrib import admin
from django.contrib.admin.options import ModelAdmin
from django.db.models import Model
from django.http import HttpRequest
from django.urls import reverse
from django.utils.text import capfirst
from unfold.dataclasses import SearchResult

# Which rows can be found, by their models, and the picture before them.
_SEARCHED = {
    "products.product": "sell",
    "products.category": "account_tree",
    "orders.order": "receipt_long",
    "users.user": "person",
}
_MOST = 6
_SHORTEST = 2


def search(request: HttpRequest, term: str) -> list[SearchResult]:
    """The first rows of each kind that the person may see; each kind costs one statement."""
    if len(term) < _SHORTEST:
        return []
    pages = {model._meta.label_lower: page for model, page in admin.site._registry.items()}  # noqa: SLF001 - it has no other list
    chosen = [(pages[label], icon) for label, icon in _SEARCHED.items() if label in pages]
    return [
        result
        for page, icon in chosen
        if page.has_view_permission(request)
        for result in _find(request, page, term, icon)
    ]


def _find(request: HttpRequest, page: ModelAdmin[Model], term: str, icon: str) -> list[SearchResult]:
    rows, _ = page.get_search_results(request, page.get_queryset(request), term)
    meta = page.model._meta
    name = f"admin:{meta.app_label}_{meta.model_name}_change"
    return [
        SearchResult(
            title=str(row), description=str(capfirst(meta.verbose_name)), link=reverse(name, args=[row.pk]), icon=icon
        )
        for row in rows[:_MOST]
    ]
