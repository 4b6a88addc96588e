"""Documents in a store of their own: what a process that dies leaves behind is finished, and a catalogue can move."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from decimal import Decimal
from io import StringIO
from unittest.mock import patch
from uuid import UUID

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from django.db import DatabaseError, OperationalError, connections
from pymongo.errors import AutoReconnect

from apps.common.databases import alias_of
from apps.common.errors import InvalidInput
from apps.events.models import OutboxEvent
from apps.products import cache, copying
from apps.products.interface import ProductChange, ProductFilter, SkuTaken
from apps.products.models import Category, Product, StockLevel, StockMovement
from apps.products.search import reindexing
from apps.products.search.hits import Hits
from apps.products.services import LocalProductService, announcing, categories
from apps.products.services.selection import select_products
from apps.products.store import documents, indexes
from apps.products.store.clock import now
from apps.products.tests.factories import make_category, make_product

service = LocalProductService()

pytestmark = pytest.mark.django_db


def events_of(product_id: UUID) -> list[tuple[str, int]]:
    found = OutboxEvent.objects.using(alias_of("products")).filter(subject=product_id, type__startswith="product.")
    return list(found.order_by("sequence").values_list("type", "sequence"))


def flagged() -> set[UUID]:
    return set(Product.objects.filter(unannounced=True).values_list("pk", flat=True))


class Killed(BaseException):
    """What stands for kill -9: nothing catches it, and what was to follow does not happen."""


@contextmanager
def killed_before(where: object, name: str) -> Iterator[None]:
    with patch.object(where, name, side_effect=Killed), pytest.raises(Killed):
        yield


@pytest.mark.mongodb
class TestAnnouncing:
    """The window between a document's write and the commit of its event."""

    @pytest.mark.django_db(transaction=True)
    def test_a_new_product_whose_maker_died_is_opened_and_announced(self) -> None:
        with killed_before(cache, "product_changed"):
            make_product(sku="LOST", stock=7)
        (product,) = Product.objects.all()
        assert (events_of(product.pk), StockLevel.objects.count()) == ([], 0)

        assert service.announce_products() == 1

        assert events_of(product.pk) == [("product.created", 1)]
        assert StockLevel.objects.get().on_hand == StockMovement.objects.get().delta == 7
        assert flagged() == set()
        assert service.announce_products() == 0

    @pytest.mark.django_db(transaction=True)
    def test_a_change_whose_maker_died_is_announced_before_the_next(self) -> None:
        product = make_product(name="One")
        with killed_before(cache, "product_changed"):
            service.update_product(product_id=product.id, change=ProductChange(name="Two"))
        assert events_of(product.id) == [("product.created", 1)]

        service.update_product(product_id=product.id, change=ProductChange(name="Three"))

        assert events_of(product.id) == [("product.created", 1), ("product.updated", 2), ("product.updated", 3)]
        assert flagged() == set()

    def test_what_was_announced_already_is_not_told_twice(self) -> None:
        with killed_before(documents, "write"):
            make_product()
        (key,) = flagged()
        assert events_of(key) == [("product.created", 1)]

        assert service.announce_products() == 1

        assert events_of(key) == [("product.created", 1)]
        assert flagged() == set()

    @pytest.mark.django_db(transaction=True)
    def test_a_store_that_goes_away_after_the_commit_refuses_nothing(self) -> None:
        with patch.object(documents, "write", side_effect=OperationalError("away")):
            product = make_product(stock=3)

        assert flagged() == {product.id}
        assert service.announce_products() == 1
        assert events_of(product.id) == [("product.created", 1)]
        assert service.get_stock(product_id=product.id).on_hand == 3

    @pytest.mark.django_db(transaction=True)
    def test_the_sweep_beside_a_maker_opens_one_level(self) -> None:
        """The document can be seen a moment before the commit of its level."""
        swept: list[object] = []

        def sweep() -> None:
            try:
                swept.append(service.announce_products())
            finally:
                connections.close_all()

        beside = threading.Thread(target=sweep)

        def commit_late(*product_ids: UUID) -> None:
            if not product_ids:  # the maker's; the sweep names what it announces
                beside.start()
                time.sleep(0.3)

        with patch.object(cache, "product_changed", side_effect=commit_late):
            make_product(stock=7)
            beside.join(20)

        # With SQLite it had to wait for the maker, and came too late.
        assert swept in ([0], [1])
        assert flagged() == set()
        assert StockLevel.objects.get().on_hand == StockMovement.objects.get().delta == 7

    def test_a_flag_stays_up_when_the_product_has_changed_again(self) -> None:
        product = make_product()
        old = Product.objects.get(pk=product.id)
        Product.objects.filter(pk=product.id).update(revision=2, unannounced=True)

        announcing.settle(old)

        assert flagged() == {product.id}

    def test_a_deletion_is_announced_as_one(self) -> None:
        product = make_product()
        gone = {"revision": 2, "deleted_at": now(), "active": False, "unannounced": True}
        Product.objects.filter(pk=product.id).update(**gone)

        service.announce_products()

        assert events_of(product.id) == [("product.created", 1), ("product.deleted", 2)]


class TestRenaming:
    def test_every_product_of_a_category_is_announced_and_found_anew(self) -> None:
        with patch.object(announcing, "_BATCH", 2):
            products = [make_product(category="Lights", sku=f"S{n}") for n in range(5)]
            assert products[0].category_id
            service.update_category(category_id=products[0].category_id, name="Lamps")
            assert len(flagged()) == 3

            while service.announce_products():
                pass

        assert flagged() == set()
        for product in products:
            assert events_of(product.id) == [("product.created", 1), ("product.updated", 2)]
        assert Hits("lamps", select_products(ProductFilter())).count() == 5
        assert Hits("lights", select_products(ProductFilter())).count() == 0

    def test_a_new_name_swallows_no_pending_event(self) -> None:
        product = make_product(category="Lights", stock=3)
        assert product.category_id
        # What a process that died before its commit leaves behind.
        Product.objects.filter(pk=product.id).update(unannounced=True)
        OutboxEvent.objects.using(alias_of("products")).all().delete()
        StockLevel.objects.all().delete()
        StockMovement.objects.all().delete()

        service.update_category(category_id=product.category_id, name="Lamps")

        assert events_of(product.id) == [("product.created", 1), ("product.updated", 2)]
        assert service.get_stock(product_id=product.id).on_hand == 3

    @pytest.mark.mongodb
    @pytest.mark.django_db(transaction=True)
    @pytest.mark.parametrize("step", ["_move_subtree", "_mark_products"])
    def test_what_a_change_that_was_cut_off_left_is_finished(self, step: str) -> None:
        home, lights = make_category(name="Home"), make_category(name="Lights")
        low = make_category(name="Low", parent_id=lights.id)
        product = make_product(name="Thing", category=str(lights.id))
        with killed_before(categories, step):
            service.update_category(category_id=lights.id, name="Lamps", move=True, parent_id=home.id)

        while service.announce_products():
            pass

        paths = dict(Category.objects.values_list("pk", "path"))
        assert paths[low.id] == f"/{home.id}/{lights.id}/{low.id}/"
        now_is = service.get_product(product_id=product.id)
        assert (now_is.category, now_is.revision) == ("Lamps", 2)
        assert Hits("lamps", select_products(ProductFilter())).count() == 1
        assert events_of(product.id) == [("product.created", 1), ("product.updated", 2)]
        assert not Category.objects.filter(unsettled=True).exists()


@pytest.mark.mongodb
class TestRefusals:
    def test_a_refused_product_leaves_no_category_behind(self) -> None:
        make_product(sku="TAKEN")

        with pytest.raises(SkuTaken):
            make_product(sku="taken", category="New")
        with pytest.raises(InvalidInput, match="-1 units"):
            make_product(stock=-1, category="New")

        assert Category.objects.count() == 0
        assert Product.objects.count() == StockLevel.objects.count() == 1

    def test_a_server_that_is_away_is_an_operational_error(self) -> None:
        away = AutoReconnect("127.0.0.1:27017: refused (configured timeouts: some)")
        with (
            patch.object(documents, "_collection", side_effect=away),
            pytest.raises(OperationalError, match=r"^No MongoDB server answers: 127\.0\.0\.1:27017: refused$"),
        ):
            documents.aggregate(Product.objects.all(), [])
        with pytest.raises(DatabaseError):
            documents.aggregate(Product.objects.all(), [{"$nonsense": {}}])


class TestReindexing:
    def test_writes_anew_what_products_are_found_by(self) -> None:
        product, other = make_product(name="Lamp", sku="A"), make_product(name="Chair", sku="B")
        Product.objects.filter(pk=product.id).update(search_title="old", search_body="older", name_key="x")
        assert Hits("lamp", select_products(ProductFilter())).count() == 0

        assert sum(reindexing.reindex()) == 1

        assert Hits("lamp", select_products(ProductFilter())).count() == 1
        assert Product.objects.get(pk=product.id).revision == product.revision
        assert events_of(other.id) == [("product.created", 1)]
        out = StringIO()
        call_command("reindex", stdout=out)
        assert out.getvalue() == "The search index is up to date: 0 products were found by old words.\n"

    def test_leaves_a_product_alone_that_changes_meanwhile(self) -> None:
        product = make_product(name="Lamp")
        row = Product.objects.defer(None).select_related("category").get(pk=product.id)
        row.search_title = "read before"
        service.update_product(product_id=product.id, change=ProductChange(name="Chair"))

        assert reindexing._renew(row) == 0
        assert Product.objects.get(pk=product.id).search_title.startswith("chair")

    @pytest.mark.django_db(transaction=True)
    def test_makes_indexes_that_are_missing(self) -> None:
        connection = documents.connection()
        drop = {
            "sqlite": "DROP TRIGGER products_search_changed",
            "postgresql": "DROP INDEX products_searchindex",
        }
        if connection.vendor == "mongodb":
            connection.database["products_product"].drop_index("tags_1")  # type: ignore[attr-defined]
        else:
            with connection.cursor() as cursor:
                cursor.execute(drop[connection.vendor])
        said = StringIO()
        call_command("check", stdout=said, stderr=said)
        assert "products.W004" in said.getvalue()
        assert "manage.py reindex" in said.getvalue()

        call_command("reindex", stdout=StringIO())

        assert indexes.missing(connection) == []
        said = StringIO()
        call_command("check", stdout=said, stderr=said)
        assert "products.W004" not in said.getvalue()


def copy(source: str, target: str) -> str:
    out = StringIO()
    call_command("copy_catalogue", "--from", source, "--to", target, stdout=out)
    return out.getvalue()


@pytest.mark.mongodb
class TestCopying:
    def test_moves_a_catalogue_and_its_changes(self) -> None:
        relational = alias_of("products")
        home = make_category(name="Home")
        low = make_category(name="Lamps", parent_id=home.id)
        lamp = make_product(
            name="Lämp", category="Lamps", price=Decimal("9.99"), tags=["a"], attributes={"a.b": 1.5, "c": None}
        )
        gone = make_product(category="Home")
        service.delete_product(product_id=gone.id)

        said = copy("mongodb", "relational").splitlines()

        assert [line.split(",")[0] for line in said] == ["4 documents written.", "2 categories", "2 products"]
        there = Product.objects.using(relational).select_related("category").get(pk=lamp.id)
        assert (there.name, there.price, there.tags, there.attributes) == (
            "Lämp", Decimal("9.990"), ["a"], {"a.b": 1.5, "c": None},
        )  # fmt: skip
        assert there.category
        assert there.category.path == f"/{home.id}/{low.id}/"
        assert copy("mongodb", "relational").startswith("0 documents written.")

        service.update_product(product_id=lamp.id, change=ProductChange(name="Chair", category=""))
        service.delete_category(category_id=low.id)
        assert copy("mongodb", "relational").startswith("2 documents written.")
        assert [row.name for row in Category.objects.using(relational)] == ["Home"]
        assert Product.objects.using(relational).get(pk=lamp.id).name == "Chair"

    def test_and_back(self) -> None:
        make_product(category="Home", name="Lamp")
        copy("mongodb", "relational")
        before = [copying.contents(model, settings.CATALOGUE_DATABASE) for model in (Category, Product)]
        Product.objects.all().delete()
        Category.objects.all().delete()

        copy("relational", "mongodb")

        assert [copying.contents(model, settings.CATALOGUE_DATABASE) for model in (Category, Product)] == before
        assert [each.count for each in before] == [1, 1]
        assert Hits("lamp", select_products(ProductFilter())).count() == 1

    def test_one_that_was_cut_off_goes_on(self) -> None:
        with patch.object(copying, "_BATCH", 2):
            for n in range(5):
                make_product(name=f"Lamp {n}")
            cut_off = copying.copy(settings.CATALOGUE_DATABASE, alias_of("products"))
            assert next(cut_off) == 2
            del cut_off

            assert copy("mongodb", "relational").startswith("3 documents written.")

    def test_names_that_are_passed_on_find_their_new_owners(self) -> None:
        first, second = make_product(sku="A"), make_product(sku="B")
        category = make_category(name="Lamps")
        copy("mongodb", "relational")
        service.update_product(product_id=second.id, change=ProductChange(sku="C"))
        service.update_product(product_id=first.id, change=ProductChange(sku="B"))
        service.update_product(product_id=second.id, change=ProductChange(sku="A"))
        service.delete_category(category_id=category.id)
        make_category(name="Lamps")

        copy("mongodb", "relational")

        rows = Product.objects.using(alias_of("products")).order_by("pk")
        assert [(row.sku, row.sku_folded) for row in rows] == [("B", "b"), ("A", "a")]

    def test_one_is_not_a_copy_of_true(self) -> None:
        product = make_product(attributes={"led": True})
        copy("mongodb", "relational")
        there = Product.objects.using(alias_of("products")).filter(pk=product.id)
        there.update(attributes={"led": 1})

        assert copy("mongodb", "relational").startswith("1 documents written.")

        assert there.get().attributes["led"] is True

    def test_a_change_of_the_tree_that_was_cut_off_is_not_left_behind(self) -> None:
        make_category()
        Category.objects.update(unsettled=True)

        with pytest.raises(CommandError, match="still to be announced"):
            copy("mongodb", "relational")

    def test_what_is_not_announced_is_not_left_behind(self) -> None:
        product = make_product()
        Product.objects.filter(pk=product.id).update(unannounced=True)

        with pytest.raises(CommandError, match="still to be announced"):
            copy("mongodb", "relational")
        assert not Product.objects.using(alias_of("products")).exists()

    def test_a_target_with_a_life_of_its_own_is_not_called_a_copy(self) -> None:
        product = make_product()
        copy("mongodb", "relational")
        Product.objects.using(alias_of("products")).create(sku="X", sku_folded="x", name="X", price=1, currency="USD")

        with pytest.raises(CommandError, match="The stores differ: 1 products in mongodb, 2 in relational"):
            copy("mongodb", "relational")
        assert Product.objects.get().pk == product.id


def test_copying_needs_two_stores() -> None:
    with pytest.raises(CommandError, match="the same store"):
        copy("mongodb", "mongodb")
    if not documents.are_apart():
        with pytest.raises(CommandError, match="Set MONGODB_URL"):
            copy("relational", "mongodb")


def test_a_name_for_the_event_of_a_revision_sorts_by_its_time() -> None:
    product = make_product()
    later = service.update_product(product_id=product.id, change=ProductChange(name="x"))
    ids = OutboxEvent.objects.using(alias_of("products")).filter(subject=product.id).order_by("sequence")

    assert [event.pk.int >> 80 for event in ids] == [
        int(each.updated_at.timestamp() * 1000) for each in (product, later)
    ]
    assert later.updated_at - product.updated_at < timedelta(seconds=5)
