"""The dashboard of the staff pages: each role's own figures, at a cost that is known."""

import re
from collections.abc import Callable
from contextlib import ExitStack
from datetime import timedelta
from typing import Any

import pytest
from django.contrib import admin
from django.db import connections
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from apps.common.databases import alias_of, every_alias
from apps.common.ids import new_id
from apps.events.models import FailedDelivery, OutboxEvent
from apps.orders.models import StatusBucket
from apps.products.interface import ProductChange
from apps.products.models import StockLevel
from apps.products.services import LocalProductService
from apps.products.store import documents
from apps.products.tests.factories import make_product
from apps.users.interface import Role
from apps.users.tests.factories import UserFactory

pytestmark = pytest.mark.django_db
# What each role's page asks of its databases, however much there is: with the person, who is looked up in any case.
STATEMENTS = {Role.CATALOG_STAFF: 8, Role.ORDER_STAFF: 7, Role.ADMIN: 21}


@pytest.fixture
def page_of(client: Client, log_in: Callable[..., Any]) -> Callable[[Role], str]:
    def look(role: Role) -> str:
        client.force_login(log_in(role).user)
        response = client.get("/admin/")
        assert response.status_code == 200
        return response.content.decode()

    return look


def figures(page: str) -> dict[str, tuple[str, str]]:
    """The numbers at the top of the page: by their titles, with where they link to."""
    found = re.findall(
        r'<a href="([^"]*)" class="bg-white border[^>]*>\s*<span[^>]*>\s*<span[^>]*>[^<]*</span>'
        r"\s*<span[^>]*>([^<]*)</span>"
        r"\s*</span>\s*<span[^>]*>([^<]*)</span>",
        page,
    )
    return {title: (value, link.replace("&amp;", "&")) for link, title, value in found}


def test_each_role_sees_its_own(page_of: Callable[[Role], str]) -> None:
    orders = {"Sales, last 30 days", "Orders to ship", "Payments in doubt", "Waiting for the bank", "Failed refunds"}
    catalogue = {"Sold out", "Low stock"}
    events = {"Failed events", "Failing webhooks", "Events to publish"}

    assert figures(page_of(Role.CATALOG_STAFF)).keys() == catalogue
    assert figures(page_of(Role.ORDER_STAFF)).keys() == orders
    assert figures(page_of(Role.ADMIN)).keys() == orders | catalogue | events


@pytest.mark.parametrize("role", [Role.CATALOG_STAFF, Role.ORDER_STAFF, Role.ADMIN])
def test_its_menu_has_no_page_that_it_may_not_open(client: Client, page_of: Callable[[Role], str], role: Role) -> None:
    page = page_of(role)
    menu = page[page.index('id="nav-sidebar-apps"') : page.index("<main")] if "<main" in page else page
    links = set(re.findall(r'href="(/admin/[a-z]+/[a-z]+/)"', menu))

    assert len(links) >= 8
    assert {link: client.get(link).status_code for link in links} == dict.fromkeys(links, 200)


@pytest.mark.parametrize("role", [Role.CATALOG_STAFF, Role.ORDER_STAFF, Role.ADMIN])
def test_it_costs_the_same_however_much_there_is(client: Client, log_in: Callable[..., Any], role: Role) -> None:
    client.force_login(log_in(role).user)
    for number in range(16):
        make_product(stock=number % 2)
    # No join reaches from documents in another store to their stock: what is low and what is sold out is asked first.
    more = 2 * (documents.are_apart() and role != Role.ORDER_STAFF)
    with ExitStack() as stack:
        heard = [stack.enter_context(CaptureQueriesContext(connections[alias])) for alias in every_alias()]
        client.get("/admin/")
    assert sum(map(len, heard)) == STATEMENTS[role] + more


def test_every_list_counts_no_rows_and_asks_little(client: Client, log_in: Callable[..., Any]) -> None:
    client.force_login(log_in(Role.ADMIN).user)
    for number in range(3):
        make_product(stock=number, category=f"Category {number}")
    for model in admin.site._registry:
        page = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")
        with ExitStack() as stack:
            heard = [stack.enter_context(CaptureQueriesContext(connections[alias])) for alias in every_alias()]
            assert client.get(page).status_code == 200
        asked = [query["sql"] for each in heard for query in each.captured_queries]
        assert len(asked) <= 12, page
        assert [sql for sql in asked if "COUNT(" in sql] == [], page


@pytest.mark.parametrize(
    ("role", "found"),
    [(Role.CATALOG_STAFF, ["Product"]), (Role.ORDER_STAFF, []), (Role.ADMIN, ["Product", "Account"])],
)
def test_the_search_finds_what_the_role_may_see(
    client: Client, log_in: Callable[..., Any], role: Role, found: list[str]
) -> None:
    client.force_login(log_in(role).user)
    for _ in range(9):
        make_product(name="Zebra lamp")
    UserFactory(username="zebra")

    page = client.get("/admin/search/", {"s": "zebra", "extended": "1"}).content.decode()

    kinds = re.findall(r'data-description="([^"]*)"', page)
    assert list(dict.fromkeys(kinds)) == found
    assert kinds.count("Product") == (6 if "Product" in found else 0)


def test_what_runs_out_links_to_the_list_of_it(client: Client, page_of: Callable[[Role], str]) -> None:
    for name, stock in (("Enough", 6), ("Few", 5), ("None", 0), ("Reserved", 3)):
        make_product(name=name, stock=stock)
    StockLevel.objects.filter(on_hand=3).update(reserved=3)
    hidden, deleted = make_product(name="Hidden", stock=0), make_product(name="Deleted", stock=0)
    LocalProductService().update_product(product_id=hidden.id, change=ProductChange(active=False))
    LocalProductService().delete_product(product_id=deleted.id)

    found = figures(page_of(Role.CATALOG_STAFF))

    assert (found["Sold out"][0], found["Low stock"][0]) == ("2", "1")
    names = ("Enough", "Few", "None", "Reserved", "Hidden", "Deleted")
    listed = {title: client.get(found[title][1]).content.decode() for title in ("Sold out", "Low stock")}
    shown = {title: [name for name in names if f">{name}<" in page] for title, page in listed.items()}
    assert shown == {"Sold out": ["None", "Reserved"], "Low stock": ["Few"]}


def test_orders_are_counted_by_the_reports_sums(page_of: Callable[[Role], str]) -> None:
    today = timezone.now().date()
    for days, status, count in ((0, "paid", 2), (29, "shipped", 1_234_567), (30, "delivered", 4)):
        StatusBucket.objects.create(
            starts_on=today - timedelta(days=days), currency="USD", status=status, orders=count, amount=10
        )

    page = page_of(Role.ORDER_STAFF)

    assert "1234567" in page.replace(",", "")
    assert "status__exact=paid" in page
    assert "status__exact=delivered" not in page


def test_events_that_nobody_could_deal_with_are_counted_of_each_service(page_of: Callable[[Role], str]) -> None:
    for service, state in (("orders", "dead"), ("products", "dead"), ("products", "dead"), ("users", "resolved")):
        FailedDelivery.objects.using(alias_of(service)).create(
            consumer=f"{service}.test", event_id=new_id(), type="a.b", message={}, error="", state=state
        )
    OutboxEvent.objects.using(alias_of("users")).create(
        type="a.b", source="users", subject=new_id(), sequence=1, data={}, traceparent=""
    )

    page = page_of(Role.ADMIN)

    counted = re.findall(
        r'href="(/admin/[a-z]+/[a-z]+faileddelivery/\?state__exact=dead)".*?text-2xl[^>]*>(\d+)<', page, re.DOTALL
    )
    assert counted == [
        ("/admin/orders/ordersfaileddelivery/?state__exact=dead", "1"),
        ("/admin/products/productsfaileddelivery/?state__exact=dead", "2"),
    ]
    assert figures(page)["Events to publish"] == ("1", "/admin/users/usersevent/?published=no")
