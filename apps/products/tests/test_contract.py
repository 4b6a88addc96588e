"""What the interface promises, of the service in this process and of the same service over gRPC: no difference."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path
from secrets import token_bytes
from uuid import UUID, uuid4

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from PIL import Image as Picture
from pytest_django.fixtures import Settings

from apps.common.databases import alias_of
from apps.common.errors import DomainError, InvalidInput, Problem
from apps.common.ids import derived_id
from apps.events.models import OutboxEvent
from apps.products import models
from apps.products.interface import (
    MAX_LINES,
    MAX_QUANTITY,
    AmbiguousCategory,
    Attributes,
    Category,
    CategoryCount,
    CategoryCycle,
    CategoryExists,
    CategoryInUse,
    CategoryNotFound,
    CategoryTooDeep,
    ChangeOvertaken,
    Facets,
    ImagePlace,
    InvalidArrangement,
    InvalidPrice,
    MovementKind,
    NewProduct,
    NotAPicture,
    Ordering,
    OutOfStock,
    PictureNotFound,
    PictureTooLarge,
    PriceBand,
    PricedLine,
    Product,
    ProductChange,
    ProductFilter,
    ProductNotFound,
    ProductPage,
    ProductService,
    Reservation,
    ReservationClosed,
    ReservationNotFound,
    ReservationState,
    SearchPage,
    SkuTaken,
    StaleProduct,
    StockBelowReserved,
    StockLevel,
    StockLimit,
    StockLine,
    StockReturn,
    StorageUnavailable,
    TagCount,
    TooManyPictures,
)
from apps.products.models import MAX_STOCK
from apps.products.services import LocalProductService
from apps.products.tests.pictures import encode, halves
from apps.products.validators import MAX_NUMBER, MAX_PICTURES
from grpc_api.clients.products import RemoteProductService
from grpc_api.servers.products import hosted
from grpc_api.tests.running import peer, serving
from tests.flow import let_pass

pytestmark = pytest.mark.django_db(transaction=True)

SOON = timedelta(minutes=30)
DAY = timedelta(days=1)


@pytest.fixture(params=["local", "grpc"])
def products(request: pytest.FixtureRequest, transactional_db: None) -> Iterator[ProductService]:
    """The products service, in each of the two ways."""
    if request.param == "local":
        yield LocalProductService()
        return
    with serving(hosted(LocalProductService())) as address:
        yield RemoteProductService(peer("products", address))


@pytest.fixture(autouse=True)
def media(settings: Settings, tmp_path: Path) -> Path:
    """An empty folder for files."""
    settings.MEDIA_ROOT = tmp_path / "media"
    return tmp_path / "media"


def make(products: ProductService, name: str = "Lamp", **fields: object) -> Product:
    new = NewProduct(**{"name": name, "price": Decimal("10.00"), "stock": 10, **fields})  # type: ignore[arg-type]
    return products.create_product(new=new)


def refused(call: Callable[..., object], kind: type[DomainError], code: str, **arguments: object) -> list[Problem]:
    """What a call is refused with: exactly that class and code. Returns what it names."""
    with pytest.raises(kind) as refusal:
        call(**arguments)
    assert (type(refusal.value), refusal.value.code) == (kind, code)
    return list(refusal.value.problems)


def invalid(call: Callable[..., object], **arguments: object) -> str | None:
    """The field that a call is refused for."""
    (problem,) = refused(call, InvalidInput, "invalid", **arguments)
    return problem.attr


def kinds(attributes: Attributes) -> dict[str, tuple[type, object]]:
    """Values with their types: to Python 60 and 60.0, and 1 and true, are equal."""
    return {name: (type(value), value) for name, value in attributes.items()}


def events() -> int:
    return OutboxEvent.objects.using(alias_of("products")).count()


def line(product: Product, quantity: int = 1) -> StockLine:
    return StockLine(product_id=product.id, quantity=quantity)


def priced(product: Product, quantity: int = 1) -> PricedLine:
    return PricedLine(product.id, quantity, product.name, product.sku, product.price, product.currency)


GONE = [Problem("There is no such product.")]


class TestCatalogue:
    def test_a_product_has_every_field(self, products: ProductService) -> None:
        attributes: Attributes = {
            "text": "线\u200d", "empty": "", "int": 60, "float": 60.0, "large": MAX_NUMBER, "small": -MAX_NUMBER,
            "half": 0.1, "true": True, "false": False, "one": 1, "null": None,
        }  # fmt: skip
        actor = uuid4()
        new = NewProduct(
            name="Lampe 手机 🪔",
            price=Decimal("99.90"),
            description="Two\nlines",
            currency="EUR",
            category="Élan",
            stock=7,
            sku="Lamp-1",
            tags=["warm", "été"],
            attributes=attributes,
            group="lamps",
            active=False,
        )
        made = products.create_product(new=new, actor_id=actor)
        row = models.Product.objects.select_related("category").get()
        assert row.category is not None
        assert made == Product(
            id=row.pk,
            name="Lampe 手机 🪔",
            description="Two\nlines",
            price=Decimal("99.90"),
            currency="EUR",
            category="Élan",
            category_id=row.category.pk,
            group="lamps",
            stock=7,
            sku="Lamp-1",
            images=[],
            tags=["warm", "été"],
            attributes=attributes,
            active=False,
            created_at=row.created_at,
            updated_at=row.updated_at,
            revision=1,
        )
        assert (type(made.id), str(made.price), made.etag) == (UUID, "99.90", '"1-7"')
        assert made.created_at.utcoffset() == timedelta(0)
        found = products.get_product(product_id=made.id, include_inactive=True)
        assert (found, found.etag) == (made, made.etag)
        assert kinds(made.attributes) == kinds(found.attributes) == kinds(attributes)
        movement = models.StockMovement.objects.get()
        assert (movement.delta, movement.kind, movement.actor_id) == (7, MovementKind.ADJUSTMENT, actor)

    def test_what_is_left_out_has_its_default(self, products: ProductService) -> None:
        made = products.create_product(new=NewProduct(name="Lamp", price=Decimal(5)))
        assert (made.description, made.currency, made.category, made.category_id) == ("", "USD", None, None)
        assert (made.group, made.stock, made.tags, dict(made.attributes), made.active) == ("", 0, [], {}, True)
        assert str(made.price) == "5.00"
        assert made.sku.startswith("LAMP-")
        other = products.create_product(new=NewProduct(name="Lamp", price=Decimal(5), sku="", category=""))
        assert other.sku.startswith("LAMP-")
        assert other.category is None

    @pytest.mark.parametrize(("price", "currency"), [("0.00", "USD"), ("1200", "JPY"), ("1.234", "KWD")])
    def test_a_price_keeps_the_places_of_its_currency(
        self, products: ProductService, price: str, currency: str
    ) -> None:
        assert str(make(products, price=Decimal(price), currency=currency).price) == price

    def test_products_are_found_by_id_and_sku(self, products: ProductService) -> None:
        lamp, hidden = make(products, sku="Straße-1"), make(products, sku="H-1", active=False)
        assert products.get_product(product_id=lamp.id) == lamp
        assert products.get_product_by_sku(sku="STRASSE-1") == lamp
        assert products.get_product_by_sku(sku="h-1", include_inactive=True) == hidden
        assert products.get_product(product_id=hidden.id, include_inactive=True) == hidden
        for key in (hidden.id, uuid4()):
            assert refused(products.get_product, ProductNotFound, "product_not_found", product_id=key) == GONE
        for sku in ("h-1", "no such", ""):
            assert refused(products.get_product_by_sku, ProductNotFound, "product_not_found", sku=sku) == GONE

    def test_many_products_at_once(self, products: ProductService) -> None:
        lamp, vase, hidden = make(products), make(products, "Vase"), make(products, active=False)
        wanted = [vase.id, uuid4(), hidden.id, *(uuid4() for _ in range(120)), lamp.id]
        found = products.get_products(product_ids=wanted)
        assert sorted(found, key=lambda each: each.id) == sorted([lamp, vase], key=lambda each: each.id)
        assert products.get_products(product_ids=[]) == []

    def test_none_leaves_and_empty_empties(self, products: ProductService) -> None:
        before = make(
            products, description="Old", category="Lights", tags=["a"], attributes={"a": 1}, group="g", sku="L-1"
        )
        renamed = products.update_product(product_id=before.id, change=ProductChange(name="Vase"))
        assert renamed == replace(before, name="Vase", updated_at=renamed.updated_at, revision=2)
        change = ProductChange(description="", category="", tags=[], attributes={}, group="", active=False)
        emptied = products.update_product(product_id=before.id, change=change, if_revision=2)
        assert (emptied.description, emptied.category, emptied.category_id, emptied.group) == ("", None, None, "")
        assert (emptied.tags, dict(emptied.attributes), emptied.active, emptied.sku) == ([], {}, False, "L-1")
        change = ProductChange(
            price=Decimal("1.5"),
            currency="EUR",
            sku="L-2",
            tags=["b", "b"],
            attributes={"a": 1.0, "n": None},
            active=True,
        )
        changed = products.update_product(product_id=before.id, change=change)
        assert (str(changed.price), changed.currency, changed.sku, changed.tags) == ("1.50", "EUR", "L-2", ["b"])
        assert kinds(changed.attributes) == {"a": (float, 1.0), "n": (type(None), None)}

    def test_a_stale_revision_changes_nothing(self, products: ProductService) -> None:
        lamp = make(products)
        change = ProductChange(name="Vase")
        products.update_product(product_id=lamp.id, change=change, if_revision=1)
        before = events()
        stale = [Problem("The product has changed since you read it. Read it again.")]
        given = {"product_id": lamp.id, "if_revision": 1}
        change = ProductChange(name="Cup")
        assert refused(products.update_product, StaleProduct, "precondition_failed", change=change, **given) == stale
        assert refused(products.delete_product, StaleProduct, "precondition_failed", **given) == stale
        assert (products.get_product(product_id=lamp.id).name, events()) == ("Vase", before)

    def test_a_deleted_product_is_gone(self, products: ProductService) -> None:
        lamp = make(products)
        products.delete_product(product_id=lamp.id, if_revision=1)
        for call, arguments in (
            (products.get_product, {"include_inactive": True}),
            (products.delete_product, {}),
            (products.update_product, {"change": ProductChange(name="Vase")}),
            (products.get_stock, {}),
            (products.add_image, {"content": b"x"}),
        ):
            assert refused(call, ProductNotFound, "product_not_found", product_id=lamp.id, **arguments) == GONE

    @pytest.mark.parametrize(
        ("kind", "code", "fields", "problem"),
        [
            (SkuTaken, "sku_taken", {"sku": "l-1"}, Problem("Another product has this SKU.", "sku")),
            (InvalidPrice, "invalid_price", {"price": Decimal(-1)}, Problem("A price is not negative.", "price")),
            (
                InvalidPrice, "invalid_price", {"price": Decimal("1e400")},
                Problem("A price is less than 100000000000.", "price"),
            ),
            (
                InvalidPrice, "invalid_price", {"price": Decimal("1.5"), "currency": "JPY"},
                Problem("A price in JPY has at most 0 decimal places.", "price"),
            ),
            (
                CategoryNotFound, "category_not_found", {"category": str(uuid4())},
                Problem("There is no category with that id.", "category"),
            ),
            (
                AmbiguousCategory, "ambiguous_category", {"category": "two words"},
                Problem("Several categories have that name: use an id or a slug.", "category"),
            ),
        ],
    )  # fmt: skip
    def test_what_a_product_cannot_be(
        self,
        products: ProductService,
        kind: type[DomainError],
        code: str,
        fields: dict[str, object],
        problem: Problem,
    ) -> None:
        make(products, sku="L-1")
        other = make(products, sku="L-2")
        for name in ("A", "B"):
            products.create_category(name="Two words", parent_id=products.create_category(name=name).id)
        before = events()
        assert refused(make, kind, code, products=products, **fields) == [problem]
        change = ProductChange(**fields)  # type: ignore[arg-type]
        assert refused(products.update_product, kind, code, product_id=other.id, change=change) == [problem]
        assert (models.Product.objects.count(), events()) == (2, before)
        assert products.get_product(product_id=other.id) == other

    def test_too_much_first_stock(self, products: ProductService) -> None:
        for stock in (MAX_STOCK + 1, 2**62):
            assert refused(make, StockLimit, "stock_limit", products=products, stock=stock) == [
                Problem(f"At most {MAX_STOCK} units of a product can be on hand.", "stock")
            ]
        assert not models.Product.objects.exists()

    @pytest.mark.parametrize(
        ("attr", "value"),
        [
            ("name", ""), ("name", " "), ("name", "x" * 201), ("name", "two\nlines"),
            ("description", "x" * 10_001), ("description", "bell\a"),
            ("currency", "usd"), ("currency", "XAU"), ("sku", "x" * 65), ("group", "x" * 65),
            ("tags", [str(n) for n in range(21)]), ("tags", [""]), ("tags", ["x" * 51]),
            ("attributes", {str(n): n for n in range(51)}), ("attributes", {"a": "x" * 201}),
            ("attributes", {"a": MAX_NUMBER + 1}), ("attributes", {"a": 2**64}), ("attributes", {"": 1}),
            ("attributes", {"a": float("nan")}), ("attributes", {"a": float("inf")}),
        ],
    )  # fmt: skip
    def test_a_field_that_products_do_not_have_is_named(
        self, products: ProductService, attr: str, value: object
    ) -> None:
        lamp = make(products)
        before = events()
        change = ProductChange(**{attr: value})  # type: ignore[arg-type]
        assert invalid(make, products=products, **{attr: value}) == attr
        assert invalid(products.update_product, product_id=lamp.id, change=change) == attr
        assert (list(models.Product.objects.values_list("revision", flat=True)), events()) == ([1], before)

    def test_what_was_left_behind_is_announced_once(self, products: ProductService) -> None:
        lamp = make(products)
        models.Product.objects.filter(pk=lamp.id).update(unannounced=True, revision=2)
        assert products.announce_products() == 1
        assert products.announce_products() == 0
        told = OutboxEvent.objects.using(alias_of("products")).filter(type="product.updated", subject=lamp.id)
        assert told.count() == 1


class TestLists:
    def test_filters_orders_and_pages(self, products: ProductService) -> None:
        home = products.create_category(name="Home")
        products.create_category(name="Lights", parent_id=home.id)
        lamp = make(products, "Lamp", price=Decimal(20), category="Lights", tags=["warm"], stock=0, group="g")
        vase = make(products, "Vase", price=Decimal(5), attributes={"colour": "red", "size": 2})
        cup = make(products, "cup", price=Decimal(10), attributes={"colour": "blue"})
        hidden = make(products, "Hidden", active=False)
        assert products.list_products() == ProductPage([cup, vase, lamp], 3, None)
        assert products.list_products(page_size=2) == ProductPage([cup, vase], 3, 2)
        assert products.list_products(page=2, page_size=2) == ProductPage([lamp], 3, None)
        assert products.list_products(page=2**31 - 1, page_size=500) == ProductPage([], 3, None)
        for ordering, wanted in (
            (Ordering.PRICE, [vase, cup, lamp]),
            (Ordering.PRICE_DESCENDING, [lamp, cup, vase]),
            (Ordering.NAME, [cup, lamp, vase]),
            (Ordering.NAME_DESCENDING, [vase, lamp, cup]),
            (Ordering.OLDEST, [lamp, vase, cup]),
            (Ordering.NEWEST, [cup, vase, lamp]),
        ):
            assert products.list_products(ordering=ordering).products == wanted
        for narrowed, wanted in (
            (ProductFilter(category="home"), [lamp]),
            (ProductFilter(category=str(home.id)), [lamp]),
            (ProductFilter(category="nowhere"), []),
            (ProductFilter(min_price=Decimal("5.01")), [cup, lamp]),
            (ProductFilter(max_price=Decimal("10.00")), [cup, vase]),
            (ProductFilter(tag="warm"), [lamp]),
            (ProductFilter(in_stock=True), [cup, vase]),
            (ProductFilter(in_stock=False), [lamp]),
            (ProductFilter(group="g"), [lamp]),
            (ProductFilter(attributes={"colour": ["red", "green"], "size": ["2"]}), [vase]),
            (ProductFilter(active=False), [cup, vase, lamp]),
            (ProductFilter(include_inactive=True), [hidden, cup, vase, lamp]),
            (ProductFilter(include_inactive=True, active=False), [hidden]),
            (ProductFilter(include_inactive=True, active=True), [cup, vase, lamp]),
        ):
            assert products.list_products(narrowed=narrowed) == ProductPage(wanted, len(wanted), None)

    def test_a_page_has_at_most_a_hundred(self, products: ProductService) -> None:
        service = LocalProductService()
        made = [make(service, f"Lamp {n}") for n in range(101)]
        page = products.list_products(page_size=1000, ordering=Ordering.OLDEST)
        assert page == ProductPage(made[:100], 101, 2)
        found = products.search_products(text="lamp", page_size=1000, page=2, ordering=Ordering.OLDEST)
        assert (found.products, found.count, found.next_page) == (made[100:], 101, None)

    def test_a_search_with_its_facets(self, products: ProductService) -> None:
        lights = products.create_category(name="Lights")
        lamp = make(products, "Desk lamp", category="Lights", tags=["a", "b"], price=Decimal(2000))
        other = make(products, "Lamp", description="for a desk", tags=["a"], price=Decimal("9.99"))
        make(products, "Chair")
        facets = Facets(
            categories=[CategoryCount(lights.id, "Lights", "lights", 1)],
            tags=[TagCount("a", 2), TagCount("b", 1)],
            price_bands=[PriceBand(Decimal(0), Decimal(10), 1), PriceBand(Decimal(1000), None, 1)],
        )
        assert products.search_products(text="desk") == SearchPage([lamp, other], 2, None, facets)
        page = products.search_products(text="desk", ordering=Ordering.PRICE, page_size=1)
        assert page == SearchPage([other], 2, 2, facets)
        page = products.search_products(text="desk", narrowed=ProductFilter(tag="b"))
        assert (page.products, page.facets.tags) == ([lamp], [TagCount("a", 1), TagCount("b", 1)])
        for text in ("", "手机", "x" * 200):
            assert products.search_products(text=text) == SearchPage([], 0, None, Facets([], [], []))

    @pytest.mark.parametrize(
        ("attr", "narrowed"),
        [
            ("category", ProductFilter(category="x" * 101)),
            ("tag", ProductFilter(tag="x" * 51)),
            ("group", ProductFilter(group="x\n")),
            ("min_price", ProductFilter(min_price=Decimal(-1))),
            ("max_price", ProductFilter(max_price=Decimal("1.2345"))),
            ("max_price", ProductFilter(max_price=Decimal("1e400"))),
            ("attributes", ProductFilter(attributes={"a": ["1"] * 21})),
            ("attributes", ProductFilter(attributes={str(n): [] for n in range(21)})),
            ("attributes", ProductFilter(attributes={"a" * 51: ["1"]})),
            ("attributes", ProductFilter(attributes={"a": ["x" * 201]})),
            ("attributes", ProductFilter(attributes={"a": ["\0"]})),
        ],
    )
    def test_a_condition_that_nothing_meets_is_named(
        self, products: ProductService, attr: str, narrowed: ProductFilter
    ) -> None:
        assert invalid(products.list_products, narrowed=narrowed) == attr
        assert invalid(products.search_products, text="lamp", narrowed=narrowed) == attr

    def test_pages_and_texts_are_bounded(self, products: ProductService) -> None:
        for attr in ("page", "page_size"):
            for value in (0, -1):
                assert invalid(products.list_products, **{attr: value}) == attr
                assert invalid(products.search_products, text="x", **{attr: value}) == attr
        assert invalid(products.search_products, text="x" * 201) == "text"


class TestPictures:
    def test_from_adding_to_deleting(self, products: ProductService, media: Path) -> None:
        lamp = make(products)
        first = products.add_image(product_id=lamp.id, content=encode(halves(), "PNG"), alt="Red 🟥 and green")
        second = products.add_image(product_id=lamp.id, content=encode(halves(20, 10), "PNG"))
        assert (first.alt, first.width, first.height) == ("Red 🟥 and green", 300, 200)
        assert (second.alt, second.width, second.height) == ("", 20, 10)
        assert (media / first.url).is_file()
        assert (media / first.thumbnails.small).is_file()
        assert products.get_product(product_id=lamp.id).images == [first, second]
        places = [ImagePlace(second.id, alt=""), ImagePlace(first.id)]
        assert products.arrange_images(product_id=lamp.id, places=places) == [second, first]
        described = products.describe_image(product_id=lamp.id, image_id=second.id, alt="Small")
        assert described == replace(second, alt="Small")
        renamed = products.arrange_images(product_id=lamp.id, places=[ImagePlace(first.id, ""), ImagePlace(second.id)])
        assert renamed == [replace(first, alt=""), described]
        products.delete_image(product_id=lamp.id, image_id=first.id)
        assert products.get_product(product_id=lamp.id).images == [described]
        assert not (media / first.url).exists()

    def test_a_picture_of_many_bytes(self, products: ProductService) -> None:
        content = encode(Picture.frombytes("RGB", (1500, 1500), token_bytes(1500 * 1500 * 3)), "PNG")
        assert len(content) > 6_000_000
        assert products.add_image(product_id=make(products).id, content=content).width == 1500

    def test_what_is_no_picture_leaves_no_file(self, products: ProductService, media: Path, settings: Settings) -> None:
        lamp = make(products)
        settings.MAX_UPLOAD_BYTES = 1000
        add = partial(products.add_image, product_id=lamp.id)
        assert refused(add, NotAPicture, "not_a_picture", content=b"<svg/>") == [
            Problem("This is no JPEG, PNG, WebP, GIF or AVIF picture.", "image")
        ]
        assert refused(add, PictureTooLarge, "picture_too_large", content=b"x" * 1001) == [
            Problem("A picture has at most 1000 bytes.", "image")
        ]
        for alt in ("x" * 301, "two\nlines"):
            assert invalid(add, content=encode(halves(2, 2), "PNG"), alt=alt) == "alt"
        assert not media.exists()
        assert products.get_product(product_id=lamp.id) == lamp

    def test_arrangements_that_do_not_fit(self, products: ProductService) -> None:
        lamp = make(products)
        image = products.add_image(product_id=lamp.id, content=encode(halves(), "PNG"))
        arrange = partial(products.arrange_images, product_id=lamp.id)
        wrong: list[list[ImagePlace]] = [[], [ImagePlace(uuid4())], [ImagePlace(image.id)] * 2]
        for places in wrong:
            assert refused(arrange, InvalidArrangement, "invalid_arrangement", places=places) == [
                Problem("Name each of the product's pictures, once.", "images")
            ]
        assert invalid(arrange, places=[ImagePlace(image.id, alt="x" * 301)]) == "alt"
        describe = partial(products.describe_image, product_id=lamp.id)
        assert invalid(describe, image_id=image.id, alt="x" * 301) == "alt"
        missing = [Problem("The product has no such picture.")]
        assert refused(describe, PictureNotFound, "picture_not_found", image_id=uuid4(), alt="") == missing
        delete = partial(products.delete_image, product_id=lamp.id)
        assert refused(delete, PictureNotFound, "picture_not_found", image_id=uuid4()) == missing
        assert products.get_product(product_id=lamp.id).images == [image]

    def test_a_product_has_so_many_pictures(self, products: ProductService) -> None:
        lamp, content = make(products), encode(halves(), "PNG")
        image = products.add_image(product_id=lamp.id, content=content)
        row = models.Product.objects.get(pk=lamp.id)
        models.Product.objects.filter(pk=lamp.id).update(images=row.images * MAX_PICTURES)
        assert refused(
            products.add_image, TooManyPictures, "too_many_pictures", product_id=lamp.id, content=content
        ) == [Problem(f"A product has at most {MAX_PICTURES} pictures. Delete one first.")]
        assert products.get_product(product_id=lamp.id).images == [image] * MAX_PICTURES

    def test_old_files_of_no_picture_are_removed(self, products: ProductService, media: Path) -> None:
        lamp = make(products)
        kept = products.add_image(product_id=lamp.id, content=encode(halves(), "PNG"))
        old = derived_id(datetime.now(UTC) - 2 * DAY, "old")
        name = default_storage.save(f"products/{lamp.id.hex[-2:]}/{lamp.id.hex}-{old.hex}.png", ContentFile(b"x"))
        assert products.clean_images() == 1
        assert products.clean_images() == 0
        assert not (media / name).exists()
        assert (media / kept.url).is_file()

    def test_a_storage_that_does_not_answer(self, products: ProductService, monkeypatch: pytest.MonkeyPatch) -> None:
        lamp, content = make(products), encode(halves(), "PNG")

        def fail(*_: object) -> str:
            raise OSError("no route")

        for name in ("save", "listdir"):
            monkeypatch.setattr(default_storage, name, fail)
        assert refused(
            products.add_image, StorageUnavailable, "storage_unavailable", product_id=lamp.id, content=content
        ) == [Problem("The picture cannot be kept just now. Try again in a moment.")]
        assert refused(products.clean_images, StorageUnavailable, "storage_unavailable") == [
            Problem("The files of pictures cannot be reached just now.")
        ]
        assert products.get_product(product_id=lamp.id).images == []


class TestCategories:
    def test_a_category_from_making_to_deleting(self, products: ProductService) -> None:
        home = products.create_category(name="Häuser 家")
        row = models.Category.objects.get()
        assert home == Category(row.pk, "Häuser 家", "häuser-家", None, row.created_at, row.updated_at)
        lights = products.create_category(name="Lights", slug="l", parent_id=home.id)
        assert (lights.slug, lights.parent_id) == ("l", home.id)
        assert products.get_category(category_id=lights.id) == lights
        renamed = products.update_category(category_id=lights.id, name="Lamps")
        assert (renamed.name, renamed.slug, renamed.parent_id) == ("Lamps", "l", home.id)
        moved = products.update_category(category_id=lights.id, slug="top", move=True)
        assert (moved.name, moved.slug, moved.parent_id) == ("Lamps", "top", None)
        assert products.update_category(category_id=lights.id, move=True, parent_id=home.id).parent_id == home.id
        products.delete_category(category_id=lights.id)
        assert refused(products.get_category, CategoryNotFound, "category_not_found", category_id=lights.id) == [
            Problem("There is no such category.")
        ]

    def test_what_the_tree_refuses(self, products: ProductService) -> None:
        top = products.create_category(name="Top", slug="top")
        deepest = top
        for n in range(9):
            deepest = products.create_category(name=f"C{n}", parent_id=deepest.id)
        before = list(models.Category.objects.order_by("pk").values())
        unknown = uuid4()
        create, change = products.create_category, partial(products.update_category, category_id=top.id)
        for arguments, attr in (({"name": "TOP"}, "name"), ({"name": "New", "slug": "top"}, "slug")):
            (problem,) = refused(create, CategoryExists, "category_exists", **arguments)
            assert problem.attr == attr
        assert refused(create, CategoryNotFound, "category_not_found", name="New", parent_id=unknown) == [
            Problem("There is no such parent category.", "parent_id")
        ]
        assert refused(create, CategoryTooDeep, "category_too_deep", name="New", parent_id=deepest.id) == [
            Problem("Categories are at most 10 levels deep.", "parent_id")
        ]
        assert refused(change, CategoryCycle, "category_cycle", move=True, parent_id=deepest.id) == [
            Problem("A category cannot be below itself.", "parent_id")
        ]
        for call in (products.update_category, products.delete_category):
            refused(call, CategoryNotFound, "category_not_found", category_id=unknown)
        assert refused(products.delete_category, CategoryInUse, "category_in_use", category_id=top.id) == [
            Problem("The category still has products or categories below it.")
        ]
        for name in ("x" * 101, " ", "a\nb"):
            assert (invalid(create, name=name), invalid(change, name=name)) == ("name", "name")
        for slug in ("x" * 101, "a b"):
            assert (invalid(create, name="New", slug=slug), invalid(change, slug=slug)) == ("slug", "slug")
        assert list(models.Category.objects.order_by("pk").values()) == before


class TestStock:
    def test_stock_is_read_and_adjusted(self, products: ProductService) -> None:
        lamp = make(products, stock=10)
        actor = uuid4()
        assert products.get_stock(product_id=lamp.id) == StockLevel(lamp.id, on_hand=10, reserved=0)
        level = products.adjust_stock(product_id=lamp.id, delta=-3, reason="broken 💔", actor_id=actor)
        assert level == StockLevel(lamp.id, on_hand=7, reserved=0)
        assert products.adjust_stock(product_id=lamp.id, on_hand=0, reason="count").on_hand == 0
        ledger = models.StockMovement.objects.filter(product_id=lamp.id).order_by("id")
        assert list(ledger.values_list("delta", "reason", "actor_id"))[1:] == [
            (-3, "broken 💔", actor),
            (-7, "count", None),
        ]

    def test_what_cannot_be_on_hand(self, products: ProductService) -> None:
        lamp = make(products, stock=10)
        products.reserve_stock(order_id=uuid4(), lines=[line(lamp, 4)], hold_for=SOON)
        adjust = partial(products.adjust_stock, product_id=lamp.id)
        assert refused(adjust, StockBelowReserved, "stock_below_reserved", on_hand=3, reason="x") == [
            Problem("4 units are reserved for orders; 3 on hand would not be enough.")
        ]
        for change in ({"delta": MAX_STOCK}, {"on_hand": 2**62}):
            assert refused(adjust, StockLimit, "stock_limit", reason="x", **change) == [
                Problem(f"At most {MAX_STOCK} units of a product can be on hand.")
            ]
        unknown = {"product_id": uuid4(), "delta": 1, "reason": "x"}
        assert refused(products.adjust_stock, ProductNotFound, "product_not_found", **unknown) == GONE
        assert refused(products.get_stock, ProductNotFound, "product_not_found", product_id=uuid4()) == GONE
        assert invalid(adjust, reason="x") is None
        assert invalid(adjust, reason="x", delta=1, on_hand=1) is None
        assert invalid(adjust, reason="x", delta=0) == "delta"
        assert invalid(adjust, reason="x", on_hand=-1) == "on_hand"
        for reason in ("", " ", "x" * 201, "a\nb"):
            assert invalid(adjust, reason=reason, delta=1) == "reason"
        assert products.get_stock(product_id=lamp.id) == StockLevel(lamp.id, on_hand=10, reserved=4)
        assert models.StockMovement.objects.count() == 1


class TestReservations:
    def test_reserving_again_answers_the_same_and_holds_once(self, products: ProductService) -> None:
        lamp = make(products, price=Decimal("19.90"))
        vase = make(products, "Vase", price=Decimal(1200), currency="JPY")
        order_id = uuid4()
        lines = [line(vase, 2), line(lamp, 3)]
        wanted = [priced(vase, 2), priced(lamp, 3)]
        assert products.reserve_stock(order_id=order_id, lines=lines, hold_for=SOON) == wanted
        products.update_product(product_id=lamp.id, change=ProductChange(price=Decimal(1)))
        again = products.reserve_stock(order_id=order_id, lines=lines, hold_for=SOON)
        assert again == wanted
        assert [str(each.price) for each in again] == ["1200", "19.90"]
        assert products.get_stock(product_id=lamp.id) == StockLevel(lamp.id, on_hand=10, reserved=3)
        row = models.Reservation.objects.get()
        assert products.list_reservations(order_ids=[order_id, uuid4()]) == [
            Reservation(order_id, ReservationState.ACTIVE, lines, row.expires_at, [])
        ]
        assert products.list_reservations(order_ids=[]) == []

    def test_each_line_that_is_short_is_named(self, products: ProductService) -> None:
        lamp, vase, cup = make(products, stock=1), make(products, "Vase", stock=0), make(products, "Cup")
        order_id, one, other = uuid4(), uuid4(), uuid4()
        reserve = partial(products.reserve_stock, order_id=order_id, hold_for=SOON)
        lines = [line(lamp, 2), line(vase, 1), line(cup, 1)]
        assert refused(reserve, OutOfStock, "out_of_stock", lines=lines) == short_of(lamp, vase)
        lines = [StockLine(one, 1), line(cup), StockLine(other, 1)]
        assert refused(reserve, ProductNotFound, "product_not_found", lines=lines) == [
            Problem(f"Product {key} is not sold here.", f"items.{key}") for key in (one, other)
        ]
        assert products.get_stock(product_id=cup.id).reserved == 0
        assert products.list_reservations(order_ids=[order_id]) == []

    def test_lines_and_spans_are_bounded(self, products: ProductService) -> None:
        lamp, order_id = make(products), uuid4()
        products.reserve_stock(order_id=order_id, lines=[line(lamp)], hold_for=SOON)
        reserve = partial(products.reserve_stock, order_id=uuid4())
        change = partial(products.replace_reservation, order_id=order_id, change=1)
        for lines in ([StockLine(uuid4(), 1) for _ in range(MAX_LINES + 1)], [line(lamp), line(lamp, 2)]):
            assert (invalid(reserve, lines=lines, hold_for=SOON), invalid(change, lines=lines)) == ("lines", "lines")
        for span in (timedelta(0), -SOON, 11 * 366 * DAY):
            assert invalid(reserve, lines=[line(lamp)], hold_for=span) == "hold_for"
            assert invalid(products.extend_reservation, order_id=order_id, hold_for=span) == "hold_for"
        assert products.get_stock(product_id=lamp.id).reserved == 1

    def test_replacing(self, products: ProductService) -> None:
        lamp, vase = make(products, stock=5), make(products, "Vase", stock=5)
        order_id = uuid4()
        products.reserve_stock(order_id=order_id, lines=[line(lamp, 1)], hold_for=SOON)
        for _ in range(2):
            changed = products.replace_reservation(order_id=order_id, change=1, lines=[line(vase, 5), line(lamp, 2)])
            assert changed == [priced(vase, 5), priced(lamp, 2)]
        change = partial(products.replace_reservation, order_id=order_id)
        refused(change, OutOfStock, "out_of_stock", change=2, lines=[line(lamp, 6)])
        assert refused(change, ChangeOvertaken, "change_overtaken", change=2, lines=[line(lamp, 1)]) == [
            Problem("The order has been changed again meanwhile, or this change was refused.")
        ]
        refused(change, ProductNotFound, "product_not_found", change=3, lines=[StockLine(uuid4(), 1)])
        unknown = partial(products.replace_reservation, order_id=uuid4())
        refused(unknown, ReservationNotFound, "reservation_not_found", change=1, lines=[line(lamp)])
        assert [products.get_stock(product_id=each.id).reserved for each in (lamp, vase)] == [2, 5]

    def test_committing_and_releasing_once(self, products: ProductService) -> None:
        lamp = make(products, stock=10)
        paid, ended = uuid4(), uuid4()
        for order_id in (paid, ended):
            products.reserve_stock(order_id=order_id, lines=[line(lamp, 2)], hold_for=SOON)
        for _ in range(2):
            products.commit_reservation(order_id=paid)
            products.release_reservation(order_id=ended)
        products.release_reservation(order_id=uuid4())
        states = {each.order_id: each.state for each in products.list_reservations(order_ids=[paid, ended])}
        assert states == {paid: ReservationState.COMMITTED, ended: ReservationState.RELEASED}
        commit, extend = products.commit_reservation, partial(products.extend_reservation, hold_for=SOON)
        for call in (commit, extend):
            assert refused(call, ReservationNotFound, "reservation_not_found", order_id=uuid4()) == [
                Problem("No stock was reserved for this order.")
            ]
        reserve = partial(products.reserve_stock, lines=[line(lamp)], hold_for=SOON)
        replaced = partial(products.replace_reservation, change=1, lines=[line(lamp)])
        for closed, order_id in ((extend, paid), (replaced, ended), (reserve, ended)):
            refused(closed, ReservationClosed, "reservation_closed", order_id=order_id)
        assert products.get_stock(product_id=lamp.id) == StockLevel(lamp.id, on_hand=8, reserved=0)

    def test_settling_many_at_once(self, products: ProductService) -> None:
        lamp = make(products, stock=10)
        paid, ended, returned = orders = [uuid4() for _ in range(3)]
        for order_id in orders:
            products.reserve_stock(order_id=order_id, lines=[line(lamp, 2)], hold_for=SOON)
        back = {returned: [StockReturn(return_id=uuid4(), lines=[line(lamp, 1)])]}
        for _ in range(2):
            products.settle_reservations(commit=[paid], release=[ended], returns=back)
        products.settle_reservations()
        assert products.get_stock(product_id=lamp.id) == StockLevel(lamp.id, on_hand=7, reserved=0)
        (found,) = products.list_reservations(order_ids=[returned])
        assert (found.state, found.returned) == (ReservationState.COMMITTED, [line(lamp, 1)])
        settle = products.settle_reservations
        refused(settle, ReservationNotFound, "reservation_not_found", commit=[uuid4()], release=[paid])
        assert products.get_stock(product_id=lamp.id).on_hand == 7

    def test_what_is_held_past_its_time_comes_back_unless_it_was_extended(self, products: ProductService) -> None:
        lamp = make(products, stock=10)
        dropped, paying = uuid4(), uuid4()
        for order_id in (dropped, paying):
            products.reserve_stock(order_id=order_id, lines=[line(lamp, 2)], hold_for=SOON)
        products.extend_reservation(order_id=paying, hold_for=7 * DAY)
        assert products.release_expired_reservations() == 0
        let_pass(DAY)
        assert products.release_expired_reservations() == 1
        assert products.get_stock(product_id=lamp.id) == StockLevel(lamp.id, on_hand=10, reserved=2)
        (found,) = products.list_active_reservations(after=None, limit=10)
        assert (found.order_id, found.lines) == (paying, [line(lamp, 2)])

    def test_pages_of_active_reservations(self, products: ProductService) -> None:
        lamp = make(products)
        orders = sorted(uuid4() for _ in range(3))
        for order_id in orders:
            products.reserve_stock(order_id=order_id, lines=[line(lamp)], hold_for=SOON)
        first = products.list_active_reservations(after=None, limit=2)
        rest = products.list_active_reservations(after=first[-1].order_id, limit=1000)
        assert [each.order_id for each in (*first, *rest)] == orders
        assert products.list_active_reservations(after=orders[-1], limit=1) == []
        assert invalid(products.list_active_reservations, after=None, limit=0) == "limit"


def test_what_no_line_and_no_product_is() -> None:
    for quantity in (0, -1, MAX_QUANTITY + 1):
        assert invalid(StockLine, product_id=uuid4(), quantity=quantity) == "quantity"
    assert invalid(NewProduct, name="Lamp", price=Decimal(1), stock=-1) == "stock"


def short_of(lamp: Product, vase: Product) -> list[Problem]:
    return [
        Problem(f"Lamp: 2 more wanted, 1 available (product {lamp.id}).", f"items.{lamp.id}"),
        Problem(f"Vase: 1 more wanted, 0 available (product {vase.id}).", f"items.{vase.id}"),
    ]
