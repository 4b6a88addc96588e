"""Looking around: the front page, lists, a product."""

from collections.abc import Iterable
from http import HTTPStatus
from urllib.parse import urlencode
from uuid import UUID

from django.http import HttpResponse
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_safe

from apps.storefront.api import JSON, Refused
from apps.storefront.pages import Shopper, categories, number_in, page, show
from apps.storefront.visitor import MOST_OF_ONE

_ON_FRONT, _ON_PAGE = 8, 24
_FILTERS = ("q", "category", "min_price", "max_price", "tag", "in_stock", "ordering")
_ORDERINGS = {
    "": _("Newest first"),
    "price": _("Cheapest first"),
    "-price": _("Dearest first"),
    "name": _("By name"),
}
_ORDERINGS_OF_SEARCH = {**_ORDERINGS, "": _("Best match first"), "-created_at": _("Newest first")}
_AROUND = 2


@require_safe
@page
def home(request: Shopper) -> HttpResponse:
    """What people like, and what is new."""
    api = request.visitor.api
    popular = api.get("products/popular", page_size=_ON_FRONT)["results"]
    newest = api.get("products", page_size=_ON_FRONT, in_stock="true")["results"]
    return show(request, "home.html", {"popular": popular, "newest": newest})


@require_safe
@page
def products(request: Shopper) -> HttpResponse:
    """A list of products, or what a search has found."""
    wanted = {name: request.GET.get(name, "").strip() for name in _FILTERS}
    number = request.GET.get("page", "1")
    path = "products/search" if wanted["q"] else "products"
    refused: Refused | None = None
    try:
        found = request.visitor.api.get(path, page=number, page_size=_ON_PAGE, **wanted)
    except Refused as refusal:
        # A price that is none is said beside the filters; a page that is none, on a page of its own.
        if refusal.status != HTTPStatus.BAD_REQUEST:
            raise
        refused, found = refusal, {"results": [], "count": 0, "next": None}
    tree = categories(request.visitor)
    here = next((each for each in tree if wanted["category"] in {each["slug"], each["id"], each["name"]}), None)
    context = {
        "wanted": wanted,
        "found": found,
        "facets": found.get("facets"),
        "refused": [problem.attr for problem in refused.problems] if refused else [],
        "orderings": _ORDERINGS_OF_SEARCH if wanted["q"] else _ORDERINGS,
        "category": here,
        "above": _above(here, tree),
        "below": _below(here, tree),
        "chips": _chips(wanted, here),
        "pages": _pages(wanted, number_in(number, 1), found["count"]),
    }
    return show(request, "products.html", context)


@require_safe
@page
def product(request: Shopper, product_id: UUID) -> HttpResponse:
    """One product, and what differs from it a little."""
    api = request.visitor.api
    found = api.get(f"products/{product_id}")
    variants = api.get(f"products/{product_id}/variants") if found["group"] else {"attributes": {}, "results": []}
    tree = categories(request.visitor)
    category = next((each for each in tree if each["id"] == found["category_id"]), None)
    number = request.GET.get("picture", "1")
    pictures = found["images"]
    context = {
        "product": found,
        "picture": pictures[min(max(number_in(number, 1), 1), len(pictures)) - 1] if pictures else None,
        "variants": [_variant(each, variants["attributes"]) for each in variants["results"]],
        "path": [*_above(category, tree), *([category] if category else [])],
        "most": min(found["stock"], MOST_OF_ONE),
        "in_cart": request.visitor.cart.get(str(product_id), 0),
    }
    return show(request, "product.html", context)


@require_safe
@page
def suggest(request: Shopper) -> HttpResponse:
    """What somebody who is typing may mean: a piece of a page, for scripts."""
    text = request.GET.get("q", "").strip()[:100]
    found = request.visitor.api.get("products/suggest", q=text, limit=6)["results"] if text else []
    return show(request, "_suggestions.html", {"suggestions": found, "text": text})


def _variant(product: JSON, differing: Iterable[str]) -> JSON:
    """What a variant is called among the others: that in which it differs."""
    values = [product["attributes"][name] for name in differing if name in product["attributes"]]
    return {"product": product, "values": values or [product["name"]]}


def _above(category: JSON | None, tree: list[JSON]) -> list[JSON]:
    """The categories that a category is in, from the top."""
    by_id = {each["id"]: each for each in tree}
    path: list[JSON] = []
    above = by_id.get(category["parent_id"]) if category else None
    while above and above not in path:
        path.insert(0, above)
        above = by_id.get(above["parent_id"])
    return path


def _below(category: JSON | None, tree: list[JSON]) -> list[JSON]:
    return [each for each in tree if each["parent_id"] == (category["id"] if category else None)]


def _chips(wanted: dict[str, str], category: JSON | None) -> list[tuple[str, str]]:
    """The filters that narrow the list: what each is called, and the address without it."""
    names = {
        "q": f"“{wanted['q']}”",
        "category": category["name"] if category else wanted["category"],
        "tag": f"#{wanted['tag']}",
        "min_price": f"≥ {wanted['min_price']}",
        "max_price": f"≤ {wanted['max_price']}",
        "in_stock": str(_("In stock")),
    }
    return [(text, _address(wanted, **{name: ""})) for name, text in names.items() if wanted[name]]


def _pages(wanted: dict[str, str], number: int, count: int) -> list[tuple[int, str, bool]]:
    """Numbers, addresses, and whether it is this one: the first, the last, and those around this one; 0 is a gap."""
    last = max(1, -(-count // _ON_PAGE))
    numbers = sorted({1, last, *range(max(1, number - _AROUND), min(last, number + _AROUND) + 1)})
    shown: list[tuple[int, str, bool]] = []
    for each in numbers:
        if shown and each - shown[-1][0] > 1:
            shown.append((0, "", False))
        shown.append((each, _address(wanted, page=str(each)), each == number))
    return shown if last > 1 else []


def _address(wanted: dict[str, str], **changed: str) -> str:
    return "?" + urlencode({name: text for name, text in {**wanted, **changed}.items() if text})
