"""The dashboard of the staff pages, put together from what each app shows."""

import json
from typing import Any

from django.http import HttpRequest
from django.utils.module_loading import import_string

from apps.common.staff_cards import Bars, Offer

# In the order in which they are shown. Each decides by the person's role what it shows, if anything.
_OFFERS = ("apps.orders.staff_cards.cards", "apps.products.staff_cards.cards", "config.staff_events.cards")


def add_to(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """Called by the theme: what the page shows besides the menu."""
    found = [_offer(name)(request) for name in _OFFERS]
    return {
        **context,
        "figures": [figure for cards in found for figure in cards.figures],
        "charts": [(chart, _data(chart)) for cards in found for chart in cards.charts],
        "tables": [table for cards in found for table in cards.tables],
    }


def _offer(name: str) -> Offer:
    offer: Offer = import_string(name)
    return offer


def _data(chart: Bars) -> str:
    """As the theme's script wants it."""
    bars = {
        "label": str(chart.title),
        "data": chart.numbers,
        "backgroundColor": "var(--color-chart-bar)",
        "displayYAxis": True,
        "maxBarThickness": 14,
        "borderRadius": 3,
        "maxTicksXLimit": 10,
    }
    return json.dumps({"labels": chart.labels, "datasets": [bars]})
