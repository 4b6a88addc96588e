"""How the staff pages look and what their menu has: settings of their theme, django-unfold."""

from collections.abc import Callable
from typing import Any

from django.http import HttpRequest
from django.templatetags.static import static
from django.urls import reverse_lazy
from django.utils.translation import gettext_lazy as _

_May = Callable[[HttpRequest], bool]


def _may_see(app: str) -> _May:
    """Whether the person's role opens the pages of that app; nothing is asked of a database."""
    return lambda request: request.user.has_module_perms(app)


def _page(title: object, icon: str, name: str, app: str = "") -> dict[str, Any]:
    """An entry of the menu: a list of rows, by its model, for those who may see its app."""
    link = reverse_lazy(f"admin:{name}_changelist")
    return {"title": title, "icon": icon, "link": link, "permission": _may_see(app or name.partition("_")[0])}


_MENU: list[dict[str, Any]] = [
    {"items": [{"title": _("Dashboard"), "icon": "dashboard", "link": reverse_lazy("admin:index")}]},
    {
        "title": _("Orders"),
        "items": [
            _page(_("Orders"), "receipt_long", "orders_order"),
            _page(_("Payments"), "payments", "orders_payment"),
            _page(_("Refunds"), "currency_exchange", "orders_refund"),
            {
                "title": _("Reports"),
                "icon": "bar_chart",
                "link": reverse_lazy("admin:orders_reports"),
                "permission": _may_see("orders"),
            },
        ],
    },
    {
        "title": _("Catalogue"),
        "items": [
            _page(_("Products"), "sell", "products_product"),
            _page(_("Categories"), "account_tree", "products_category"),
            _page(_("Stock"), "inventory_2", "products_stocklevel"),
            _page(_("Stock movements"), "swap_vert", "products_stockmovement"),
            _page(_("Reservations"), "bookmark", "products_reservation"),
            _page(_("Imports"), "upload_file", "products_importjob"),
        ],
    },
    {
        "title": _("Customers"),
        "items": [
            _page(_("Accounts"), "group", "users_user"),
            _page(_("Sessions"), "devices", "users_session"),
            _page(_("Activity"), "history", "users_activity"),
            _page(_("Changes of access"), "admin_panel_settings", "users_accesschange"),
        ],
    },
    {
        "title": _("Events & webhooks"),
        "collapsible": True,
        "items": [
            _page(_("Webhooks"), "webhook", "orders_shopwebhookendpoint"),
            _page(_("Webhook deliveries"), "outbox", "orders_shopwebhookdelivery"),
            _page(_("Failed: orders"), "error", "orders_ordersfaileddelivery"),
            _page(_("Failed: catalogue"), "error", "products_productsfaileddelivery"),
            _page(_("Failed: customers"), "error", "users_usersfaileddelivery"),
            _page(_("Inbox of orders"), "inbox", "orders_ordersinboxentry"),
            _page(_("Events of orders"), "bolt", "orders_ordersevent"),
            _page(_("Events of the catalogue"), "bolt", "products_productsevent"),
            _page(_("Events of customers"), "bolt", "users_usersevent"),
            _page(_("Sandbox charges"), "science", "orders_sandboxcharge"),
        ],
    },
    {
        "title": _("Staff"),
        "items": [_page(_("What staff did"), "fact_check", "admin_logentry", "admin")],
    },
]

UNFOLD: dict[str, Any] = {
    "SITE_TITLE": "Cartwright",
    "SITE_HEADER": "Cartwright",
    "SITE_SUBHEADER": _("Staff pages"),
    "SITE_FAVICONS": [{"rel": "icon", "type": "image/svg+xml", "href": lambda _: static("cartwright/icon.svg")}],
    "SITE_ICON": lambda _: static("cartwright/icon.svg"),
    "SHOW_LANGUAGES": True,
    "ACCOUNT": {"navigation": [{"title": _("Second factor"), "link": reverse_lazy("second_factor")}]},
    "STYLES": [lambda _: static("cartwright/staff.css")],
    "SCRIPTS": [lambda _: static("cartwright/staff.js")],
    "DASHBOARD_CALLBACK": "config.staff_dashboard.add_to",
    "COMMAND": {"search_callback": "config.staff_search.search"},
    "SIDEBAR": {"show_search": True, "command_search": True, "navigation": _MENU},
    # The indigo of the shop's sign. The theme writes in 600 on white and in 500 on black: either has a contrast of 4.5
    # at least.
    "COLORS": {
        "primary": {
            "50": "oklch(96.2% .018 272.314)",
            "100": "oklch(93% .034 272.788)",
            "200": "oklch(87% .065 274.039)",
            "300": "oklch(78.5% .115 274.713)",
            "400": "oklch(74% .14 275.5)",
            "500": "oklch(70% .155 276.4)",
            "600": "oklch(51.1% .262 276.966)",
            "700": "oklch(45.7% .24 277.023)",
            "800": "oklch(39.8% .195 277.366)",
            "900": "oklch(35.9% .144 278.697)",
            "950": "oklch(25.7% .09 281.288)",
        },
        # Seen on white as well as on black.
        "chart": {"bar": "oklch(58% .22 277)"},
    },
}


def gettext_noop(text: str) -> str:
    """Marks a text as one to be translated. Django's own asks for the settings, which are being read here."""
    return text


# What the theme itself says; it has no translation of its own into every language of these pages.
THEME_WORDS = (
    gettext_noop("Add row"),
    gettext_noop("All applications"),
    gettext_noop("Apply Filters"),
    gettext_noop("Cancel"),
    gettext_noop("Choose file to upload"),
    gettext_noop("Click to cancel"),
    gettext_noop("Date from"),
    gettext_noop("Date to"),
    gettext_noop("Expand row"),
    gettext_noop("From"),
    gettext_noop("General"),
    gettext_noop("Go back"),
    gettext_noop("Image preview"),
    gettext_noop("Loading more results..."),
    gettext_noop("More actions"),
    gettext_noop("Next"),
    gettext_noop("No data"),
    gettext_noop("No results found"),
    gettext_noop("No results matching your query"),
    gettext_noop("Previous"),
    gettext_noop("Reset filters"),
    gettext_noop("Run"),
    gettext_noop("Search apps and models..."),
    gettext_noop("Select action"),
    gettext_noop("Select action to run"),
    gettext_noop("Select all rows"),
    gettext_noop("Select record"),
    gettext_noop("Select value"),
    gettext_noop("Submit"),
    gettext_noop("This item will be deleted."),
    gettext_noop("This page yielded into no results. Create a new item or reset your filters."),
    gettext_noop("To"),
    gettext_noop("Toggle password visibility"),
    gettext_noop("Type to search"),
    gettext_noop("Value"),
    gettext_noop("Filters"),
    gettext_noop("You have been successfully logged out from the administration"),
)


def look() -> dict[str, Any]:
    """What the theme's pages need to know of the site, for one that is made without a request."""
    return {
        "site_title": UNFOLD["SITE_TITLE"],
        "site_url": "/",
        "site_favicons": [{**each, "href": each["href"](None)} for each in UNFOLD["SITE_FAVICONS"]],
        "styles": [each(None) for each in UNFOLD["STYLES"]],
        "scripts": [each(None) for each in UNFOLD["SCRIPTS"]],
        "colors": UNFOLD["COLORS"],
    }
