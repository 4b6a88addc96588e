"""Who is looking at the pages: their log-in and their cart, in the session of their browser.

The API's tokens never reach the browser. They lie in a record of their own beside the session, so that two requests
that are answered at the same time cannot put back a refresh token that was used: the API would end the log-in for that.
"""

from contextlib import suppress
from time import sleep, time
from typing import Any

from django.contrib.sessions.backends.base import SessionBase
from django.contrib.sessions.backends.cached_db import SessionStore
from django.core.cache import cache
from django.http import HttpRequest

from apps.storefront.api import JSON, Api, Refused

MOST_LINES = 50
MOST_OF_ONE = 99

_VISITOR, _CART, _PLACED = "storefront", "storefront_cart", "storefront_placed"
# A token that ends so soon may have ended when it arrives.
_SPARE_SECONDS = 15
_VAULT_SECONDS = 7 * 24 * 60 * 60
# Longer than the call of the API that it protects.
_LOCK_SECONDS = 30
_TRIES, _PAUSE = 40, 0.1
_ORDERS_KNOWN = 20


class LoggedOut(Exception):
    """Only for somebody who is logged in, and nobody is (any more)."""


class Visitor:
    """One visitor, as the session knows them."""

    def __init__(self, request: HttpRequest) -> None:
        self._request = request
        self.api = Api(request)

    # --- Log-in ---------------------------------------------------------------------------------

    @property
    def account(self) -> JSON | None:
        """The account, as it was at the log-in."""
        known: JSON | None = self._session.get(_VISITOR)
        return known["account"] if known else None

    def log_in(self, login: str, password: str, otp: str = "") -> None:
        """Raises: Refused."""
        name = "email" if "@" in login else "username"
        code = {"otp": otp} if otp else {}
        pair = self.api.post("users/login", {name: login, "password": password, **code})
        if _VISITOR in self._session:
            self._end()
        vault = SessionStore()
        _keep(vault, pair)
        # Whoever knew the session's key before the log-in does not know it now.
        self._session.cycle_key()
        account = {name: pair["user"][name] for name in ("id", "email", "username", "first_name", "last_name")}
        self._session[_VISITOR] = {"vault": vault.session_key, "account": account}

    def log_out(self) -> None:
        """End the log-in, here and at the API. The cart goes with it: the next at this browser may be another."""
        self._end()
        for name in (_CART, _PLACED):
            self._session.pop(name, None)
        self._session.cycle_key()

    def _end(self) -> None:
        with suppress(LoggedOut, Refused):  # it has ended already, or ends when its token does
            self.call("DELETE", "users/logout")
        self._forget()

    def call(self, method: str, path: str, **content: Any) -> JSON:  # noqa: ANN401 - as of `Api.call`
        """A call of the API as the one who is logged in.

        Raises:
            LoggedOut: nobody is.
            Refused: as of `Api.call`.
        """
        token = self._token()
        try:
            return self.api.call(method, path, token=token, **content)
        except Refused as refusal:
            if refusal.status != 401:  # noqa: PLR2004 - what HTTP calls it
                raise
            self._forget()
            raise LoggedOut from refusal

    def _token(self) -> str:
        known = self._session.get(_VISITOR)
        if known is None:
            raise LoggedOut
        vault = SessionStore(known["vault"])
        if not _is_fresh(vault):
            vault = self._refreshed(known["vault"])
        token: str = vault["access"]
        return token

    def _refreshed(self, vault_key: str) -> SessionStore:
        """The vault with tokens that last. Only one request exchanges them; others wait for it."""
        lock = f"storefront-refresh-{vault_key}"
        for _ in range(_TRIES):
            # None: the cache is away. Better that two exchange a token than that nobody does.
            is_mine = cache.add(lock, 1, _LOCK_SECONDS) is not False
            vault = SessionStore(vault_key)
            try:
                if _is_fresh(vault):
                    return vault
                if is_mine:
                    _keep(vault, self._exchanged(vault))
                    return vault
            finally:
                if is_mine:
                    cache.delete(lock)
            sleep(_PAUSE)
        raise LoggedOut

    def _exchanged(self, vault: SessionBase) -> JSON:
        try:
            return self.api.post("users/token/refresh", {"refresh": vault.get("refresh", "none")})
        except Refused as refusal:
            if refusal.status not in {400, 401}:
                raise
            self._forget()
            raise LoggedOut from refusal

    def _forget(self) -> None:
        known = self._session.pop(_VISITOR, None)
        if known:
            SessionStore(known["vault"]).delete()

    # --- Cart -----------------------------------------------------------------------------------

    @property
    def cart(self) -> dict[str, int]:
        """Product's id → how many."""
        lines: dict[str, int] = self._session.get(_CART, {})
        return lines

    @property
    def cart_count(self) -> int:
        return sum(self.cart.values())

    def put(self, product_id: str, quantity: int) -> bool:
        """Have so many of a product in the cart; none takes it out. Whether there was room for it."""
        lines = self.cart
        if quantity <= 0:
            lines.pop(product_id, None)
        elif product_id not in lines and len(lines) >= MOST_LINES:
            return False
        else:
            lines[product_id] = min(quantity, MOST_OF_ONE)
        self._session[_CART] = lines
        return True

    def empty_cart(self) -> None:
        self._session.pop(_CART, None)

    # --- Orders ---------------------------------------------------------------------------------

    def placed_by(self, form: str) -> str:
        """The id of the order that was placed with this form."""
        placed: dict[str, str] = self._session.get(_PLACED, {})
        return placed.get(form, "")

    def remember_placed(self, form: str, order_id: str) -> None:
        placed = {**self._session.get(_PLACED, {}), form: order_id}
        self._session[_PLACED] = dict(list(placed.items())[-_ORDERS_KNOWN:])

    @property
    def _session(self) -> SessionBase:
        return self._request.session


def _is_fresh(vault: SessionBase) -> bool:
    return bool(vault.get("expires_at", 0) - _SPARE_SECONDS > time())


def _keep(vault: SessionBase, pair: JSON) -> None:
    vault.update({"access": pair["access"], "refresh": pair["refresh"], "expires_at": time() + pair["expires_in"]})
    vault.set_expiry(_VAULT_SECONDS)
    vault.save()
