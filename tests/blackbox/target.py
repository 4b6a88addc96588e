"""Where the shop is: one address for everything, or one for each service."""

from dataclasses import dataclass

USERS, PRODUCTS, ORDERS, PAGES = "users", "products", "orders", "pages"
_SERVICES = {
    USERS: ("/api/v1/users", "/.well-known/"),
    PRODUCTS: ("/api/v1/products", "/api/v1/categories", "/media/"),
    ORDERS: ("/api/v1/orders", "/api/v1/payments", "/api/v1/webhooks"),
}


class NotAddressed(Exception):
    """The target has no address for this path: what belongs to no service is served where all of them are."""


@dataclass(frozen=True)
class Target:
    """The shop under test. `pages` is None where only the services are addressed.

    `origin` is one that CORS_ALLOWED_ORIGINS names, if any is known.
    """

    users: str
    products: str
    orders: str
    pages: str | None = None
    origin: str | None = None

    @classmethod
    def at(cls, url: str, *, origin: str | None = None) -> "Target":
        """A shop that is all at one address."""
        base = url.rstrip("/")
        return cls(users=base, products=base, orders=base, pages=base, origin=origin)

    @property
    def bases(self) -> frozenset[str]:
        """Every address of the shop."""
        return frozenset(base for base in (self.users, self.products, self.orders, self.pages) if base)

    def url_of(self, path: str) -> str:
        """The whole address of a path; without a leading slash it is one below /api/v1/.

        Raises:
            NotAddressed: it belongs to no service, and only services have addresses.
        """
        path = full_path(path)
        base: str | None = getattr(self, service_of(path))
        if base is None:
            raise NotAddressed(path)
        return base + path


def full_path(path: str) -> str:
    """The path from the root."""
    return path if path.startswith("/") else f"/api/v1/{path}"


def service_of(path: str) -> str:
    """Which service serves a path, or `pages`."""
    for service, prefixes in _SERVICES.items():
        if full_path(path).startswith(prefixes):
            return service
    return PAGES
