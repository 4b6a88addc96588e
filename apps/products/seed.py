"""The demo's catalogue: categories, products with pictures, and the stock behind them and the demo's orders."""

import tomllib
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from functools import cache
from pathlib import Path
from random import Random
from typing import Any
from uuid import UUID

from django.conf import settings
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.utils.text import slugify

from apps.common.bulk import insert
from apps.common.databases import atomic
from apps.common.demo import Booking, CatalogueSeeder, Good, Plan, Progress, batches, dice
from apps.common.ids import derived_id
from apps.common.money import quantize
from apps.products.demo import pictures as drawing
from apps.products.interface import MovementKind, PricedLine, ReservationState
from apps.products.models import Category, Product, Reservation, StockLevel, StockMovement
from apps.products.search.words import index
from apps.products.services.categories import fold
from apps.products.services.drawing import THUMBNAILS, thumbnails
from apps.products.services.levels import Shift, shift_levels
from apps.products.services.reserved import pack, unpack

_CATALOGUE = Path(__file__).parent / "demo" / "catalogue.toml"
# Products beyond these share their pictures: a hundred thousand would fill a disk and show nothing new.
_PICTURES = 200
# The first product was made when the shop opened, the last one before the first order of the demo's month.
_OLDEST, _NEWEST = timedelta(days=400), timedelta(days=35)
_CLOSING = (
    "Usually leaves the warehouse within a day.",
    "Can be sent back for thirty days.",
    "Comes with a guarantee of two years.",
    "Packed without plastic.",
)


@dataclass(frozen=True)
class _Shelf:
    """A category at the end of a branch, and what its products are made of."""

    path: Sequence[str]
    code: str
    price: tuple[int, int]
    names: Sequence[str]
    about: Sequence[str]
    details: Sequence[str]
    attributes: Mapping[str, Sequence[Any]]
    tags: Sequence[str]


@dataclass(frozen=True)
class _Place:
    """Where the product of an index stands: products are dealt to the shelves in turn."""

    index: int
    shelf: _Shelf
    hue: float
    position: int

    @property
    def sku(self) -> str:
        """Does not depend on time or seed: it says whether the product was made before."""
        return f"{self.shelf.code}-{self.position + 1:05d}"

    @property
    def name(self) -> str:
        """Once a shelf's names are used up, they come again as the next series."""
        series, position = divmod(self.position, len(self.shelf.names))
        name = self.shelf.names[position]
        return f"{name}, series {series + 1}" if series else name


class DemoCatalogue(CatalogueSeeder):
    """Writes categories, products and stock. Products are known by their SKUs."""

    def seed(self, plan: Plan, anchor: datetime, progress: Progress) -> int:
        categories: Mapping[tuple[str, ...], Category] = {}
        made = 0
        for indices in batches(plan.products):
            places = [_place(index) for index in indices]
            _draw_pictures(plan, places)
            known = self.find(indices)
            missing = [place for place in places if place.index not in known]
            if missing:
                categories = categories or _categories(anchor)
            products = [_product(plan, anchor, place, categories) for place in missing]
            with atomic("products"):
                _stock_up(products, [_first_stock(plan, place) for place in missing])
                # Last: a document store does not roll back with the rest.
                insert(products)
            made += len(products)
            progress(len(indices))
        return made

    def find(self, indices: Collection[int]) -> Mapping[int, Good]:
        skus = {fold(_place(index).sku): index for index in indices}
        rows = Product.objects.filter(sku_folded__in=skus).order_by()
        return {
            skus[folded]: Good(product_id, sku, name, quantize(price, currency), currency)
            for folded, product_id, sku, name, price, currency in rows.values_list(
                "sku_folded", "id", "sku", "name", "price", "currency"
            )
        }

    def book(self, bookings: Sequence[Booking], plan: Plan) -> None:
        if not bookings:
            return
        with atomic("products"):
            _take_back([booking.order_id for booking in bookings])
            insert(_reservation(booking) for booking in bookings)
            movements = [row for booking in bookings for row in _movements(booking)]
            held = _held(bookings)
            insert([*_deliveries(bookings, movements, held, plan), *movements])
            shift_levels({key: Shift(on_hand=units, reserved=units) for key, units in held.items()})


@cache
def _shelves() -> tuple[_Shelf, ...]:
    return tuple(_Shelf(**shelf) for shelf in tomllib.loads(_CATALOGUE.read_text("utf-8"))["shelf"])


def _place(index: int) -> _Place:
    position, number = divmod(index, len(_shelves()))
    return _Place(index=index, shelf=_shelves()[number], hue=number / len(_shelves()), position=position)


# --- Catalogue -----------------------------------------------------------------------------------


def _categories(anchor: datetime) -> Mapping[tuple[str, ...], Category]:
    """The category of each path, made when absent."""
    paths = dict.fromkeys(tuple(shelf.path[: depth + 1]) for shelf in _shelves() for depth in range(len(shelf.path)))
    found: dict[tuple[str, ...], Category] = {}
    opened = anchor - _OLDEST
    with atomic("products"):
        for path in sorted(paths, key=len):
            found[path] = _category(path, found.get(path[:-1]), opened)
    return found


def _category(path: tuple[str, ...], parent: Category | None, opened: datetime) -> Category:
    """The category of that name below the parent: an earlier run's, the shop's own, or a new one."""
    name, slug = path[-1], slugify(path[-1])
    key = derived_id(opened, f"category:{'/'.join(path)}")
    row, _ = Category.objects.get_or_create(
        sibling_key=f"{parent.pk if parent else ''}/{fold(name)}",
        defaults={
            "id": key,
            "name": name,
            "name_folded": fold(name),
            "parent": parent,
            "slug": slugify(" ".join(path)) if Category.objects.filter(slug=slug).exists() else slug,
            "path": f"{parent.path if parent else '/'}{key}/",
            "created_at": opened,
        },
    )
    return row


def _product(plan: Plan, anchor: datetime, place: _Place, categories: Mapping[tuple[str, ...], Category]) -> Product:
    chance = dice(plan.seed, "product", place.index)
    created = anchor - _NEWEST - timedelta(minutes=chance.randrange((_OLDEST - _NEWEST) // timedelta(minutes=1)))
    currency: str = settings.CURRENCY
    created = created.replace(microsecond=0)
    row = Product(
        id=derived_id(created, f"product:{place.index}"),
        sku=place.sku,
        sku_folded=fold(place.sku),
        name=place.name,
        description=_description(chance, place.shelf),
        price=_price(chance, place.shelf, currency),
        currency=currency,
        category=categories[tuple(place.shelf.path)],
        tags=[*place.shelf.tags, *(["new"] if chance.random() < 0.1 else [])],  # noqa: PLR2004 - one in ten
        attributes={name: chance.choice(values) for name, values in place.shelf.attributes.items()},
        images=[_image(created, place)],
        # A few have left the shop window.
        active=place.index % 40 != 13,  # noqa: PLR2004
        created_at=created,
        updated_at=created,
    )
    index(row)
    return row


def _description(chance: Random, shelf: _Shelf) -> str:
    details = chance.sample(shelf.details, 2)
    return " ".join([chance.choice(shelf.about), *details, chance.choice(_CLOSING)])


def _price(chance: Random, shelf: _Shelf, currency: str) -> Decimal:
    """Within the shelf's range, more often cheap than dear, and ending as prices do."""
    low, high = shelf.price
    whole = int(low + (high - low) * chance.random() ** 2)
    return quantize(whole + Decimal(chance.choice(("0.00", "0.50", "0.90", "0.95"))), currency)


def _image(created: datetime, place: _Place) -> dict[str, Any]:
    key = derived_id(created, f"image:{place.index}")
    paths = _picture_paths(_place(place.index % _PICTURES))
    return {
        "id": str(key),
        "url": paths["large"],
        "alt": place.name,
        "width": drawing.SIZE,
        "height": drawing.SIZE,
        "thumbnails": paths,
    }


def _picture_paths(place: _Place) -> dict[str, str]:
    """A thumbnail's name → its file. The large one is the picture itself."""
    return {name: f"products/demo/{place.sku.lower()}-{name}.webp" for name in THUMBNAILS}


def _draw_pictures(plan: Plan, places: Sequence[_Place]) -> None:
    """Store the pictures that are missing."""
    for place in places:
        paths = _picture_paths(place)
        if place.index >= _PICTURES or default_storage.exists(paths["large"]):
            continue
        chance = dice(plan.seed, "picture", place.index)
        picture = drawing.draw(f"{place.name} {place.shelf.path[-1]}", place.hue, chance)
        # The large one last: it says that all are there.
        for name, content in reversed(thumbnails(picture).items()):
            default_storage.save(paths[name], ContentFile(content))


# --- Stock ---------------------------------------------------------------------------------------


def _first_stock(plan: Plan, place: _Place) -> int:
    """What can be bought: the demo's orders bring along what they take. Some products are short, a few sold out."""
    chance = dice(plan.seed, "stock", place.index)
    if place.index % 25 == 7:  # noqa: PLR2004
        return 0
    if place.index % 12 == 5:  # noqa: PLR2004
        return chance.randrange(1, settings.LOW_STOCK_THRESHOLD + 1) if settings.LOW_STOCK_THRESHOLD else 1
    return chance.randrange(20, 400)


def _stock_up(products: Sequence[Product], stock: Sequence[int]) -> None:
    """Open the products' levels with their first stock."""
    pairs = list(zip(products, stock, strict=True))
    insert(StockLevel(product_id=product.id, on_hand=units) for product, units in pairs)
    insert(
        StockMovement(
            id=derived_id(product.created_at, f"opening:{product.id}"),
            product_id=product.id,
            delta=units,
            kind=MovementKind.ADJUSTMENT,
            reason="first stock",
            created_at=product.created_at,
        )
        for product, units in pairs
        if units
    )


def _reservation(booking: Booking) -> Reservation:
    sold = booking.sold_at and not booking.returned_at
    ended = ReservationState.COMMITTED if sold else ReservationState.RELEASED
    lines = [
        PricedLine(
            product_id=line.good.product_id,
            quantity=line.quantity,
            name=line.good.name,
            sku=line.good.sku,
            price=line.good.price,
            currency=line.good.currency,
        )
        for line in booking.lines
    ]
    return Reservation(
        order_id=booking.order_id,
        lines=pack(lines),
        returns=[_return(booking)] if booking.returned_at else [],
        state=ReservationState.ACTIVE if booking.held else ended,
        expires_at=booking.expires_at,
    )


def _return(booking: Booking) -> dict[str, Any]:
    """All that the order had deducted, as its reservation notes what came back."""
    lines = [{"product_id": str(line.good.product_id), "quantity": line.quantity} for line in booking.lines]
    return {"id": str(booking.order_id), "lines": lines}


def _movements(booking: Booking) -> Iterator[StockMovement]:
    """The ledger's lines of one order: what it deducted, and what came back."""
    for line in booking.lines:
        if booking.sold_at:
            yield _movement(booking, line.good.product_id, -line.quantity, MovementKind.SALE, booking.sold_at)
        if booking.returned_at:
            yield _movement(booking, line.good.product_id, line.quantity, MovementKind.RETURN, booking.returned_at)


def _movement(booking: Booking, product_id: UUID, delta: int, kind: MovementKind, at: datetime) -> StockMovement:
    return StockMovement(
        id=derived_id(at, f"{kind}:{booking.order_id}:{product_id}"),
        product_id=product_id,
        delta=delta,
        kind=kind,
        reason="order paid" if kind == MovementKind.SALE else "order given back",
        order_id=booking.order_id,
        return_id=booking.order_id if kind == MovementKind.RETURN else None,
        created_at=at,
    )


def _held(bookings: Sequence[Booking]) -> Counter[UUID]:
    """How many units of each product these orders hold."""
    held: Counter[UUID] = Counter()
    for booking in bookings:
        if booking.held:
            held.update({line.good.product_id: line.quantity for line in booking.lines})
    return held


def _deliveries(
    bookings: Sequence[Booking], movements: Sequence[StockMovement], held: Mapping[UUID, int], plan: Plan
) -> Iterator[StockMovement]:
    """Bring exactly what these orders deducted and hold: there is always enough, and what was sold out stays so."""
    wanted = Counter(held)
    for movement in movements:
        wanted[movement.product_id] -= movement.delta
    arrived = min(booking.placed_at for booking in bookings) - timedelta(days=1)
    for product_id, units in wanted.items():
        if units > 0:
            yield StockMovement(
                # Named after this run: an earlier one that was killed may have had these goods delivered already.
                id=derived_id(arrived, f"delivery:{bookings[0].order_id}:{product_id}:{plan.now.isoformat()}"),
                product_id=product_id,
                delta=units,
                kind=MovementKind.ADJUSTMENT,
                reason="delivery",
                created_at=arrived,
            )


def _take_back(order_ids: Sequence[UUID]) -> None:
    """Undo what was booked for orders that were never written, because the run that meant to was killed."""
    booked = Reservation.objects.filter(order_id__in=order_ids)
    found = [(line, row.state) for row in booked for line in unpack(row)]
    if not found:
        return
    shifts = {line.product_id: Shift() for line, _ in found}
    for line, state in found:
        if state == ReservationState.ACTIVE:
            before = shifts[line.product_id]
            shifts[line.product_id] = replace(before, reserved=before.reserved - line.quantity)
    movements = StockMovement.objects.filter(order_id__in=order_ids).order_by()
    for product_id, delta in movements.values_list("product_id", "delta"):
        shifts[product_id] = replace(shifts[product_id], on_hand=shifts[product_id].on_hand - delta)
    shift_levels(shifts)
    movements.delete()
    booked.delete()
