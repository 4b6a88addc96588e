"""Pictures of products: files in the media storage, and entries in the product's document that refer to them.

Files are written before an entry refers to them, and removed after none does. What a process that died has left behind,
a daily task removes.
"""

import logging
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import islice
from random import sample
from typing import Any
from uuid import UUID

from django.conf import settings
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.db.transaction import on_commit

from apps.common.databases import alias_of
from apps.common.errors import DomainError, Problem
from apps.common.ids import new_id
from apps.products.interface import (
    Image,
    ImagePlace,
    InvalidArrangement,
    PictureNotFound,
    PictureTooLarge,
    ProductNotFound,
    StorageUnavailable,
    TooManyPictures,
)
from apps.products.models import Product as ProductRow
from apps.products.services.announcing import to_image
from apps.products.services.catalogue import edit_product
from apps.products.services.checking import check_alt
from apps.products.services.drawing import draw
from apps.products.validators import MAX_PICTURES

logger = logging.getLogger(__name__)

_FOLDERS = 256
_BATCH = 500
# An upload that has not ended by then never will.
_GRACE = timedelta(days=1)
_NAME = re.compile(r"(?P<product>[0-9a-f]{32})-(?P<image>[0-9a-f]{32})(-[a-z]+)?\.[a-z]+")

Entry = Mapping[str, Any]


class Pictures:
    """The part of the products service that keeps pictures."""

    def add_image(self, *, product_id: UUID, content: bytes, alt: str = "") -> Image:
        check_alt(alt)
        # Before the work is done; and again when the document is written.
        _check_room(_entries(product_id))
        entry = _store(product_id, content, alt)
        try:
            edit_product(product_id, partial(_append, entry))
        except DomainError:
            _remove(_files(product_id, entry))
            raise
        return to_image(entry)

    def arrange_images(self, *, product_id: UUID, places: Sequence[ImagePlace]) -> Sequence[Image]:
        for place in places:
            check_alt(place.alt or "")
        return edit_product(product_id, partial(_arrange, places)).images

    def describe_image(self, *, product_id: UUID, image_id: UUID, alt: str) -> Image:
        check_alt(alt)
        product = edit_product(product_id, partial(_describe, image_id, alt))
        return next(image for image in product.images if image.id == image_id)

    def delete_image(self, *, product_id: UUID, image_id: UUID) -> None:
        files: list[str] = []

        def take(row: ProductRow) -> None:
            files[:] = _files(product_id, _find(row, image_id))
            row.images = [entry for entry in row.images if entry["id"] != str(image_id)]

        edit_product(product_id, take)
        on_commit(partial(_remove, files), using=alias_of("products"))

    def clean_images(self) -> int:
        # In any order: where a run's time does not suffice for all, the next one does not begin with the same.
        try:
            return sum(_clean(f"products/{number:02x}") for number in sample(range(_FOLDERS), _FOLDERS))
        except OSError as error:
            raise StorageUnavailable("The files of pictures cannot be reached just now.") from error


# --- Entries -------------------------------------------------------------------------------------


def _entries(product_id: UUID) -> list[Entry]:
    rows = ProductRow.objects.filter(pk=product_id, deleted_at=None)
    entries: list[Entry] | None = rows.values_list("images", flat=True).first()
    if entries is None:
        raise ProductNotFound("There is no such product.")
    return entries


def _check_room(entries: Sequence[Entry]) -> None:
    if len(entries) >= MAX_PICTURES:
        raise TooManyPictures(f"A product has at most {MAX_PICTURES} pictures. Delete one first.")


def _append(entry: Entry, row: ProductRow) -> None:
    _check_room(row.images)
    row.images = [*row.images, entry]


def _arrange(places: Sequence[ImagePlace], row: ProductRow) -> None:
    known = {entry["id"]: entry for entry in row.images}
    if sorted(str(place.image_id) for place in places) != sorted(known):
        raise InvalidArrangement(Problem("Name each of the product's pictures, once.", attr="images"))
    entries = [(known[str(place.image_id)], place.alt) for place in places]
    row.images = [entry if alt is None else {**entry, "alt": alt} for entry, alt in entries]


def _describe(image_id: UUID, alt: str, row: ProductRow) -> None:
    described = {**_find(row, image_id), "alt": alt}
    row.images = [described if entry["id"] == described["id"] else entry for entry in row.images]


def _find(row: ProductRow, image_id: UUID) -> Entry:
    for entry in row.images:
        if entry["id"] == str(image_id):
            found: Entry = entry
            return found
    raise PictureNotFound("The product has no such picture.")


# --- Files ---------------------------------------------------------------------------------------


def _store(product_id: UUID, content: bytes, alt: str) -> Entry:
    """Write a picture's files, under names that nothing has had before; returns what refers to them."""
    if len(content) > settings.MAX_UPLOAD_BYTES:
        raise PictureTooLarge(Problem(f"A picture has at most {settings.MAX_UPLOAD_BYTES} bytes.", attr="image"))
    drawn = draw(content)
    image_id = new_id()
    path = f"{_prefix(product_id)}{image_id.hex}"
    files = {f"{path}.{drawn.suffix}": drawn.content}
    files |= {f"{path}-{name}.webp": thumbnail for name, thumbnail in drawn.thumbnails.items()}
    try:
        for name, data in files.items():
            default_storage.save(name, ContentFile(data))
    except OSError as error:
        _remove(files)
        raise StorageUnavailable("The picture cannot be kept just now. Try again in a moment.") from error
    return {
        "id": str(image_id),
        "url": f"{path}.{drawn.suffix}",
        "alt": alt,
        "width": drawn.width,
        "height": drawn.height,
        "thumbnails": {name: f"{path}-{name}.webp" for name in drawn.thumbnails},
    }


def _prefix(product_id: UUID) -> str:
    """Where the names of a product's files begin: many folders of a moderate size, each listed at once."""
    return f"products/{product_id.hex[-2:]}/{product_id.hex}-"


def _files(product_id: UUID, entry: Entry) -> list[str]:
    """The files of a picture that are the product's own: the demo's products share theirs."""
    return [name for name in _all_files(entry) if name.startswith(_prefix(product_id))]


def _all_files(entry: Entry) -> list[str]:
    return [entry["url"], *entry["thumbnails"].values()]


def _remove(names: Iterable[str]) -> None:
    """Remove files, as far as that is possible just now: the rest is left to the daily task."""
    try:
        for name in names:
            default_storage.delete(name)
    except OSError as error:
        logger.warning("Files of pictures stay for now: %s", error)


def _clean(folder: str) -> int:
    """Remove what is old in a folder and belongs to no picture; returns how many."""
    before = datetime.now(UTC) - _GRACE
    old: dict[UUID, list[str]] = defaultdict(list)
    for name in _listed(folder):
        match = _NAME.fullmatch(name)
        if match and _made_at(UUID(match["image"])) < before:
            old[UUID(match["product"])].append(f"{folder}/{name}")
    removed = 0
    keys = iter(old)
    while product_ids := list(islice(keys, _BATCH)):
        used = set(_in_use(product_ids))
        unused = [name for product_id in product_ids for name in old[product_id] if name not in used]
        for name in unused:
            default_storage.delete(name)
        removed += len(unused)
    return removed


def _listed(folder: str) -> list[str]:
    try:
        return default_storage.listdir(folder)[1]
    except FileNotFoundError:
        return []


def _in_use(product_ids: Sequence[UUID]) -> Iterator[str]:
    """The files of these products, as far as they are in the shop."""
    rows = ProductRow.objects.filter(pk__in=product_ids, deleted_at=None).order_by()
    for entries in rows.values_list("images", flat=True):
        for entry in entries:
            yield from _all_files(entry)


def _made_at(image_id: UUID) -> datetime:
    """When the id was made: a UUIDv7 begins with it."""
    return datetime.fromtimestamp((image_id.int >> 80) / 1000, UTC)
