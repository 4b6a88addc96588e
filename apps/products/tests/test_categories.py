"""The category tree."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connections

from apps.common.errors import DomainError
from apps.common.ids import new_id
from apps.products import models
from apps.products.interface import (
    Category,
    CategoryCycle,
    CategoryExists,
    CategoryInUse,
    CategoryNotFound,
    CategoryTooDeep,
)
from apps.products.services import LocalProductService
from apps.products.services.categories import MAX_DEPTH
from apps.products.tests.factories import make_category, make_product

service = LocalProductService()


def chain(length: int, parent: Category | None = None) -> list[Category]:
    """Categories, each below the one before."""
    made: list[Category] = []
    for _ in range(length):
        parent = make_category(parent_id=parent.id if parent else None)
        made.append(parent)
    return made


def check_paths() -> None:
    """Every path is the parent's path and the own id."""
    for row in models.Category.objects.select_related("parent"):
        assert row.path == f"{row.parent.path if row.parent else '/'}{row.id}/"


@pytest.mark.django_db
class TestCreate:
    def test_slugs_are_made_and_unique(self) -> None:
        parent = make_category(name="手机")

        assert parent.slug == "手机"
        assert make_category(name="手机", parent_id=parent.id).slug == "手机-2"
        assert make_category(name="!!!").slug == "category"
        check_paths()

    def test_names_are_unique_below_a_parent(self) -> None:
        parent = make_category(name="Phones")
        make_category(name="Cases", parent_id=parent.id)

        for name, parent_id in (("PHONES", None), ("cases ", parent.id)):
            with pytest.raises(CategoryExists) as refusal:
                make_category(name=name, parent_id=parent_id)
            assert refusal.value.problems[0].attr == "name"
        assert models.Category.objects.count() == 2

    def test_slugs_are_unique_everywhere(self) -> None:
        make_category(slug="slug")

        with pytest.raises(CategoryExists) as refusal:
            make_category(name="slug name_folded", slug="slug")
        assert refusal.value.problems[0].attr == "slug"

    def test_an_unknown_parent(self) -> None:
        with pytest.raises(CategoryNotFound):
            make_category(parent_id=new_id())
        assert not models.Category.objects.exists()

    def test_ten_levels_and_no_more(self) -> None:
        deepest = chain(MAX_DEPTH)[-1]

        with pytest.raises(CategoryTooDeep):
            make_category(parent_id=deepest.id)
        assert models.Category.objects.count() == MAX_DEPTH


@pytest.mark.django_db
class TestUpdate:
    def test_a_new_name_reaches_search_and_etag(self) -> None:
        product = make_product(category="Lights")
        assert product.category_id

        renamed = service.update_category(category_id=product.category_id, name="Lamps")

        assert (renamed.name, renamed.slug) == ("Lamps", "lights")
        assert models.Product.objects.get().search_body == "lamps"
        now = service.get_product(product_id=product.id)
        assert (now.category, now.revision) == ("Lamps", 2)

    def test_a_taken_name(self) -> None:
        make_category(name="One")
        other = make_category(name="Other")

        with pytest.raises(CategoryExists):
            service.update_category(category_id=other.id, name="ONE")
        assert service.get_category(category_id=other.id).name == "Other"

    def test_a_refused_move_moves_nothing(self) -> None:
        target = make_category(name="Target")
        make_category(name="Same", parent_id=target.id)
        low = chain(3, make_category(name="Same"))
        before = dict(models.Category.objects.values_list("pk", "path"))
        assert low[0].parent_id

        with pytest.raises(CategoryExists):
            service.update_category(category_id=low[0].parent_id, move=True, parent_id=target.id)

        assert dict(models.Category.objects.values_list("pk", "path")) == before

    def test_a_move_takes_all_below_along(self) -> None:
        top, target = make_category(), make_category()
        low = chain(3, top)

        moved = service.update_category(category_id=low[0].id, move=True, parent_id=target.id)

        assert moved.parent_id == target.id
        check_paths()
        path = models.Category.objects.get(pk=low[-1].id).path
        assert path == "/" + "".join(f"{category.id}/" for category in (target, *low))
        assert service.update_category(category_id=low[0].id, move=True).parent_id is None
        check_paths()

    @pytest.mark.parametrize("below", [0, 1, 2])
    def test_never_below_itself(self, below: int) -> None:
        line = chain(3)

        with pytest.raises(CategoryCycle):
            service.update_category(category_id=line[0].id, move=True, parent_id=line[below].id)
        check_paths()
        assert service.get_category(category_id=line[0].id).parent_id is None

    def test_a_move_stays_within_ten_levels(self) -> None:
        line, other = chain(MAX_DEPTH - 2), chain(3)

        with pytest.raises(CategoryTooDeep):
            service.update_category(category_id=other[0].id, move=True, parent_id=line[-1].id)
        service.update_category(category_id=other[0].id, move=True, parent_id=line[-2].id)
        check_paths()

    def test_unknown(self) -> None:
        category = make_category()

        with pytest.raises(CategoryNotFound):
            service.update_category(category_id=new_id(), name="x")
        with pytest.raises(CategoryNotFound):
            service.update_category(category_id=category.id, move=True, parent_id=new_id())


@pytest.mark.django_db
class TestDelete:
    def test_unused(self) -> None:
        category = make_category()

        service.delete_category(category_id=category.id)

        with pytest.raises(CategoryNotFound):
            service.get_category(category_id=category.id)
        with pytest.raises(CategoryNotFound):
            service.delete_category(category_id=category.id)

    def test_used(self) -> None:
        parent, child = chain(2)
        product = make_product(category=child.slug, active=False)

        for category in (parent, child):
            with pytest.raises(CategoryInUse):
                service.delete_category(category_id=category.id)
        service.delete_product(product_id=product.id)
        service.delete_category(category_id=child.id)
        service.delete_category(category_id=parent.id)

        assert not models.Category.objects.exists()
        assert models.Product.objects.get().category is None


@pytest.mark.django_db(transaction=True)
def test_simultaneous_moves_make_no_circle() -> None:
    for _ in range(5):
        one, other = chain(2), chain(2)

        def move(what: Category, below: Category) -> None:
            try:
                service.update_category(category_id=what.id, move=True, parent_id=below.id)
            except DomainError:
                pass
            finally:
                connections.close_all()

        with ThreadPoolExecutor(2) as pool:
            list(pool.map(move, [one[0], other[0]], [other[1], one[1]]))

        moved = [service.get_category(category_id=line[0].id).parent_id for line in (one, other)]
        assert moved.count(None) == 1
        check_paths()
