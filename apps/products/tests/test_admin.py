"""The catalogue's staff pages."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connections
from django.test import Client
from django.test.utils import CaptureQueriesContext

from apps.common.databases import alias_of, every_alias
from apps.common.ids import new_id
from apps.events.models import OutboxEvent
from apps.products import models
from apps.products.interface import Product, ProductChange, StockLine
from apps.products.services import LocalProductService
from apps.products.tests.factories import make_category, make_product
from apps.users.interface import Role

pytestmark = pytest.mark.django_db
service = LocalProductService()

PRODUCTS = "/admin/products/product/"
CATEGORIES = "/admin/products/category/"
LIST_QUERIES = 6
INVENTORY_QUERIES = 4


@pytest.fixture
def staff(client: Client, log_in: Callable[..., Any]) -> Client:
    client.force_login(log_in(Role.CATALOG_STAFF).user)
    return client


@contextmanager
def exactly(queries: int) -> Iterator[None]:
    """So many queries, on whichever databases: the user's own may be in another one than products."""
    with ExitStack() as stack:
        counts = [stack.enter_context(CaptureQueriesContext(connections[alias])) for alias in every_alias()]
        yield
    assert sum(map(len, counts)) == queries


def event_types() -> list[str]:
    rows = OutboxEvent.objects.using(alias_of("products")).order_by("id")
    return list(rows.values_list("type", flat=True))


def form(product: Product, **changes: object) -> dict[str, object]:
    """What the browser sends when a product's page is saved."""
    return {
        "name": product.name,
        "sku": product.sku,
        "description": product.description,
        "price": str(product.price),
        "currency": product.currency,
        "category": str(product.category_id or ""),
        "group": product.group,
        "tags": ", ".join(product.tags),
        "attributes": "{}",
        "active": "on",
        "read_revision": product.revision,
        "stock_delta": "",
        "stock_reason": "",
        **changes,
    }


class TestProducts:
    def test_the_list_costs_the_same_however_long(self, staff: Client) -> None:
        counts = []
        for _ in range(2):
            for _ in range(5):
                make_product(stock=7, category="Lights")
            with exactly(LIST_QUERIES):
                counts.append(staff.get(PRODUCTS).content.decode().count('<td class="field-stock_now">7</td>'))
        assert counts == [5, 10]

    def test_search_and_filters(self, staff: Client) -> None:
        make_product(name="Lamp", sku="L-1")
        make_product(name="Sofa", category="Home", active=False)
        service.delete_product(product_id=make_product(name="Gone").id)

        assert [name in staff.get(PRODUCTS).content.decode() for name in ("Lamp", "Sofa", "Gone")] == [
            True,
            True,
            False,
        ]
        assert "Sofa" not in staff.get(PRODUCTS, {"q": "l-1"}).content.decode()
        assert "Lamp" not in staff.get(PRODUCTS, {"active__exact": "0"}).content.decode()

    def test_add(self, staff: Client) -> None:
        category = make_category(name="Lights")
        fields = {
            "name": "Lamp",
            "price": "9.99",
            "category": str(category.id),
            "tags": "warm, new,",
            "attributes": '{"watts": 60}',
            "active": "on",
            "stock": "5",
        }
        assert staff.get(f"{PRODUCTS}add/").status_code == 200

        assert staff.post(f"{PRODUCTS}add/", fields).status_code == 302

        product = service.get_product(product_id=models.Product.objects.get().id)
        assert (product.name, product.price, product.currency, product.category) == (
            "Lamp",
            Decimal("9.99"),
            "USD",
            "Lights",
        )
        assert (product.tags, product.attributes, product.stock) == (["warm", "new"], {"watts": 60}, 5)
        assert product.sku.startswith("LAMP-")
        assert event_types() == ["product.created"]
        assert models.StockMovement.objects.get().actor_id is not None

    def test_change_and_adjust(self, staff: Client) -> None:
        product = make_product(stock=5, category="Lights")
        page = f"{PRODUCTS}{product.id}/change/"
        assert "5 on hand, 0 reserved for orders, 5 for sale" in staff.get(page).content.decode()

        changes = {"name": "New", "category": "", "stock_delta": "-2", "stock_reason": "broken"}
        assert staff.post(page, form(product, **changes)).status_code == 302

        now = service.get_product(product_id=product.id)
        assert (now.name, now.category, now.stock, now.revision) == ("New", None, 3, 2)
        assert models.StockMovement.objects.order_by("-id")[0].reason == "broken"
        assert event_types() == ["product.created", "stock.changed", "product.updated"]

    @pytest.mark.parametrize(
        ("changes", "sentence"),
        [
            ({"sku": "taken"}, "Another product has this SKU."),
            ({"price": "1.001"}, "at most 2 decimal places"),
            ({"price": "NaN"}, "Enter a number."),
            ({"currency": "XXX"}, "is not an ISO 4217 currency"),
            ({"read_revision": 7}, "has changed since you read it"),
            ({"tags": "x" * 51}, "Tags are a list"),
            ({"attributes": '{"a": {}}'}, "Attributes are an object"),
            ({"attributes": '{"a": 1e308}'}, "Attributes are an object"),
            ({"attributes": f'{{"a": {2**53}}}'}, "Attributes are an object"),
            ({"attributes": "[" * 1200 + "]" * 1200}, "Enter a valid JSON."),
            ({"attributes": "[" * 200 + "]" * 200}, "Enter a valid JSON."),
            ({"attributes": "1" * 5000}, "Enter a valid JSON."),
            ({"category": "abc"}, "is not a valid UUID."),
            ({"sku": "a\nb"}, "Line breaks and tabs are not allowed here."),
            ({"description": "a\x07b"}, "Control characters are not allowed."),
            ({"stock_delta": "1", "stock_reason": "a\x01b"}, "Control characters are not allowed."),
            ({"stock_delta": "-2", "stock_reason": "lost"}, "4 units are reserved"),
            ({"stock_delta": "1"}, "The ledger wants to know why."),
            ({"stock_delta": "9999999999", "stock_reason": "x"}, "less than or equal to"),
        ],
    )
    def test_what_the_service_refuses_is_an_error_of_the_form(
        self, staff: Client, changes: dict[str, object], sentence: str
    ) -> None:
        make_product(sku="TAKEN")
        product = make_product(stock=5)
        service.reserve_stock(order_id=new_id(), lines=[StockLine(product.id, 4)], hold_for=timedelta(days=365))
        before, events = service.get_product(product_id=product.id), event_types()

        response = staff.post(f"{PRODUCTS}{product.id}/change/", form(product, **{"name": "Typed in", **changes}))

        page = response.content.decode()
        assert response.status_code == 200
        assert sentence in page
        assert 'value="Typed in"' in page
        assert service.get_product(product_id=product.id) == before
        assert event_types() == events

    @pytest.mark.parametrize(
        ("character", "sentence"),
        [
            ("\n", "Line breaks and tabs are not allowed here."),
            ("\x1b", "Control characters are not allowed."),
            ("\u202e", "Control characters are not allowed."),
            ("\0", "Null characters are not allowed."),
        ],
    )
    def test_names_hold_no_control_characters(self, staff: Client, character: str, sentence: str) -> None:
        product = make_product()

        for page, fields in (
            (f"{PRODUCTS}{product.id}/change/", form(product, name=f"a{character}b")),
            (f"{CATEGORIES}add/", {"name": f"a{character}b", "slug": "", "parent": ""}),
        ):
            response = staff.post(page, fields)
            assert response.status_code == 200
            assert response.content.decode().count(sentence) == 1

        assert not models.Category.objects.exists()

    def test_somebody_elses_change_is_not_overwritten(self, staff: Client) -> None:
        product = make_product()
        service.update_product(product_id=product.id, change=ProductChange(description="theirs"))

        assert staff.post(f"{PRODUCTS}{product.id}/change/", form(product)).status_code == 200
        assert service.get_product(product_id=product.id).description == "theirs"

    def test_delete_one_and_many(self, staff: Client) -> None:
        one, two, three = make_product(), make_product(), make_product()

        assert staff.post(f"{PRODUCTS}{one.id}/delete/", {"post": "yes"}).status_code == 302
        many = {"action": "delete_selected", "_selected_action": [str(two.id), str(three.id)], "post": "yes"}
        assert staff.post(PRODUCTS, many).status_code == 302

        assert models.Product.objects.exclude(deleted_at=None).count() == 3
        assert event_types()[3:] == ["product.deleted"] * 3


class TestCategories:
    def test_add_change_delete(self, staff: Client) -> None:
        assert staff.post(f"{CATEGORIES}add/", {"name": "Home", "slug": "", "parent": ""}).status_code == 302
        home = models.Category.objects.get()
        assert (home.name, home.slug, home.path) == ("Home", "home", f"/{home.id}/")
        below = {"name": "Lights", "slug": "bright", "parent": str(home.id)}
        assert staff.post(f"{CATEGORIES}add/", below).status_code == 302
        lights = models.Category.objects.get(slug="bright")

        page = f"{CATEGORIES}{lights.id}/change/"
        assert staff.get(page).status_code == 200
        assert staff.post(page, {"name": "Lamps", "slug": "bright", "parent": ""}).status_code == 302
        lights.refresh_from_db()
        assert (lights.name, lights.parent, lights.path) == ("Lamps", None, f"/{lights.id}/")
        assert staff.post(f"{CATEGORIES}{lights.id}/delete/", {"post": "yes"}).status_code == 302
        assert list(models.Category.objects.all()) == [home]

    def test_refusals(self, staff: Client) -> None:
        home = make_category(name="Home")
        lights = make_category(name="Lights", parent_id=home.id)

        response = staff.post(f"{CATEGORIES}{home.id}/change/", {"name": "Home", "parent": str(lights.id)})
        assert "A category cannot be below itself." in response.content.decode()
        response = staff.post(f"{CATEGORIES}add/", {"name": "HOME", "slug": "x"})
        assert "There is a category of that name already." in response.content.decode()
        response = staff.post(f"{CATEGORIES}add/", {"name": "New", "slug": "", "parent": "abc"})
        assert "is not a valid UUID." in response.content.decode()
        assert staff.post(f"{CATEGORIES}{home.id}/delete/", {"post": "yes"}).status_code in {200, 302}
        assert models.Category.objects.count() == 2


class TestInventory:
    def test_pages_only_show(self, staff: Client) -> None:
        for _ in range(3):
            product = make_product(stock=5)
            service.reserve_stock(order_id=new_id(), lines=[StockLine(product.id, 4)], hold_for=timedelta(days=365))

        for name in ("stocklevel", "stockmovement", "reservation"):
            page = f"/admin/products/{name}/"
            with exactly(INVENTORY_QUERIES - (name == "reservation")):  # which keeps the names itself
                assert product.name in staff.get(page).content.decode()
            for query in (str(product.id), "no id", "\0"):
                assert staff.get(page, {"q": query}).status_code in {200, 302, 400}
            assert staff.get(f"{page}add/").status_code == 403


@pytest.mark.parametrize("role", [Role.USER, Role.ORDER_STAFF])
def test_not_for_others(client: Client, log_in: Callable[..., Any], role: Role) -> None:
    client.force_login(log_in(role).user)

    assert client.get(PRODUCTS).status_code in {302, 403}
