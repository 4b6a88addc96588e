"""Pictures of products: what is taken, what is refused, what is kept, and what is left behind."""

import dataclasses
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any
from uuid import UUID

import boto3
import pytest
import requests
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connections
from django.test import Client
from django.utils import timezone
from moto.server import ThreadedMotoServer
from PIL import Image
from pytest_django.fixtures import Settings
from rest_framework.test import APIClient

from apps.common.databases import alias_of, connection_of
from apps.common.errors import DomainError
from apps.common.ids import derived_id, new_id
from apps.events.models import OutboxEvent
from apps.products import models, tasks
from apps.products.interface import Image as Picture
from apps.products.interface import (
    ImagePlace,
    InvalidArrangement,
    NotAPicture,
    PictureNotFound,
    PictureTooLarge,
    Product,
    ProductNotFound,
    StorageUnavailable,
    TooManyPictures,
)
from apps.products.services import LocalProductService
from apps.products.services import pictures as services_pictures
from apps.products.services.drawing import Drawn, draw
from apps.products.tests.factories import make_product
from apps.products.tests.pictures import GREEN, RED, decode, encode, halves, noted, png, srgb
from apps.users.interface import Role
from config import env
from tests.flow import SESSION, sends

service = LocalProductService()

Within = Callable[..., AbstractContextManager[Any]]
Bucket = Any  # boto has no types
PRODUCTS = "/api/v1/products"
SIZES = ("small", "medium", "large")
JPEG = encode(halves(), "JPEG")
# A look at the room that is left, then the product, its stock, the change and its event.
ADD_QUERIES = SESSION + 5
CHANGE_QUERIES = SESSION + 4


@pytest.fixture(autouse=True)
def media(settings: Settings, tmp_path: Path) -> Path:
    """An empty folder for files."""
    settings.MEDIA_ROOT = tmp_path / "media"
    return tmp_path / "media"


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def files_of(image: Picture) -> set[str]:
    return {image.url, image.thumbnails.small, image.thumbnails.medium, image.thumbnails.large}


def add(product: Product, content: bytes = JPEG, alt: str = "") -> Picture:
    return service.add_image(product_id=product.id, content=content, alt=alt)


def images_of(product_id: UUID) -> list[Picture]:
    return list(service.get_product(product_id=product_id).images)


def event_count() -> int:
    return OutboxEvent.objects.using(alias_of("products")).count()


def is_near(pixel: Any, colour: tuple[int, ...]) -> bool:  # noqa: ANN401 - Pillow's pixels are of any kind
    return all(abs(one - other) < 12 for one, other in zip(pixel, colour, strict=True))


class TestDrawing:
    @pytest.mark.parametrize(
        ("content", "suffix", "mode"),
        [
            (JPEG, "jpg", "RGB"),
            (encode(halves().convert("CMYK"), "JPEG"), "jpg", "RGB"),
            (encode(halves().convert("L"), "JPEG"), "jpg", "RGB"),
            (encode(halves(), "JPEG", icc_profile=srgb()), "jpg", "RGB"),
            (encode(halves(), "JPEG", icc_profile=b"broken"), "jpg", "RGB"),
            (encode(halves(), "PNG"), "png", "RGB"),
            (encode(halves().convert("RGBA"), "PNG"), "png", "RGBA"),
            (encode(halves().convert("P"), "PNG"), "png", "RGB"),
            (encode(halves().convert("P"), "PNG", transparency=0), "png", "RGBA"),
            (encode(halves().convert("L"), "PNG", transparency=0), "png", "RGBA"),
            (encode(halves(), "PNG", transparency=RED), "png", "RGBA"),
            (encode(halves().convert("1"), "PNG"), "png", "RGB"),
            (encode(Image.new("I;16", (300, 200), 40_000), "PNG"), "png", "RGB"),
            (encode(halves(), "WEBP"), "jpg", "RGB"),
            (encode(halves(), "AVIF"), "jpg", "RGB"),
            (encode(Image.new("RGBA", (300, 200), (*RED, 90)), "WEBP"), "png", "RGBA"),
            (encode(halves(), "GIF"), "png", "RGB"),
        ],
    )
    def test_kinds(self, content: bytes, suffix: str, mode: str) -> None:
        drawn = draw(content)

        kept = decode(drawn.content)
        assert (drawn.suffix, drawn.width, drawn.height) == (suffix, 300, 200)
        assert (kept.format, kept.mode, kept.size) == ({"jpg": "JPEG", "png": "PNG"}[suffix], mode, (300, 200))
        for name, size in {"small": (160, 107), "medium": (300, 200), "large": (300, 200)}.items():
            thumbnail = decode(drawn.thumbnails[name])
            assert (name, thumbnail.format, thumbnail.size) == (name, "WEBP", size)

    @pytest.mark.parametrize(
        ("size", "sizes"),
        [
            ((2400, 1600), [(160, 107), (480, 320), (1200, 800)]),
            ((1000, 2000), [(80, 160), (240, 480), (600, 1200)]),
            ((500, 100), [(160, 32), (480, 96), (500, 100)]),
            ((1, 1), [(1, 1), (1, 1), (1, 1)]),
            ((5000, 2), [(160, 1), (480, 1), (1200, 1)]),
        ],
    )
    def test_sizes_of_thumbnails(self, size: tuple[int, int], sizes: list[tuple[int, int]]) -> None:
        drawn = draw(encode(halves(*size), "PNG"))

        assert (drawn.width, drawn.height) == size
        assert [decode(drawn.thumbnails[name]).size for name in SIZES] == sizes

    @pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF"])
    def test_what_the_camera_noted_is_gone(self, kind: str) -> None:
        content = encode(halves(), kind, exif=noted(orientation=1), icc_profile=srgb(), xmp=b"<x:secret/>")
        assert b"Secret Camera" in content

        drawn = draw(content)

        for made in (drawn.content, *drawn.thumbnails.values()):
            picture = decode(made)
            assert dict(picture.getexif()) == {}
            assert {"exif", "xmp", "icc_profile", "comment"} & picture.info.keys() == set()
            assert not [word for word in (b"Secret", b"secret", b"Exif", b"ICC") if word in made]

    @pytest.mark.parametrize("comment", ["comment", "trailer"])
    def test_what_is_hidden_is_gone(self, comment: str) -> None:
        script = b"<script>alert(1)</script>"
        content = encode(halves(), "JPEG", comment=script) if comment == "comment" else JPEG + script

        assert script not in draw(content).content

    @pytest.mark.parametrize(
        ("orientation", "size", "left", "right"),
        [
            (1, (300, 200), RED, GREEN),
            (2, (300, 200), GREEN, RED),
            (3, (300, 200), GREEN, RED),
            (6, (200, 300), None, None),
            (8, (200, 300), None, None),
        ],
    )
    def test_it_is_turned_upright(
        self, orientation: int, size: tuple[int, int], left: tuple[int, ...] | None, right: tuple[int, ...] | None
    ) -> None:
        drawn = draw(encode(halves(), "JPEG", exif=noted(orientation)))

        kept = decode(drawn.content)
        assert (drawn.width, drawn.height) == kept.size == size
        if left and right:
            assert is_near(kept.getpixel((10, 100)), left)
            assert is_near(kept.getpixel((290, 100)), right)
        else:
            top, bottom = (RED, GREEN) if orientation == 6 else (GREEN, RED)
            assert is_near(kept.getpixel((100, 10)), top)
            assert is_near(kept.getpixel((100, 290)), bottom)

    @pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
    def test_notes_that_cannot_be_read_do_no_harm(self) -> None:
        drawn = draw(encode(halves(), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff"))

        assert (drawn.width, drawn.height) == (300, 200)

    def test_sixteen_bits_of_grey_keep_their_shades(self) -> None:
        assert decode(draw(encode(Image.new("I;16", (1, 1), 0x8000), "PNG")).content).getpixel((0, 0)) == (128,) * 3

    @pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "AVIF"])
    def test_of_an_animation_the_first_frame(self, kind: str) -> None:
        frames = [Image.new("RGB", (40, 40), colour) for colour in (GREEN, RED, RED)]

        drawn = draw(encode(frames[0], kind, save_all=True, append_images=frames[1:]))

        assert not getattr(decode(drawn.content), "is_animated", False)
        assert is_near(decode(drawn.content).getpixel((5, 5)), GREEN)

    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b"\0" * 100,
            b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>',
            b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj",
            b"<!doctype html><script>alert(1)</script>",
            b"GIF89a<script>alert(1)</script>",
            b"PK\x03\x04" + b"\0" * 100,
            encode(halves(), "TIFF"),
            encode(halves(), "BMP"),
            encode(halves(), "ICO"),
            encode(halves(), "PPM"),
            encode(halves(), "PDF"),
        ],
    )
    def test_what_is_no_picture(self, content: bytes) -> None:
        with pytest.raises(NotAPicture, match=r"^This is no JPEG, PNG, WebP, GIF or AVIF picture\.$"):
            draw(content)

    @pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "AVIF"])
    @pytest.mark.parametrize("share", [0.3, 0.7])
    def test_what_is_damaged(self, kind: str, share: float) -> None:
        content = encode(Image.effect_noise((200, 200), 80).convert("RGB"), kind)

        with pytest.raises(NotAPicture) as refusal:
            draw(content[: int(len(content) * share)])

        assert [problem.attr for problem in refusal.value.problems] == ["image"]

    @pytest.mark.parametrize(
        "chunks",
        [
            [(b"iCCP", b"a\0\0" + zlib.compress(b"\0" * 50_000_000))],
            [(b"zTXt", b"a\0\0" + zlib.compress(b"\0" * 50_000_000))],
            [(b"zTXt", b"a\0\0" + zlib.compress(b"\0" * 1_000_000))] * 80,
        ],
    )
    def test_what_unfolds_in_memory(self, chunks: list[tuple[bytes, bytes]]) -> None:
        with pytest.raises(NotAPicture, match="damaged or incomplete"):
            draw(png(10, 10, *chunks))

    @pytest.mark.parametrize(
        "content",
        [
            png(50_000, 50_000),
            png(8_000, 5_001),
            png(2**31 - 1, 2**31 - 1),
            png(16_384, 1),
            encode(Image.new("1", (9_000, 9_000)), "PNG"),
        ],
    )
    def test_what_has_too_many_pixels(self, content: bytes) -> None:
        assert len(content) < 20_000
        with pytest.raises(PictureTooLarge, match=r"at most 40 megapixels, and 16383 pixels on a side\.$"):
            draw(content)

    def test_as_many_pixels_as_there_may_be(self) -> None:
        assert draw(encode(Image.new("1", (8_000, 5_000)), "PNG")).width == 8_000

    def test_a_jpeg_of_many_scans(self) -> None:
        usual = encode(halves(), "JPEG", progressive=True)
        begin = usual.rindex(b"\xff\xda")

        assert draw(usual).suffix == "jpg"
        with pytest.raises(NotAPicture, match="too many scans"):
            draw(usual[:begin] + usual[begin:-2] * 300 + usual[-2:])


@pytest.mark.django_db
class TestService:
    def test_a_picture_is_added(self, media: Path) -> None:
        product = make_product()
        events = event_count()

        image = add(product, encode(halves(800, 400), "JPEG"), "A lamp")

        assert images_of(product.id) == [image]
        assert (image.alt, image.width, image.height) == ("A lamp", 800, 400)
        stem = f"products/{product.id.hex[-2:]}/{product.id.hex}-{image.id.hex}"
        assert image.url == f"{stem}.jpg"
        assert files(media) == files_of(image) == {f"{stem}.jpg", *(f"{stem}-{size}.webp" for size in SIZES)}
        assert decode((media / image.thumbnails.medium).read_bytes()).size == (480, 240)
        (event,) = OutboxEvent.objects.using(alias_of("products")).order_by("id")[events:]
        assert (event.type, event.subject, event.sequence) == ("product.updated", product.id, 2)

    def test_refused_content_leaves_nothing(self, media: Path) -> None:
        product = make_product()
        events = event_count()

        with pytest.raises(NotAPicture):
            add(product, b"<svg/>")

        assert (files(media), images_of(product.id), event_count()) == (set(), [], events)

    def test_too_many_bytes(self, settings: Settings, media: Path) -> None:
        settings.MAX_UPLOAD_BYTES = len(JPEG) - 1

        with pytest.raises(PictureTooLarge, match=f"at most {len(JPEG) - 1} bytes"):
            add(make_product())

        assert files(media) == set()

    @pytest.mark.parametrize("is_deleted", [True, False])
    def test_no_such_product(self, media: Path, is_deleted: bool) -> None:
        product_id = make_product().id if is_deleted else new_id()
        if is_deleted:
            service.delete_product(product_id=product_id)

        with pytest.raises(ProductNotFound):
            service.add_image(product_id=product_id, content=JPEG)

        assert files(media) == set()

    def test_files_of_a_product_that_is_deleted_meanwhile_are_removed(
        self, media: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        product = make_product()
        save, seen = default_storage.save, []

        def delete_meanwhile(name: str, content: ContentFile[bytes]) -> str:
            seen.append(save(name, content))
            if len(seen) == 4:
                service.delete_product(product_id=product.id)
            return seen[-1]

        monkeypatch.setattr(default_storage, "save", delete_meanwhile)
        with pytest.raises(ProductNotFound):
            add(product)

        assert (len(seen), files(media)) == (4, set())

    def test_too_many_pictures(self, media: Path) -> None:
        product = make_product()
        for _ in range(20):
            add(product)

        with pytest.raises(TooManyPictures, match="at most 20 pictures"):
            add(product)

        assert len(images_of(product.id)) == 20
        assert len(files(media)) == 80

    def test_storage_that_cannot_be_written(self, media: Path) -> None:
        product = make_product()
        media.write_text("a file where the folder should be")

        with pytest.raises(StorageUnavailable, match=r"^The picture cannot be kept just now\."):
            add(product)

        assert images_of(product.id) == []

    def test_they_are_arranged(self) -> None:
        product = make_product()
        one, two, three = (add(product, alt=alt) for alt in ("one", "two", "three"))

        arranged = service.arrange_images(
            product_id=product.id, places=[ImagePlace(three.id), ImagePlace(one.id, "first"), ImagePlace(two.id, "")]
        )

        assert [(image.id, image.alt) for image in arranged] == [(three.id, "three"), (one.id, "first"), (two.id, "")]
        assert images_of(product.id) == arranged

    @pytest.mark.parametrize("chosen", [[], [0], [0, 0], [0, 1, 1], [0, 1, None]])
    def test_an_arrangement_names_each_once(self, chosen: list[int | None]) -> None:
        product = make_product()
        images, events = [add(product), add(product)], event_count()
        places = [ImagePlace(new_id() if index is None else images[index].id, "new") for index in chosen]

        with pytest.raises(InvalidArrangement) as refusal:
            service.arrange_images(product_id=product.id, places=places)

        assert refusal.value.problems[0].attr == "images"
        assert (images_of(product.id), event_count()) == (images, events)

    def test_one_is_described(self) -> None:
        product = make_product()
        one, two = add(product, alt="one"), add(product, alt="two")

        described = service.describe_image(product_id=product.id, image_id=one.id, alt="first")

        assert (described.id, described.alt, described.url) == (one.id, "first", one.url)
        assert images_of(product.id) == [described, two]

    def test_one_is_deleted_with_its_files(self, media: Path, django_capture_on_commit_callbacks: Within) -> None:
        product = make_product()
        one, two = add(product), add(product)

        with django_capture_on_commit_callbacks(using=alias_of("products"), execute=True):
            service.delete_image(product_id=product.id, image_id=one.id)
            assert files(media) == files_of(one) | files_of(two)

        assert images_of(product.id) == [two]
        assert files(media) == files_of(two)

    def test_another_products_picture(self) -> None:
        image, product = add(make_product()), make_product()

        with pytest.raises(PictureNotFound):
            service.delete_image(product_id=product.id, image_id=image.id)
        with pytest.raises(PictureNotFound):
            service.describe_image(product_id=product.id, image_id=image.id, alt="x")

    def test_files_that_several_products_share_stay(
        self, media: Path, django_capture_on_commit_callbacks: Within
    ) -> None:
        product = make_product()
        default_storage.save("products/demo/a.webp", ContentFile(b"a"))
        entry = {"id": str(new_id()), "url": "products/demo/a.webp", "alt": "", "width": 1, "height": 1}
        entry["thumbnails"] = dict.fromkeys(SIZES, "products/demo/a.webp")
        models.Product.objects.filter(pk=product.id).update(images=[entry])

        with django_capture_on_commit_callbacks(using=alias_of("products"), execute=True):
            service.delete_image(product_id=product.id, image_id=UUID(entry["id"]))  # type: ignore[arg-type] # a text

        assert files(media) == {"products/demo/a.webp"}


@pytest.mark.django_db(transaction=True)
def test_two_uploads_at_once_both_survive(media: Path) -> None:
    product = make_product()

    def upload(alt: str) -> Picture | DomainError:
        try:
            return add(product, alt=alt)
        except DomainError as refusal:
            return refusal
        finally:
            connections.close_all()

    with ThreadPoolExecutor(4) as pool:
        added = list(pool.map(upload, "abcd"))

    assert {image.alt for image in images_of(product.id)} == set("abcd")
    assert {image.id for image in images_of(product.id)} == {image.id for image in added if isinstance(image, Picture)}
    assert len(files(media)) == 16


@pytest.mark.django_db
class TestCleaning:
    def test_only_what_is_old_and_belongs_to_nothing_goes(self, media: Path) -> None:
        product, deleted = make_product(), make_product()
        kept = files_of(add(product))
        long_ago = timezone.now() - timedelta(hours=25)
        lost, gone = orphan(product.id, long_ago), orphan(new_id(), long_ago)
        fresh = orphan(product.id, timezone.now() - timedelta(hours=23))
        sold = orphan(deleted.id, long_ago, is_used=True)
        used = orphan(product.id, long_ago, is_used=True)
        service.delete_product(product_id=deleted.id)
        for name in ("products/demo/x.webp", "products/00/readme.txt", "exports/a.csv"):
            default_storage.save(name, ContentFile(b"x"))
        before = files(media)

        tasks.clean_pictures()

        assert before - files(media) == {lost, gone, sold}
        assert {*kept, fresh, used, "products/demo/x.webp"} <= files(media)
        assert service.clean_images() == 0

    def test_without_files(self) -> None:
        assert service.clean_images() == 0

    def test_queries_do_not_grow_with_files(self) -> None:
        long_ago = timezone.now() - timedelta(days=2)
        product_id = new_id()
        for n in range(30):
            orphan(product_id, long_ago + timedelta(seconds=n))

        with sends(1):
            assert service.clean_images() == 30


def orphan(product_id: UUID, made_at: datetime, *, is_used: bool = False) -> str:
    """A file of that age; returns its name."""
    image_id = derived_id(made_at, f"{product_id}{is_used}")
    name = f"products/{product_id.hex[-2:]}/{product_id.hex}-{image_id.hex}-small.webp"
    default_storage.save(name, ContentFile(b"x"))
    if is_used:
        row = models.Product.objects.get(pk=product_id)
        entry = {"id": str(image_id), "url": name, "alt": "", "width": 1, "height": 1}
        row.images = [*row.images, {**entry, "thumbnails": dict.fromkeys(SIZES, name)}]
        row.save(update_fields=["images"])
    return name


def upload(content: bytes = JPEG, name: str = "a.jpg", kind: str = "image/jpeg") -> SimpleUploadedFile:
    return SimpleUploadedFile(name, content, kind)


def error(response: Any, status: int, attr: str | None = None) -> str:  # noqa: ANN401 - a test client's
    """The code of the one error that the response tells."""
    assert response.status_code == status, response.content
    (problem,) = response.json()["errors"]
    assert problem["attr"] == attr
    code: str = problem["code"]
    return code


@pytest.mark.django_db
class TestApi:
    @pytest.fixture
    def staff(self, log_in: Callable[..., APIClient]) -> APIClient:
        return log_in(Role.CATALOG_STAFF)

    @pytest.fixture
    def product(self) -> Product:
        return make_product()

    def post(self, client: APIClient, product_id: UUID, **data: object) -> Any:  # noqa: ANN401 - a test client's
        return client.post(f"{PRODUCTS}/{product_id}/images", data, format="multipart")

    def test_a_picture_is_uploaded_and_served(self, staff: APIClient, api: APIClient, product: Product) -> None:
        with sends(ADD_QUERIES):
            response = self.post(staff, product.id, image=upload(), alt="A lamp")

        assert response.status_code == 201
        body = response.json()
        stem = f"http://testserver/media/products/{product.id.hex[-2:]}/{product.id.hex}-{UUID(body['id']).hex}"
        assert body == {
            "id": body["id"],
            "url": f"{stem}.jpg",
            "alt": "A lamp",
            "width": 300,
            "height": 200,
            "thumbnails": {size: f"{stem}-{size}.webp" for size in SIZES},
        }
        assert api.get(f"{PRODUCTS}/{product.id}").json()["images"] == [body]
        for address, kind in ((body["url"], "image/jpeg"), (body["thumbnails"]["small"], "image/webp")):
            served = api.get(address)
            assert (served["Content-Type"], served["X-Content-Type-Options"]) == (kind, "nosniff")
            assert served["Cache-Control"] == "public, max-age=31536000, immutable"
            assert decode(served.getvalue()).format == kind.partition("/")[2].upper()

    def test_alt_text_may_be_left_out(self, staff: APIClient, product: Product) -> None:
        assert self.post(staff, product.id, image=upload()).json()["alt"] == ""

    @pytest.mark.parametrize(
        ("content", "name", "kind", "code"),
        [
            (b"%PDF-1.7\n", "photo.jpg", "image/jpeg", "not_a_picture"),
            (b"<svg/>", "drawing.svg", "image/svg+xml", "not_a_picture"),
            (b"<svg/>", "drawing.png", "image/png", "not_a_picture"),
            (JPEG[:600], "photo.jpg", "image/jpeg", "not_a_picture"),
            (png(50_000, 50_000), "bomb.png", "image/png", "picture_too_large"),
            (b"", "photo.jpg", "image/jpeg", "empty"),
        ],
    )
    def test_refused_by_its_content(
        self, staff: APIClient, product: Product, media: Path, content: bytes, name: str, kind: str, code: str
    ) -> None:
        response = self.post(staff, product.id, image=upload(content, name, kind))

        assert error(response, 400, "image") == code
        assert (response.json()["type"], files(media)) == ("validation_error", set())

    def test_taken_whatever_it_is_called(self, staff: APIClient, product: Product) -> None:
        response = self.post(staff, product.id, image=upload(JPEG, "../../etc/passwd.html", "text/html"))

        assert response.status_code == 201
        assert response.json()["url"].endswith(".jpg")

    @pytest.mark.parametrize(
        ("data", "attr", "code"),
        [
            ({}, "image", "required"),
            ({"image": "text"}, "image", "invalid"),
            ({"image": upload(), "alt": "x" * 301}, "alt", "max_length"),
            ({"image": upload(), "alt": "a\nb"}, "alt", "control_characters"),
            ({"image": upload(), "alt": "a\u202eb"}, "alt", "control_characters"),
        ],
    )
    def test_refused_fields(
        self, staff: APIClient, product: Product, media: Path, data: dict[str, object], attr: str, code: str
    ) -> None:
        assert error(self.post(staff, product.id, **data), 400, attr) == code
        assert files(media) == set()

    def test_several_pictures_at_once(self, staff: APIClient, product: Product, media: Path) -> None:
        response = self.post(staff, product.id, image=[upload(), upload()])

        assert error(response, 400, "image") == "too_many_files"
        assert files(media) == set()

    def test_json_is_no_picture(self, staff: APIClient, product: Product) -> None:
        response = staff.post(f"{PRODUCTS}/{product.id}/images", {"image": "aGVsbG8="}, format="json")

        assert error(response, 400, "image") == "invalid"

    def test_a_large_file_passes_and_a_larger_one_does_not(
        self, staff: APIClient, product: Product, settings: Settings
    ) -> None:
        padded = JPEG + b"\0" * 5_000_000

        assert self.post(staff, product.id, image=upload(padded)).status_code == 201
        settings.MAX_UPLOAD_BYTES = 5_000_000
        assert error(self.post(staff, product.id, image=upload(padded)), 413) == "request_too_large"
        assert len(images_of(product.id)) == 1

    def test_a_file_that_ends_early(self, staff: APIClient, product: Product, media: Path) -> None:
        body = b'--x\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n' + JPEG + b"\r\n--x--\r\n"

        response = staff.generic(
            "POST",
            f"{PRODUCTS}/{product.id}/images",
            body,  # type: ignore[arg-type] # bytes will do
            "multipart/form-data; boundary=x",
            **{"CONTENT_LENGTH": str(len(body) + 1), "wsgi.input": BytesIO(body)},  # type: ignore[arg-type] # WSGI's names
        )

        assert error(response, 400) == "incomplete_body"
        assert files(media) == set()

    def test_elsewhere_a_body_stays_small(self, staff: APIClient, product: Product) -> None:
        for address in (PRODUCTS, f"{PRODUCTS}/{product.id}", f"{PRODUCTS}/{product.id}/images/{new_id()}"):
            data = {"image": upload(b"\0" * 1_100_000)}
            assert error(staff.post(address, data, format="multipart"), 413) == "request_too_large"
        large = {"images": [{"id": str(new_id()), "alt": "x" * 1_100_000}]}
        assert error(staff.patch(f"{PRODUCTS}/{product.id}/images", large), 413) == "request_too_large"

    def test_unknown_ids(self, staff: APIClient, product: Product) -> None:
        unknown = f"{PRODUCTS}/{new_id()}/images"

        assert error(staff.post(unknown, {"image": upload()}, format="multipart"), 404) == "product_not_found"
        assert error(staff.patch(unknown, {"images": []}), 404) == "product_not_found"
        assert error(staff.delete(f"{unknown}/{new_id()}"), 404) == "product_not_found"
        one = f"{PRODUCTS}/{product.id}/images/{new_id()}"
        assert error(staff.patch(one, {"alt": "x"}), 404) == "picture_not_found"
        assert error(staff.delete(one), 404) == "picture_not_found"

    def test_too_many(self, staff: APIClient, product: Product, media: Path) -> None:
        for _ in range(20):
            add(product, encode(halves(4, 4), "PNG"))

        assert error(self.post(staff, product.id, image=upload()), 409) == "too_many_pictures"
        assert len(files(media)) == 80

    def test_they_are_arranged(self, staff: APIClient, product: Product) -> None:
        one, two = add(product, alt="one"), add(product, alt="two")
        order = {"images": [{"id": str(two.id)}, {"id": str(one.id), "alt": "last"}]}

        with sends(CHANGE_QUERIES):
            response = staff.patch(f"{PRODUCTS}/{product.id}/images", order)

        assert response.status_code == 200
        assert [(each["id"], each["alt"]) for each in response.json()] == [(str(two.id), "two"), (str(one.id), "last")]

    @pytest.mark.parametrize(
        ("data", "attr", "code"),
        [
            ({}, "images", "required"),
            ({"images": "x"}, "images", "not_a_list"),
            ({"images": [{"id": "x"}]}, "images.0.id", "invalid"),
            ({"images": [{"id": str(new_id()), "url": "x"}]}, "images.0.url", "unknown_field"),
            ({"images": [{"id": str(new_id())}]}, "images", "invalid_arrangement"),
            ({"images": []}, "images", "invalid_arrangement"),
        ],
    )
    def test_arrangements_that_are_refused(
        self, staff: APIClient, product: Product, data: dict[str, object], attr: str, code: str
    ) -> None:
        add(product)

        assert error(staff.patch(f"{PRODUCTS}/{product.id}/images", data), 400, attr) == code

    def test_one_is_described(self, staff: APIClient, product: Product) -> None:
        image = add(product)

        with sends(CHANGE_QUERIES):
            response = staff.patch(f"{PRODUCTS}/{product.id}/images/{image.id}", {"alt": "A lamp"})

        assert (response.status_code, response.json()["alt"]) == (200, "A lamp")
        assert error(staff.patch(f"{PRODUCTS}/{product.id}/images/{image.id}", {}), 400, "alt") == "required"

    def test_one_is_deleted(self, staff: APIClient, product: Product) -> None:
        image = add(product)

        with sends(CHANGE_QUERIES):
            response = staff.delete(f"{PRODUCTS}/{product.id}/images/{image.id}")

        assert (response.status_code, response.content, images_of(product.id)) == (204, b"", [])

    @pytest.mark.parametrize(("role", "status"), [(None, 401), (Role.USER, 403), (Role.ORDER_STAFF, 403)])
    def test_not_for_everybody(
        self,
        log_in: Callable[..., APIClient],
        api: APIClient,
        product: Product,
        media: Path,
        role: Role | None,
        status: int,
    ) -> None:
        client = log_in(role) if role else api

        assert self.post(client, product.id, image=upload(JPEG + b"\0" * 3_000_000)).status_code == status
        assert (files(media), images_of(product.id)) == (set(), [])

    def test_storage_that_is_away(self, staff: APIClient, product: Product, media: Path) -> None:
        media.write_text("a file where the folder should be")

        response = self.post(staff, product.id, image=upload())

        assert error(response, 503) == "storage_unavailable"
        assert response["Retry-After"] == "5"


@pytest.mark.django_db
class TestAdmin:
    @pytest.fixture
    def staff(self, client: Client, log_in: Callable[..., Any]) -> Client:
        client.force_login(log_in(Role.CATALOG_STAFF).user)
        return client

    def save(self, staff: Client, product: Product, rows: list[dict[str, object]], *new: SimpleUploadedFile) -> Any:  # noqa: ANN401 - a test client's
        form: dict[str, object] = {"name": product.name, "sku": product.sku, "price": "10", "currency": "USD"}
        form |= {"attributes": "{}", "active": "on", "read_revision": "", "stock_delta": "", "stock_reason": ""}
        form |= {"pictures-id": [row["id"] for row in rows], "new_pictures": list(new)}
        for row in rows:
            form |= {f"pictures-{name}-{row['id']}": value for name, value in row.items() if name != "id"}
        return staff.post(f"/admin/products/product/{product.id}/change/", form, follow=True)

    def test_the_page_shows_them(self, staff: Client) -> None:
        product = make_product()
        image = add(product, alt='"<b>"')

        page = staff.get(f"/admin/products/product/{product.id}/change/").content.decode()

        assert f'src="/media/{image.thumbnails.small}"' in page
        assert 'value="&quot;&lt;b&gt;&quot;"' in page
        assert 'enctype="multipart/form-data"' in page
        assert 'name="new_pictures"' in page

    def test_they_are_added_arranged_described_and_deleted(self, staff: Client, media: Path) -> None:
        product = make_product()
        one, two, three = (add(product, alt=alt) for alt in ("one", "two", "three"))
        rows: list[dict[str, object]] = [
            {"id": one.id, "alt": "last", "place": 9},
            {"id": two.id, "alt": "two", "place": 2, "delete": "on"},
            {"id": three.id, "alt": "three", "place": 1},
        ]

        response = self.save(staff, product, rows, upload(), upload(name="b.jpg"))

        assert response.redirect_chain[-1][1] == 302
        assert [str(message) for message in response.context["messages"] if message.level_tag == "error"] == []
        assert [image.alt for image in images_of(product.id)] == ["three", "last", "", ""]
        assert [image.id for image in images_of(product.id)][:2] == [three.id, one.id]

    def test_what_is_no_picture_is_named_and_the_rest_is_kept(self, staff: Client, media: Path) -> None:
        product = make_product()

        response = self.save(staff, product, [], upload(b"%PDF-1.7", "offer.jpg"), upload())

        errors = [str(message) for message in response.context["messages"] if message.level_tag == "error"]
        assert errors == ["offer.jpg: This is no JPEG, PNG, WebP, GIF or AVIF picture."]
        assert len(images_of(product.id)) == 1
        assert len(files(media)) == 4

    @pytest.mark.parametrize(
        "change", [{"alt": "x" * 301}, {"alt": "a\x07"}, {"place": "x"}, {"place": ""}, {"id": "no id"}]
    )
    def test_what_cannot_be_read_changes_nothing(self, staff: Client, change: dict[str, object]) -> None:
        product = make_product()
        image, events = add(product), event_count()

        response = self.save(staff, product, [{"id": image.id, "alt": "new", "place": "1", **change}], upload())

        assert (response.status_code, response.redirect_chain) == (200, [])
        assert "Please correct the error" in response.content.decode()
        assert (images_of(product.id), event_count()) == ([image], events)

    def test_a_new_product_with_pictures(self, staff: Client) -> None:
        form = {"name": "Lamp", "price": "10", "attributes": "{}", "active": "on", "new_pictures": [upload(), upload()]}

        assert staff.post("/admin/products/product/add/", form).status_code == 302

        assert len(images_of(models.Product.objects.get().id)) == 2

    @pytest.mark.django_db(transaction=True)
    def test_nothing_is_drawn_while_a_transaction_is_open(self, staff: Client, monkeypatch: pytest.MonkeyPatch) -> None:
        product, is_open = make_product(), []

        def look(content: bytes) -> Drawn:
            is_open.append(connection_of("products").in_atomic_block)
            return draw(content)

        monkeypatch.setattr(services_pictures, "draw", look)
        self.save(staff, product, [], upload())

        assert is_open == [False]

    def test_a_product_that_is_refused_gets_none(self, staff: Client, media: Path) -> None:
        make_product(sku="TAKEN")
        product = make_product()

        response = self.save(staff, dataclasses.replace(product, sku="TAKEN"), [], upload())

        assert response.redirect_chain == []
        assert (images_of(product.id), files(media)) == ([], set())


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """The address of a server that speaks S3."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(s3: str, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    """An empty bucket that everybody may read, in use for pictures."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("MEDIA_STORAGE_URL", f"s3://pictures/shop?endpoint_url={s3}&region=us-east-1")
    made = boto3.resource("s3", endpoint_url=s3, region_name="us-east-1").create_bucket(
        Bucket="pictures", ACL="public-read"
    )
    configured = env.bucket("MEDIA_STORAGE_URL")
    assert configured is not None
    use(settings, *configured)
    yield made
    made.objects.delete()
    made.delete()


def use(settings: Settings, options: dict[str, str], address: str) -> None:
    backend = {"BACKEND": "apps.common.storages.Bucket", "OPTIONS": options}
    settings.STORAGES = {**settings.STORAGES, "default": backend}
    settings.MEDIA_URL = address


@pytest.mark.django_db
class TestBucket:
    def test_pictures_are_in_it(
        self,
        bucket: Bucket,
        s3: str,
        media: Path,
        log_in: Callable[..., APIClient],
        django_capture_on_commit_callbacks: Within,
    ) -> None:
        staff, product = log_in(Role.CATALOG_STAFF), make_product()

        body = staff.post(f"{PRODUCTS}/{product.id}/images", {"image": upload()}, format="multipart").json()

        assert body["url"].startswith(f"{s3}/pictures/shop/products/{product.id.hex[-2:]}/{product.id.hex}-")
        keys = {each.key for each in bucket.objects.all()}
        assert len(keys) == 4
        assert {f"{s3}/pictures/{key}" for key in keys} == {body["url"], *body["thumbnails"].values()}
        assert staff.get(f"{PRODUCTS}/{product.id}").json()["images"] == [body]
        served = requests.get(body["thumbnails"]["small"], timeout=5)
        assert (served.status_code, served.headers["Content-Type"]) == (200, "image/webp")
        assert served.headers["Cache-Control"] == "public, max-age=31536000, immutable"
        assert Image.open(BytesIO(served.content)).size == (160, 107)
        assert files(media) == set()

        with django_capture_on_commit_callbacks(using=alias_of("products"), execute=True):
            assert staff.delete(f"{PRODUCTS}/{product.id}/images/{body['id']}").status_code == 204
        assert list(bucket.objects.all()) == []

    def test_cleaning(self, bucket: Bucket) -> None:
        image = add(make_product())
        orphan(new_id(), timezone.now() - timedelta(days=2))

        assert service.clean_images() == 1
        assert {each.key for each in bucket.objects.all()} == {f"shop/{name}" for name in files_of(image)}

    def test_it_is_away(
        self, settings: Settings, log_in: Callable[..., APIClient], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        use(settings, {"bucket_name": "pictures", "endpoint_url": "http://127.0.0.1:1"}, "http://127.0.0.1:1/pictures/")
        staff, product = log_in(Role.CATALOG_STAFF), make_product()

        response = staff.post(f"{PRODUCTS}/{product.id}/images", {"image": upload()}, format="multipart")

        assert (error(response, 503), response["Retry-After"]) == ("storage_unavailable", "5")
        assert images_of(product.id) == []
        assert staff.get(f"{PRODUCTS}/{product.id}").status_code == 200

    def test_it_refuses_us(self, bucket: Bucket, settings: Settings, s3: str) -> None:
        use(settings, {"bucket_name": "missing", "endpoint_url": s3}, f"{s3}/missing/")

        with pytest.raises(StorageUnavailable):
            add(make_product())


@pytest.mark.once
@pytest.mark.parametrize(
    ("url", "options", "address"),
    [
        ("s3://shop", {"bucket_name": "shop"}, "https://shop.s3.amazonaws.com/"),
        (
            "s3://shop/a/b?region=eu-west-1",
            {"bucket_name": "shop", "location": "a/b", "region_name": "eu-west-1"},
            "https://shop.s3.eu-west-1.amazonaws.com/a/b/",
        ),
        (
            "s3://shop?endpoint_url=http://minio:9000",
            {"bucket_name": "shop", "endpoint_url": "http://minio:9000"},
            "http://minio:9000/shop/",
        ),
        (
            "s3://shop/a?endpoint_url=http%3A%2F%2Fminio%3A9000&public_url=https://cdn.example.com",
            {"bucket_name": "shop", "location": "a", "endpoint_url": "http://minio:9000"},
            "https://cdn.example.com/a/",
        ),
    ],
)
def test_urls_of_buckets(monkeypatch: pytest.MonkeyPatch, url: str, options: dict[str, str], address: str) -> None:
    monkeypatch.setenv("MEDIA_STORAGE_URL", url)

    assert env.bucket("MEDIA_STORAGE_URL") == (options, address)
