"""How the staff pages look: settings of their theme, django-unfold."""

from typing import Any

from django.templatetags.static import static
from django.urls import reverse_lazy
from django.utils.translation import gettext_lazy as _

UNFOLD: dict[str, Any] = {
    "SITE_TITLE": "Cartwright",
    "SITE_HEADER": "Cartwright",
    "SITE_SUBHEADER": "Staff pages",
    "SITE_FAVICONS": [{"rel": "icon", "type": "image/svg+xml", "href": lambda _request: static("cartwright/icon.svg")}],
    "SITE_SYMBOL": "shopping_bag",
    "SHOW_LANGUAGES": True,
    "ACCOUNT": {"navigation": [{"title": _("Second factor"), "link": reverse_lazy("second_factor")}]},
}
