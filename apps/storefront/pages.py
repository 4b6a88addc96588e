"""What every page of the storefront has in common."""

from collections.abc import Callable
from functools import wraps
from urllib.parse import urlencode, urlsplit

from django.conf import settings
from django.core.cache import cache
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.cache import add_never_cache_headers
from django.utils.http import url_has_allowed_host_and_scheme

from apps.storefront.api import JSON, Refused
from apps.storefront.visitor import LoggedOut, Visitor

View = Callable[..., HttpResponseBase]

_TREE, _TREE_SECONDS = "storefront-categories", 60
_KNOWN = {403, 404, 409, 429, 503}
_SERVER_ERROR = 503
_DIGITS = 10


class Shopper(HttpRequest):
    """A request that `page` has looked at."""

    visitor: Visitor


def number_in(text: str, default: int) -> int:
    """The number that an address or a form holds, or the default for whatever else it may be."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < _DIGITS else default


def page(view: Callable[..., HttpResponseBase]) -> View:
    """A page of the storefront: its visitor, what it answers when the API refuses, and what it may load."""

    @wraps(view)
    def whole(request: Shopper, **arguments: object) -> HttpResponseBase:
        request.visitor = Visitor(request)
        try:
            response = view(request, **arguments)
        except LoggedOut:
            response = _to_log_in(request)
        except Refused as refusal:
            response = _problem(request, refusal)
        response["Content-Security-Policy"] = _content_security_policy()
        add_never_cache_headers(response)
        return response

    return whole


def show(request: HttpRequest, template: str, context: JSON | None = None, status: int = 200) -> HttpResponse:
    """A template with what every page shows around it."""
    return render(request, f"storefront/{template}", context, status=status)


def is_htmx(request: HttpRequest) -> bool:
    """Whether a script asks for a part of the page. It gets the whole page unless that would be much for nothing."""
    return request.headers.get("HX-Request") == "true"


def safe_next(request: HttpRequest) -> str:
    """Where to go on, if that is a page of ours; else the storefront."""
    wanted = request.POST.get("next") or request.GET.get("next") or ""
    is_ours = url_has_allowed_host_and_scheme(wanted, {request.get_host()}, require_https=request.is_secure())
    return wanted if is_ours and urlsplit(wanted).path.startswith("/shop/") else reverse("storefront:home")


def categories(visitor: Visitor) -> list[JSON]:
    """Every category, as the API lists them; up to a minute old."""
    known: list[JSON] | None = cache.get(_TREE)
    if known is None:
        known = visitor.api.get("categories", page_size=100)["results"]
        cache.set(_TREE, known, _TREE_SECONDS)
    return known


def _to_log_in(request: HttpRequest) -> HttpResponse:
    here = request.get_full_path() if request.method == "GET" else reverse("storefront:home")
    address = f"{reverse('storefront:login')}?{urlencode({'next': here})}"
    if is_htmx(request):
        return HttpResponse(status=204, headers={"HX-Redirect": address})
    return redirect(address)


def _problem(request: HttpRequest, refusal: Refused) -> HttpResponse:
    status = refusal.status if refusal.status in _KNOWN else _SERVER_ERROR
    # An address that cannot be understood leads nowhere.
    status = 404 if refusal.status == 400 else status  # noqa: PLR2004 - what HTTP calls them
    response = show(request, "problem.html", {"status": status, "retry_after": refusal.retry_after}, status)
    if refusal.retry_after:
        response["Retry-After"] = str(refusal.retry_after)
    return response


def _content_security_policy() -> str:
    elsewhere = [_origin(address) for address in (settings.MEDIA_URL, settings.STOREFRONT_API) if "://" in address]
    pictures = " ".join(["'self'", "data:", *elsewhere])
    return (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; "
        f"form-action 'self'; frame-ancestors 'none'; img-src {pictures}"
    )


def _origin(address: str) -> str:
    parts = urlsplit(address)
    return f"{parts.scheme}://{parts.netloc}"
