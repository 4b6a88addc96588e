"""The catalogue's staff pages."""

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.db import connections
from django.test import Client
from django.test.utils import CaptureQueriesContext
from pytest_django import Settings

from apps.common.databases import alias_of, every_alias
from apps.common.ids import new_id
from apps.common.staff_log import Change, changes_in, sentence_of
from apps.events.models import OutboxEvent
from apps.products import models
from apps.products.interface import Product, ProductChange, StockLine
from apps.products.services import LocalProductService
from apps.products.tests.factories import make_category, make_product
from apps.users.interface import Profile, Role
from config import services

pytestmark = pytest.mark.django_db
service = LocalProductService()

PRODUCTS = "/admin/products/product/"
CATEGORIES = "/admin/products/category/"
# With the person, the categories to filter by, and the levels of the page.
LIST_QUERIES = 4
INVENTORY_QUERIES = 3


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
        **changes,
    }


class TestProducts:
    def test_the_list_costs_the_same_however_long(self, staff: Client) -> None:
        counts = []
        for _ in range(2):
            for _ in range(5):
                make_product(stock=7, category="Lights")
            with exactly(LIST_QUERIES):
                counts.append(len(re.findall(r"In stock: 7\b", staff.get(PRODUCTS).content.decode())))
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

    def test_change(self, staff: Client) -> None:
        product = make_product(stock=5, category="Lights")
        page = f"{PRODUCTS}{product.id}/change/"
        assert staff.get(page).status_code == 200

        assert staff.post(page, form(product, name="New", category="")).status_code == 302

        now = service.get_product(product_id=product.id)
        assert (now.name, now.category, now.stock, now.revision) == ("New", None, 5, 2)
        assert event_types() == ["product.created", "product.updated"]
        entry = LogEntry.objects.get()
        assert changes_in(entry) == [Change("Name", product.name, "New"), Change("Category", "Lights", "")]

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


class TestTheList:
    def test_it_says_how_much_there_is_and_filters_by_it(self, staff: Client, settings: Settings) -> None:
        settings.LOW_STOCK_THRESHOLD = 3
        for name, stock in (("Plenty", 4), ("Scarce", 3), ("Gone", 0)):
            make_product(name=name, stock=stock)

        page = staff.get(PRODUCTS).content.decode()

        for label in ("In stock: 4", "Low: 3", "Sold out"):
            assert re.search(rf">\s*{label}\s*<", page)
        for supply, name in (("in_stock", "Plenty"), ("low", "Scarce"), ("sold_out", "Gone"), ("nonsense", "")):
            found = staff.get(PRODUCTS, {"supply": supply}).content.decode()
            shown = [each for each in ("Plenty", "Scarce", "Gone") if f">{each}<" in found]
            assert shown == ([name] if name else ["Plenty", "Scarce", "Gone"])

    def test_a_category_stands_for_all_below_it(self, staff: Client) -> None:
        home = make_category(name="Home")
        make_category(name="Lights", parent_id=home.id)
        make_product(name="Lamp", category="Lights")
        make_product(name="Sofa", category="Home")
        make_product(name="Book")

        found = staff.get(PRODUCTS, {"category": str(home.id)}).content.decode()

        assert [f">{name}<" in found for name in ("Lamp", "Sofa", "Book")] == [True, True, False]
        assert "\N{NO-BREAK SPACE}" * 4 + "Lights" in found
        tree = staff.get(CATEGORIES).content.decode()
        assert tree.index(">Home<") < tree.index('<span style="padding-left: 1.5rem">↳ Lights<')

    @pytest.mark.parametrize("query", ["lamp", "LÁMP", "desk lam", "ab-1", "AB-12"])
    def test_it_finds_by_words_of_the_name_and_by_the_beginning_of_the_sku(self, staff: Client, query: str) -> None:
        make_product(name="Desk lamp", sku="AB-12")
        make_product(name="Sofa", sku="CAB-1")
        service.update_product(
            product_id=make_product(name="Hidden desk lamp", sku="AB-123").id, change=ProductChange(active=False)
        )

        found = staff.get(PRODUCTS, {"q": query}).content.decode()

        assert [f">{name}<" in found for name in ("Desk lamp", "Hidden desk lamp", "Sofa")] == [True, True, False]

    def test_script_in_names_is_text_everywhere(self, staff: Client) -> None:
        script = "<script>alert(1)</script>"
        category = make_category(name=script, slug="s")
        products = [make_product(name=script, category="s", group=script, tags=[script], stock=1) for _ in range(2)]
        service.adjust_stock(product_id=products[0].id, delta=1, reason=script)
        page = f"{PRODUCTS}{products[0].id}/"
        staff.post(f"{page}change/", form(products[0], name=f"{script}!", category=str(category.id)))
        chosen = {"action": "hide", "_selected_action": [str(products[1].id)]}

        answers = [
            *(staff.get(each) for each in ("/admin/", PRODUCTS, f"{page}change/", f"{page}correct_stock/")),
            *(staff.get(each) for each in (f"{page}history/", f"{page}delete/", CATEGORIES)),
            *(staff.get(f"/admin/products/{name}/") for name in ("stocklevel", "stockmovement")),
            staff.get("/admin/search/", {"s": "script", "extended": "1"}),
            staff.post(PRODUCTS, chosen),
        ]

        for answer in answers:
            assert answer.status_code == 200
            assert script not in answer.content.decode()
            assert "&lt;script&gt;" in answer.content.decode()

    def test_a_formula_in_a_name_is_text_in_the_export(self, staff: Client) -> None:
        make_product(name='=HYPERLINK("http://x.y","z")', sku="@SUM(1)")

        exported = b"".join(staff.get(f"{PRODUCTS}export/")).decode()

        assert '"\'=HYPERLINK(""http://x.y"",""z"")"' in exported
        assert "'@SUM(1)" in exported


class TestStock:
    @pytest.mark.parametrize(
        ("how", "units", "on_hand", "delta"), [("counted", 3, 3, -2), ("came", 4, 9, 4), ("went", 1, 4, -1)]
    )
    def test_it_is_corrected_with_a_reason(self, staff: Client, how: str, units: int, on_hand: int, delta: int) -> None:
        product = make_product(stock=5)
        page = f"{PRODUCTS}{product.id}/correct_stock/"
        assert re.search(r"On hand</dt><dd[^>]*>5<", staff.get(page).content.decode())

        response = staff.post(page, {"how": how, "units": units, "reason": "broken"})

        assert (response.status_code, response["Location"]) == (302, f"{PRODUCTS}{product.id}/change/")
        movement = models.StockMovement.objects.order_by("-id")[0]
        assert (movement.delta, movement.reason, movement.actor_id is not None) == (delta, "broken", True)
        assert service.get_stock(product_id=product.id).on_hand == on_hand
        assert event_types() == ["product.created", "stock.changed"]
        entry = LogEntry.objects.get()
        assert sentence_of(entry) == "Stock corrected"
        assert changes_in(entry) == [Change("on hand", "5", str(on_hand)), Change("reason", "", "broken")]

    @pytest.mark.parametrize(
        ("given", "sentence"),
        [
            ({"how": "went", "units": "2", "reason": "lost"}, "4 units are reserved"),
            ({"how": "counted", "units": "3", "reason": "lost"}, "4 units are reserved"),
            ({"how": "came", "units": "1", "reason": ""}, "This field is required."),
            ({"how": "came", "units": "1", "reason": "a\x01b"}, "Control characters are not allowed."),
            ({"how": "came", "units": "9999999999", "reason": "x"}, "less than or equal to"),
            ({"how": "came", "units": "-1", "reason": "x"}, "greater than or equal to"),
            ({"how": "else", "units": "1", "reason": "x"}, "Select a valid choice."),
        ],
    )
    def test_what_is_refused_changes_nothing(self, staff: Client, given: dict[str, str], sentence: str) -> None:
        product = make_product(stock=5)
        service.reserve_stock(order_id=new_id(), lines=[StockLine(product.id, 4)], hold_for=timedelta(days=365))
        movements, events = models.StockMovement.objects.count(), event_types()

        response = staff.post(f"{PRODUCTS}{product.id}/correct_stock/", given)

        assert response.status_code == 200
        assert sentence in response.content.decode()
        assert service.get_stock(product_id=product.id).on_hand == 5
        assert (models.StockMovement.objects.count(), event_types(), LogEntry.objects.count()) == (movements, events, 0)

    def test_of_a_product_that_there_is_not(self, staff: Client) -> None:
        gone = make_product()
        service.delete_product(product_id=gone.id)

        for product_id in (gone.id, new_id(), "abc"):
            assert staff.get(f"{PRODUCTS}{product_id}/correct_stock/").status_code == 302

    def test_others_may_not(self, client: Client, log_in: Callable[..., Any]) -> None:
        product = make_product(stock=5)
        client.force_login(log_in(Role.ORDER_STAFF).user)
        given = {"how": "came", "units": "1", "reason": "x"}

        assert client.post(f"{PRODUCTS}{product.id}/correct_stock/", given).status_code == 403
        assert service.get_stock(product_id=product.id).on_hand == 5

    def test_the_product_s_page_shows_its_ledger_and_the_variants_of_its_group(self, staff: Client) -> None:
        product = make_product(stock=5, group="shirt")
        make_product(name="Red shirt", group="shirt")
        make_product(name="Blue shirt")
        service.adjust_stock(product_id=product.id, delta=-2, reason="moths")

        page = staff.get(f"{PRODUCTS}{product.id}/change/").content.decode()

        assert "moths" in page
        assert f'href="{PRODUCTS}{product.id}/correct_stock/"' in page
        assert ("Red shirt" in page, "Blue shirt" in page) == (True, False)


class TestSeveralAtOnce:
    def confirm(self, staff: Client, *products: Product, **fields: str) -> Any:  # noqa: ANN401 - a test client's
        """What the browser sends when the page that shows what would change is confirmed."""
        revisions = {f"revision-{product.id}": product.revision for product in products}
        chosen = [str(product.id) for product in products]
        return staff.post(
            PRODUCTS, {"_selected_action": chosen, "confirmed": "yes", **revisions, **fields}, follow=True
        )

    def said(self, response: Any) -> list[str]:  # noqa: ANN401 - as above
        return [str(message) for message in response.context["messages"]]

    def test_prices_are_shown_before_and_after_and_nothing_changes_yet(self, staff: Client) -> None:
        product, yen = make_product(price=Decimal("9.99")), make_product(price=Decimal(105), currency="JPY")
        chosen = {"action": "change_prices", "_selected_action": [str(product.id), str(yen.id)]}
        assert "2 products are chosen." in staff.post(PRODUCTS, chosen).content.decode()

        page = staff.post(PRODUCTS, {**chosen, "by": "-10", "unit": "percent"}).content.decode()

        assert re.search(r"9\.99</del> → <strong[^>]*>8\.99 USD<", page)
        assert re.search(r"105</del> → <strong[^>]*>95 JPY<", page)
        assert "Change 2 products" in page
        assert service.get_product(product_id=product.id) == product
        assert event_types() == ["product.created"] * 2

    @pytest.mark.parametrize(
        ("by", "unit", "price"),
        [
            ("10", "percent", "10.99"),
            ("-0.5", "amount", "9.49"),
            ("0.005", "amount", "10.00"),
            ("-100", "percent", "0.00"),
        ],
    )
    def test_prices_change(self, staff: Client, by: str, unit: str, price: str) -> None:
        product = make_product(price=Decimal("9.99"))

        response = self.confirm(staff, product, action="change_prices", by=by, unit=unit)

        assert self.said(response) == ["1 product was changed."]
        assert str(service.get_product(product_id=product.id).price) == price
        assert event_types() == ["product.created", "product.updated"]
        assert changes_in(LogEntry.objects.get()) == [Change("price", "9.99", price)]

    def test_what_is_refused_is_said_before_and_after(self, staff: Client) -> None:
        cheap, dear = make_product(name="Cheap", price=Decimal(5)), make_product(name="Dear", price=Decimal(50))
        fields = {"action": "change_prices", "by": "-10", "unit": "amount"}

        page = staff.post(PRODUCTS, {**fields, "_selected_action": [str(cheap.id), str(dear.id)]}).content.decode()
        assert "5.00 USD: The price would be below zero." in page
        assert "Change 1 product\n" in page or "Change 1 product<" in page
        response = self.confirm(staff, cheap, dear, **fields)

        assert self.said(response) == ["1 product was changed.", "Cheap: The price would be below zero."]
        assert [service.get_product(product_id=each.id).price for each in (cheap, dear)] == [Decimal(5), Decimal(40)]
        assert event_types() == [*["product.created"] * 2, "product.updated"]

    def test_what_somebody_else_has_changed_since_is_left_alone(self, staff: Client) -> None:
        mine, theirs = make_product(name="Mine"), make_product(name="Theirs")
        service.update_product(product_id=theirs.id, change=ProductChange(price=Decimal(7)))

        response = self.confirm(staff, mine, theirs, action="change_prices", by="1", unit="amount")

        said = self.said(response)
        assert said[0] == "1 product was changed."
        assert re.match(r"Theirs: .*has changed since", said[1])
        assert [service.get_product(product_id=each.id).price for each in (mine, theirs)] == [Decimal(11), Decimal(7)]

    @pytest.mark.parametrize("unknown", [{}, {"revision": "x"}, {"revision": "9" * 40}])
    def test_without_the_page_before_nothing_changes(self, staff: Client, unknown: dict[str, str]) -> None:
        product = make_product()
        fields = {f"revision-{product.id}": value for value in unknown.values()}
        given = {"_selected_action": [str(product.id)], "confirmed": "yes", "action": "hide", **fields}

        staff.post(PRODUCTS, given)

        assert service.get_product(product_id=product.id).active is True

    @pytest.mark.parametrize(
        "given", [{"by": "x"}, {"by": ""}, {"by": "1e40"}, {"by": "NaN"}, {"by": "1", "unit": "x"}]
    )
    def test_what_is_no_number_is_an_error_of_the_form(self, staff: Client, given: dict[str, str]) -> None:
        product = make_product()

        response = self.confirm(staff, product, action="change_prices", **{"unit": "percent", **given})

        assert response.status_code == 200
        assert "errorlist" in response.content.decode() or "errors" in response.content.decode()
        assert service.get_product(product_id=product.id) == product

    def test_they_are_hidden_and_shown(self, staff: Client) -> None:
        shown, hidden = make_product(name="Shown"), make_product(name="Hidden", active=False)
        page = staff.post(PRODUCTS, {"action": "hide", "_selected_action": [str(shown.id), str(hidden.id)]})
        assert "stays as it is" in page.content.decode()
        assert event_types() == ["product.created"] * 2

        response = self.confirm(staff, shown, hidden, action="hide")

        assert self.said(response) == ["1 product was changed."]
        assert list(models.Product.objects.filter(active=True)) == []
        again = [service.get_product(product_id=each.id, include_inactive=True) for each in (shown, hidden)]
        assert self.said(self.confirm(staff, *again, action="show")) == ["2 products were changed."]
        assert models.Product.objects.filter(active=True).count() == 2
        assert event_types() == [*["product.created"] * 2, *["product.updated"] * 3]
        assert LogEntry.objects.count() == 3

    def test_others_may_not(self, client: Client, log_in: Callable[..., Any]) -> None:
        product = make_product()
        client.force_login(log_in(Role.ORDER_STAFF).user)

        assert self.confirm(client, product, action="hide").status_code == 403
        assert service.get_product(product_id=product.id).active is True


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

    def test_a_movement_names_product_and_person(self, staff: Client) -> None:
        lamp = make_product(name="Floor lamp", stock=5)
        actor = services.users().register(
            username="grace", email="grace@example.com", password="correct horse 9", profile=Profile()
        )
        service.adjust_stock(product_id=lamp.id, delta=-1, reason="broken", actor_id=actor.id)
        movement = models.StockMovement.objects.latest("pk")
        page = staff.get(f"/admin/products/stockmovement/{movement.pk}/change/").content.decode()
        for text in ("Floor lamp", "grace", "adjustment"):
            assert text in page
        assert "&#x27;adjustment&#x27;" not in page

    def test_are_found_by_sku_product_and_order(self, staff: Client) -> None:
        lamp, other = make_product(sku="LAMP-1", stock=5), make_product(sku="CHAIR-1", stock=7)
        order_id = new_id()
        service.reserve_stock(order_id=order_id, lines=[StockLine(lamp.id, 1)], hold_for=timedelta(days=1))
        service.reserve_stock(order_id=new_id(), lines=[StockLine(other.id, 1)], hold_for=timedelta(days=1))
        service.commit_reservation(order_id=order_id)

        def found(page: str, text: str) -> int:
            return len(staff.get(f"/admin/products/{page}/", {"q": text}).context["cl"].result_list)

        for text in (str(lamp.id), "LAMP-1", " lamp-1 "):
            assert (found("stocklevel", text), found("stockmovement", text)) == (1, 2)
        assert (found("stockmovement", str(order_id)), found("reservation", str(order_id))) == (1, 1)
        for page in ("stocklevel", "stockmovement", "reservation"):
            assert found(page, "LAMP-2") == found(page, str(new_id())) == 0
        assert len(staff.get("/admin/products/stockmovement/?kind__exact=adjustment").context["cl"].result_list) == 2


@pytest.mark.parametrize("role", [Role.USER, Role.ORDER_STAFF])
def test_not_for_others(client: Client, log_in: Callable[..., Any], role: Role) -> None:
    client.force_login(log_in(role).user)

    assert client.get(PRODUCTS).status_code in {302, 403}
