"""What a process runs: one profile for each module in `config/settings`, all of them on one screen."""

import os
from dataclasses import dataclass, replace

SERVICES: tuple[str, ...] = ("users", "products", "orders")


@dataclass(frozen=True)
class Profile:
    """Which services run in this process, where it listens, and what it does besides.

    `has_pages`: the staff pages, sessions of browsers, and the documents of the whole API.
    `does_work`: the relay, periodic tasks and workers of its services.
    `is_split`: each service has a database, and a process, of its own.
    """

    name: str
    services: tuple[str, ...]
    urls: str
    port: int
    grpc_port: int
    has_pages: bool = False
    does_work: bool = True
    is_split: bool = True

    def runs(self, service: str) -> bool:
        return service in self.services


_MONOLITH = Profile("monolith", SERVICES, "config.urls.monolith", 8080, 50051, has_pages=True, is_split=False)

PROFILES = {
    profile.name: profile
    for profile in (
        _MONOLITH,
        replace(_MONOLITH, name="test"),
        Profile("users", ("users",), "config.urls.users", 8082, 50052),
        Profile("products", ("products",), "config.urls.products", 8083, 50053),
        Profile("orders", ("orders",), "config.urls.orders", 8084, 50054),
        Profile("admin", SERVICES, "config.urls.monolith", 8085, 50055, has_pages=True, does_work=False),
    )
}


def current() -> Profile:
    """The profile of the settings module that is being loaded; a module of somebody's own runs everything."""
    return PROFILES.get(os.environ.get("DJANGO_SETTINGS_MODULE", "").rpartition(".")[2], _MONOLITH)
