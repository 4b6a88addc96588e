"""Boundaries between apps hold, and a breach of each is found wherever it hides."""

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from django.apps import apps as installed  # noqa: TID251 - looks at all apps from outside
from django.db.models import Field

ROOT = Path(__file__).parents[1]
# Django's own tables are in the database of users.
HOMES = {"users": ("apps.users.", "django.")}
OURS = ("users", "products", "orders", "events", "common")
IMPORTS_NO_DJANGO = """
import sys
import apps.users.interface, apps.products.interface, apps.orders.interface
import apps.users.events, apps.products.events, apps.orders.events
import apps.orders.states, apps.orders.reports.facts, apps.orders.reports.periods
print(sorted(name for name in sys.modules if name.partition(".")[0] in {"django", "rest_framework", "celery"}))
"""


@dataclass(frozen=True)
class Breach:
    """A line that must not be there."""

    contract: str
    file: str
    line: str


PRIVATE = "Apps are private except interface.py, events.py"
PLAIN = "Interfaces, events, states and facts are plain Python"
USERS = "Layers inside users"
ORDERS = "Layers inside orders"
PRODUCTS = "Layers inside products"
GRPC = "Only the composition roots know gRPC"
IGNORANT = "apps.events and apps.common know no domain app"
STOREFRONT = "The storefront knows the public REST API only"
BREACHES = [
    Breach(PRIVATE, "apps/orders/tasks.py", "from apps.products.models import Product"),
    Breach(PRIVATE, "apps/orders/tests/test_breach.py", "from apps.users.models import User"),
    Breach(PRIVATE, "apps/users/api/breach.py", "import apps.orders.services"),
    Breach(PRIVATE, "config/breach.py", "from apps.users import models"),
    Breach(PLAIN, "apps/orders/interface.py", "from django.db import models"),
    Breach(PLAIN, "apps/products/events.py", "import celery"),
    Breach(PLAIN, "apps/orders/reports/facts.py", "from apps.orders.models import ProductSales"),
    Breach(PRODUCTS, "apps/products/models.py", "import apps.products.services"),
    Breach(PRODUCTS, "apps/products/store/fields.py", "from apps.products.models import Product"),
    Breach(ORDERS, "apps/orders/models.py", "import apps.orders.services"),
    Breach(ORDERS, "apps/orders/interface.py", "import apps.orders.events"),
    Breach(ORDERS, "apps/orders/payments/sandbox.py", "import apps.orders.services"),
    Breach(ORDERS, "apps/orders/services/rows.py", "from apps.orders.mail import order_mail"),
    Breach(ORDERS, "apps/orders/states.py", "from apps.orders.models import Order"),
    Breach(ORDERS, "apps/orders/homeless.py", "import json"),  # it is in no layer
    Breach(USERS, "apps/users/models.py", "import apps.users.api"),
    Breach(IGNORANT, "apps/events/relay.py", "from apps.orders.interface import Order"),
    Breach(PRIVATE, "grpc_api/servers/users.py", "from apps.users.models import User"),
    Breach(PRIVATE, "grpc_api/clients/users.py", "from apps.users import services"),
    Breach(PLAIN, "apps/users/interface.py", "import grpc"),
    Breach(GRPC, "apps/orders/services/placing.py", "from grpc_api.clients.users import RemoteUserService"),
    Breach(GRPC, "config/readiness.py", "from grpc_api import metrics"),
    Breach(IGNORANT, "apps/common/money.py", "from config import services"),
    Breach(STOREFRONT, "apps/storefront/visitor.py", "from apps.users.interface import Role"),
    Breach(STOREFRONT, "apps/storefront/views/cart.py", "from config import services"),
]
PLACES = {
    "at the top": "\n{line}\n",
    "inside a function": "\n\ndef breach():\n    {line}\n",
    "under TYPE_CHECKING": "\nfrom typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    {line}\n",
}


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the code that a test may damage, if it repairs it."""
    copy = tmp_path_factory.mktemp("house")
    for package in ("apps", "config", "grpc_api"):
        shutil.copytree(ROOT / package, copy / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", copy)
    return copy


def lint(house: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [Path(sys.executable).parent / "lint-imports", "--no-logo"],
        cwd=house,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.once
def test_the_house_keeps_its_boundaries(house: Path) -> None:
    result = lint(house)

    assert result.returncode == 0, result.stdout
    assert "Contracts: 8 kept, 0 broken." in result.stdout


@pytest.mark.once
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("breach", BREACHES, ids=lambda breach: f"{breach.file}: {breach.line}")
def test_a_breach_is_found(house: Path, breach: Breach, place: str) -> None:
    file = house / breach.file
    before = file.read_text() if file.exists() else None
    file.write_text((before or "") + PLACES[place].format(line=breach.line))
    try:
        result = lint(house)
    finally:
        file.unlink() if before is None else file.write_text(before)

    assert result.returncode == 1, result.stdout
    assert f"{breach.contract} BROKEN" in result.stdout


@pytest.mark.once
def test_what_is_plain_python_loads_without_django() -> None:
    result = subprocess.run(
        [sys.executable, "-c", IMPORTS_NO_DJANGO], cwd=ROOT, capture_output=True, text=True, check=True
    )

    assert result.stdout == "[]\n"


@pytest.mark.once
def test_no_foreign_key_crosses_apps() -> None:
    crossing = [
        str(field)
        for label in OURS
        for model in installed.get_app_config(label).get_models(include_auto_created=True)
        if not model._meta.proxy  # it has no columns of its own
        for field in model._meta.get_fields()
        if isinstance(field, Field)
        and isinstance(field.related_model, type)
        and not field.related_model.__module__.startswith(HOMES.get(label, f"apps.{label}."))
    ]

    assert crossing == []


@pytest.mark.once
def test_no_module_is_a_drawer_for_everything() -> None:
    drawers = {"utils.py", "util.py", "helpers.py", "misc.py"}
    modules = [file for package in ("apps", "config", "tests") for file in (ROOT / package).rglob("*.py")]

    assert [str(file) for file in modules if file.name in drawers] == []
