"""Somebody who orders, what there is to be ordered, and what an order says."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from uuid import UUID

from apps.products.interface import NewProduct
from apps.users.interface import Client, Profile, Role
from apps.users.models import User
from bench.pgbench import PRICE
from config import services
from tests.shop import PASSWORD

STOCK = 1_000_000


@dataclass(frozen=True)
class Customer:
    """An account that is logged in."""

    id: UUID
    token: str


def customer(name: str = "bench", role: Role = Role.USER) -> Customer:
    """A new account."""
    account = {"username": name, "email": f"{name}@example.com"}
    user = services.users().register(**account, password=PASSWORD, profile=Profile())
    User.objects.filter(pk=user.id).update(role=role)
    client = Client(address="127.0.0.1", agent="bench")
    return Customer(user.id, services.users().log_in(login=account["email"], password=PASSWORD, client=client).access)


def stock(products: int) -> Sequence[UUID]:
    """So many products, with more of each than is ever ordered."""
    new = NewProduct(name="Lamp", price=Decimal(PRICE), stock=STOCK, category="Lighting", tags=("desk",))
    return [services.products().create_product(new=new, actor_id=None).id for _ in range(products)]


def body(products: Sequence[UUID]) -> bytes:
    """What `POST /orders` is sent for one of each."""
    return json.dumps({"items": [{"product_id": str(key), "quantity": 1} for key in products]}).encode()
