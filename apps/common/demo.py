"""What the seeders of the services agree on (`manage.py seed_demo`): plain values, and who asks whom for what.

Every row follows from an index, so that a second run finds what the first one made, and a run that was killed is
completed. Each service's `seed.py` writes its own tables only; `DEMO_SEEDERS` in the settings names the three classes.

An order's stock and the order itself are two transactions, the stock first: see `CatalogueSeeder.book`.
"""

import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from uuid import UUID

# Rows are made, and committed, in batches of so many products, customers or orders: memory stays bounded.
BATCH = 2_000

# Called with how many more are done.
Progress = Callable[[int], object]


@dataclass(frozen=True)
class Plan:
    """What is asked for. `now` is the time of this run; with `accounts` off nobody in the demo can log in."""

    products: int
    customers: int
    orders: int
    seed: int
    accounts: bool
    now: datetime


@dataclass(frozen=True, slots=True)
class Buyer:
    """A customer as a parcel is addressed to them."""

    user_id: UUID
    name: str


@dataclass(frozen=True, slots=True)
class Good:
    """A product as an order remembers it."""

    product_id: UUID
    sku: str
    name: str
    price: Decimal
    currency: str


@dataclass(frozen=True, slots=True)
class Line:
    """So many units of a product."""

    good: Good
    quantity: int


@dataclass(frozen=True, slots=True)
class Booking:
    """What an order did to the stock: held it, deducted it at `sold_at`, got it back at `returned_at`."""

    order_id: UUID
    lines: Sequence[Line]
    placed_at: datetime
    expires_at: datetime
    held: bool
    sold_at: datetime | None = None
    returned_at: datetime | None = None


class CustomerSeeder(ABC):
    """Accounts of staff and customers."""

    @abstractmethod
    def anchor(self, plan: Plan) -> datetime:
        """The moment at which the demo's month ends: `plan.now` in the first run, and the same ever after."""

    @abstractmethod
    def seed(self, plan: Plan, anchor: datetime, progress: Progress) -> int:
        """Make the accounts that are missing. Returns how many were made."""

    @abstractmethod
    def find(self, indices: Collection[int]) -> Mapping[int, Buyer]:
        """These customers, as far as they exist."""

    @abstractmethod
    def account(self, username: str) -> Buyer | None:
        """The person behind a demo log-in, unless it was never made."""


class CatalogueSeeder(ABC):
    """Categories, products and their stock."""

    @abstractmethod
    def seed(self, plan: Plan, anchor: datetime, progress: Progress) -> int:
        """Make the products that are missing. Returns how many were made."""

    @abstractmethod
    def find(self, indices: Collection[int]) -> Mapping[int, Good]:
        """These products, as far as they exist."""

    @abstractmethod
    def book(self, bookings: Sequence[Booking], plan: Plan) -> None:
        """Do to the stock what these orders did, once: what a run that was killed has booked for them is undone."""


class OrderSeeder(ABC):
    """Orders, timelines and payments."""

    @abstractmethod
    def seed(
        self,
        plan: Plan,
        anchor: datetime,
        progress: Progress,
        *,
        customers: CustomerSeeder,
        catalogue: CatalogueSeeder,
    ) -> int:
        """Make the orders that are missing, their stock first. Returns how many were made."""


def batches(count: int) -> Iterator[range]:
    """The indices below `count`, in batches."""
    return (range(start, min(start + BATCH, count)) for start in range(0, count, BATCH))


def dice(seed: int, kind: str, index: int) -> random.Random:
    """The chance that shapes one row: the same for the same seed, kind and index."""
    return random.Random(f"{seed}:{kind}:{index}")  # noqa: S311 - a demo is not a secret
