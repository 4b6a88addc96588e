"""The catalogue's rules."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from uuid import UUID

import pytest
from django.db import connections

from apps.common.databases import alias_of
from apps.common.errors import DomainError
from apps.common.ids import new_id
from apps.events.models import OutboxEvent
from apps.products import models
from apps.products.catalogue_audit import CATALOGUE_RULES
from apps.products.interface import (
    AmbiguousCategory,
    CategoryNotFound,
    InvalidPrice,
    NewProduct,
    Product,
    ProductChange,
    ProductNotFound,
    SkuTaken,
    StaleProduct,
    StockLevel,
    StockLimit,
)
from apps.products.services import LocalProductService
from apps.products.tests.factories import make_category, make_product
from tests.flow import sends

service = LocalProductService()


def events_of(product_id: UUID) -> list[tuple[str, int, dict[str, object]]]:
    rows = OutboxEvent.objects.using(alias_of("products")).filter(subject=product_id).order_by("id")
    return [(row.type, row.sequence, row.data) for row in rows]


def event_count() -> int:
    return OutboxEvent.objects.using(alias_of("products")).count()


def at_once(*calls: Callable[[], Product]) -> list[Product | DomainError]:
    """Run calls in threads of their own; returns what each returned or refused."""

    def run(call: Callable[[], Product]) -> Product | DomainError:
        try:
            return call()
        except DomainError as refusal:
            return refusal
        finally:
            connections.close_all()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(run, calls))


@pytest.mark.django_db
class TestCreate:
    def test_a_product_with_stock_category_and_event(self) -> None:
        product = service.create_product(
            new=NewProduct(
                name="Lamp",
                price=Decimal("9.9"),
                category="Lights",
                stock=7,
                tags=["warm", "new", "warm"],
                attributes={"watts": 60},
            )
        )

        assert product == service.get_product(product_id=product.id)
        assert product.price.as_tuple() == Decimal("9.90").as_tuple()
        assert (product.currency, product.category, product.stock) == ("USD", "Lights", 7)
        assert (product.tags, product.attributes, product.revision) == (["warm", "new"], {"watts": 60}, 1)
        assert product.etag == '"1-7"'
        assert service.get_stock(product_id=product.id) == StockLevel(product_id=product.id, on_hand=7, reserved=0)
        assert models.StockMovement.objects.get(product_id=product.id).delta == 7
        data = {"product_id": str(product.id), "name": "Lamp", "price": "9.90", "currency": "USD", "stock": 7}
        assert events_of(product.id) == [("product.created", 1, data)]

    def test_a_sku_is_made(self) -> None:
        prefix, _, code = make_product(name="Été lamp").sku.partition("-")

        assert prefix == "ETEL"
        assert len(code) == 8
        assert make_product(name="手机").sku.startswith("SKU-")

    def test_a_sku_is_unique_ignoring_case_and_stays_taken(self) -> None:
        first = make_product(sku="abc-Straße")
        service.delete_product(product_id=first.id)
        events = event_count()

        with pytest.raises(SkuTaken) as refusal:
            make_product(sku="ABC-STRASSE", category="New")

        assert refusal.value.problems[0].attr == "sku"
        assert models.Product.objects.count() == 1
        assert models.StockLevel.objects.count() == 1
        assert not models.Category.objects.exists()
        assert event_count() == events

    @pytest.mark.parametrize(
        ("price", "currency"), [("1.001", "USD"), ("1.5", "JPY"), ("1.0001", "KWD"), ("-0.01", "USD")]
    )
    def test_a_price_fits_its_currency(self, price: str, currency: str) -> None:
        with pytest.raises(InvalidPrice) as refusal:
            make_product(price=Decimal(price), currency=currency)

        assert refusal.value.problems[0].attr == "price"
        assert not models.Product.objects.exists()

    def test_too_much_stock(self) -> None:
        with pytest.raises(StockLimit):
            make_product(stock=models.MAX_STOCK + 1)

        assert not models.Product.objects.exists()
        assert event_count() == 0


@pytest.mark.django_db
class TestCategoryReference:
    def test_id_slug_and_name(self) -> None:
        category = make_category(name="Smart Phones")

        for reference in (str(category.id), "smart-phones", "smart PHONES", " Smart Phones "):
            assert make_product(category=reference).category_id == category.id
        assert models.Category.objects.count() == 1

    def test_an_unknown_name_is_made_at_the_top(self) -> None:
        product = make_product(category="手机")

        category = models.Category.objects.get()
        assert (category.id, category.name, category.slug, category.parent) == (
            product.category_id,
            "手机",
            "手机",
            None,
        )

    def test_an_unknown_id_is_refused(self) -> None:
        with pytest.raises(CategoryNotFound) as refusal:
            make_product(category=str(new_id()))

        assert refusal.value.problems[0].attr == "category"
        assert not models.Category.objects.exists()

    def test_a_name_that_several_have(self) -> None:
        one, other = make_category(name="One"), make_category(name="Other")
        first = make_category(name="Cases", slug="a", parent_id=one.id)
        second = make_category(name="cases", slug="b", parent_id=other.id)

        with pytest.raises(AmbiguousCategory):
            make_product(category="CASES")
        product = make_product(category="b")
        change = ProductChange(category="Cases", name="Renamed")
        assert service.update_product(product_id=product.id, change=change).category_id == second.id
        assert make_product(category="a").category_id == first.id

    def test_the_slug_wins_over_a_name(self) -> None:
        by_slug = make_category(name="Something", slug="cases")
        make_category(name="Cases", slug="other")

        assert make_product(category="cases").category_id == by_slug.id


@pytest.mark.django_db
class TestUpdate:
    def test_changes_what_is_named_and_publishes(self) -> None:
        product = make_product(name="Lamp", category="Lights", tags=["a"], sku="L-1", stock=3)

        changed = service.update_product(
            product_id=product.id, change=ProductChange(price=Decimal("12.5"), category="", tags=["b", "b"])
        )

        assert changed == service.get_product(product_id=product.id)
        assert (changed.name, changed.sku, changed.price) == ("Lamp", "L-1", Decimal("12.50"))
        assert (changed.category, changed.category_id, changed.tags, changed.revision) == (None, None, ["b"], 2)
        assert changed.updated_at > product.updated_at
        data = {"product_id": str(product.id), "name": "Lamp", "price": "12.50", "currency": "USD", "stock": 3}
        assert events_of(product.id)[1:] == [("product.updated", 2, data)]

    def test_a_change_of_nothing_is_no_change(self) -> None:
        product = make_product(category="Lights", tags=["a"])

        change = ProductChange(name=product.name, price=Decimal(10), category="lights", tags=["a"])
        assert service.update_product(product_id=product.id, change=change) == product
        assert len(events_of(product.id)) == 1

    def test_a_stale_revision_changes_nothing(self) -> None:
        product = make_product(name="Lamp")
        service.update_product(product_id=product.id, change=ProductChange(name="Second"), if_revision=1)

        with pytest.raises(StaleProduct):
            service.update_product(product_id=product.id, change=ProductChange(name="Late"), if_revision=1)
        with pytest.raises(StaleProduct):
            service.delete_product(product_id=product.id, if_revision=1)

        assert service.get_product(product_id=product.id).name == "Second"
        assert len(events_of(product.id)) == 2

    def test_a_new_currency_must_fit_the_price(self) -> None:
        product = make_product(price=Decimal("9.99"))

        with pytest.raises(InvalidPrice):
            service.update_product(product_id=product.id, change=ProductChange(currency="JPY", category="New"))

        assert service.get_product(product_id=product.id) == product
        assert not models.Category.objects.exists()

    def test_a_sku_of_another_product(self) -> None:
        make_product(sku="TAKEN")
        product = make_product()

        with pytest.raises(SkuTaken):
            service.update_product(product_id=product.id, change=ProductChange(sku="taken"))

        assert service.get_product(product_id=product.id) == product


@pytest.mark.django_db
class TestReadAndDelete:
    def test_a_deleted_product_is_gone_for_everyone(self) -> None:
        product = make_product(stock=4)

        service.delete_product(product_id=product.id)

        for call in (service.get_product, service.delete_product, service.get_stock):
            with pytest.raises(ProductNotFound):
                call(product_id=product.id)
        with pytest.raises(ProductNotFound):
            service.get_product(product_id=product.id, include_inactive=True)
        with pytest.raises(ProductNotFound):
            service.update_product(product_id=product.id, change=ProductChange(name="x"))
        assert [(kind, sequence) for kind, sequence, _ in events_of(product.id)] == [
            ("product.created", 1),
            ("product.deleted", 2),
        ]
        assert models.StockLevel.objects.get().on_hand == 4

    def test_an_inactive_product_is_for_those_who_ask(self) -> None:
        product = make_product(active=False)

        with pytest.raises(ProductNotFound):
            service.get_product(product_id=product.id)
        assert service.get_product(product_id=product.id, include_inactive=True) == product
        assert service.get_products(product_ids=[product.id]) == []

    def test_many_products_in_two_queries(self) -> None:
        products = [make_product(category="Lights") for _ in range(5)]
        wanted = [product.id for product in products]

        with sends(2):
            found = service.get_products(product_ids=[*wanted, new_id()])

        assert sorted(found, key=lambda product: product.id) == products


@pytest.mark.django_db
def test_the_audit_sees_what_is_wrong() -> None:
    product = make_product(category="Lights")
    service.delete_product(product_id=make_product().id)
    assert [list(rule.violations()) for rule in CATALOGUE_RULES] == [[], [], [], [], []]
    assert [rule.checked() for rule in CATALOGUE_RULES] == [1, 1, 1, 2, 0]

    models.Category.objects.update(path="/")
    models.Product.objects.filter(pk=product.id).update(search_title="old")
    models.StockLevel.objects.filter(product_id=product.id).delete()

    assert [list(rule.violations()) for rule in CATALOGUE_RULES] == [
        [f"category {product.category_id}: its path is not below its parent's"],
        [],
        [f"product {product.id}: it is found by old words; manage.py reindex renews them"],
        [f"product {product.id}: it has no stock level"],
        [],
    ]


@pytest.mark.django_db(transaction=True)
class TestSimultaneously:
    def test_one_category_name_is_made_once(self) -> None:
        answers = at_once(*(lambda: make_product(category="Fresh") for _ in range(6)))

        assert {answer.category_id for answer in answers if isinstance(answer, Product)} == {
            models.Category.objects.get().id
        }
        assert models.Product.objects.count() == 6

    def test_one_sku_is_taken_once(self) -> None:
        answers = at_once(*(lambda: make_product(sku="ONE") for _ in range(6)))

        assert sorted(type(answer).__name__ for answer in answers) == ["Product"] + ["SkuTaken"] * 5
        assert models.Product.objects.count() == 1
        assert event_count() == 1

    def test_no_update_is_lost(self) -> None:
        product = make_product(name="Lamp")
        changes = [
            ProductChange(name="A"),
            ProductChange(price=Decimal(2)),
            ProductChange(description="C"),
            ProductChange(tags=["d"]),
        ]

        at_once(*(lambda c=change: service.update_product(product_id=product.id, change=c) for change in changes))

        now = service.get_product(product_id=product.id)
        assert (now.name, now.price, now.description, now.tags, now.revision) == ("A", Decimal(2), "C", ["d"], 5)
        assert [sequence for _, sequence, _ in events_of(product.id)] == [1, 2, 3, 4, 5]

    def test_one_of_two_editors_of_a_revision_wins(self) -> None:
        product = make_product()

        answers = at_once(
            *(
                lambda n=name: service.update_product(
                    product_id=product.id, change=ProductChange(name=n), if_revision=1
                )
                for name in ("A", "B", "C")
            )
        )

        assert sorted(type(answer).__name__ for answer in answers) == ["Product", "StaleProduct", "StaleProduct"]
        assert service.get_product(product_id=product.id).revision == 2
