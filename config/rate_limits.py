"""Which limits a request counts against; `RATE_LIMITS` in the settings says how high they are."""

from collections.abc import Callable, Mapping

from django.conf import settings
from django.contrib.auth import SESSION_KEY
from django.core.exceptions import MiddlewareNotUsed
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from rest_framework.authentication import SessionAuthentication

from apps.common.addresses import client_address, network_of
from apps.common.api.errors import DATABASE_AWAY
from apps.common.rate_limits import RateLimiter
from apps.users.interface import InvalidToken
from config import views
from config.authentication import BearerAuthentication, bearer_of

View = Callable[..., HttpResponseBase]

# For who watches over the process. Static files are answered before they come here.
_UNLIMITED = frozenset({"health", "ready", "accepting"})
# Method and route → the tighter limit that the call counts against as well.
TIGHTER: Mapping[tuple[str, str], str] = {
    ("POST", "api/v1/users"): "credentials",
    ("POST", "api/v1/users/register"): "credentials",
    ("POST", "api/v1/users/login"): "credentials",
    ("POST", "api/v1/users/token/refresh"): "credentials",
    ("POST", "api/v1/users/password/change"): "credentials",
    ("POST", "api/v1/users/password/reset"): "credentials",
    ("POST", "api/v1/users/password/reset/confirm"): "credentials",
    ("POST", "api/v1/users/email/verify"): "credentials",
    ("POST", "api/v1/users/email/verify/request"): "mails",
    ("DELETE", "api/v1/users/profile"): "credentials",
    ("POST", "admin/login/"): "credentials",
    ("POST", "admin/password_change/"): "credentials",
    ("POST", "api/auth/login/"): "credentials",
    ("POST", "api/v1/orders/<uuid:order_id>/pay"): "payments",
    ("GET", "api/v1/products/search"): "search",
    ("HEAD", "api/v1/products/search"): "search",
}


class RateLimits:
    """Refuses what is asked too often, before the view is reached: per address, per user, and tighter where a call is
    worth guessing at, or dear.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        if not settings.RATE_LIMITS:
            raise MiddlewareNotUsed
        self.get_response = get_response
        self._limiter = RateLimiter(settings.RATE_LIMITS)

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_view(self, request: HttpRequest, view: View, *_: object) -> HttpResponse | None:
        route = request.resolver_match.route if request.resolver_match else ""
        if route in _UNLIMITED:
            return None
        address = network_of(client_address(request))
        # First of all, since it may cost a query to learn who is asking.
        wait = self._limiter.refused(address=address)
        if not wait:
            try:
                user_id = _user_id(request, view)
            except DATABASE_AWAY:
                return views.unavailable(request)
            wait = self._limiter.hit(**_who(TIGHTER.get((request.method or "", route)), address, user_id))
        return views.throttled(request, wait) if wait else None


def _who(tighter: str | None, address: str, user_id: str | None) -> dict[str, str]:
    """Limit → whom the request counts for."""
    who = {"address": address}
    if user_id:
        who["user"] = user_id
    if tighter == "credentials" or (tighter == "search" and not user_id):
        who[tighter] = address
    if tighter in {"payments", "mails"} and user_id:
        who[tighter] = user_id
    return who


def _user_id(request: HttpRequest, view: View) -> str | None:
    """Who is asking, if the view asks for that: nobody else's request is to cost a look-up more.

    Of a cookie the session says it: the user's row need not be read.
    """
    ways = getattr(getattr(view, "cls", None), "authentication_classes", ())
    if BearerAuthentication in ways:
        try:
            bearer = bearer_of(request)
        except InvalidToken:
            return None  # the view refuses it
        if bearer:
            return str(bearer[0].id)
    is_by_cookie = SessionAuthentication in ways or request.path.startswith("/admin/")
    if is_by_cookie and settings.SESSION_COOKIE_NAME in request.COOKIES:
        user_id: str | None = request.session.get(SESSION_KEY)
        return user_id
    return None
