"""Placing orders on PostgreSQL, by one statement for many, does what the ORM does for one: to the last row."""

import random
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from itertools import count
from typing import Any
from unittest.mock import patch
from uuid import UUID

import pytest
import time_machine
from django.db import connections, transaction
from django.utils import timezone

from apps.common.databases import alias_of, connection_of
from apps.common.errors import DomainError
from apps.common.ids import new_id
from apps.events.models import OutboxEvent
from apps.orders.interface import NewOrder, ShippingAddress
from apps.orders.models import Order, OrderItem
from apps.orders.services import recording
from apps.orders.tests.factories import make_product
from apps.products.interface import OutOfStock, Product, ProductChange, StockLine
from apps.products.models import Reservation, StockLevel, StockMovement
from apps.products.services import holding, reserving
from config import services
from tests.flow import audit

pytestmark = pytest.mark.postgresql
USER = UUID("01938d5e-0000-7000-8000-000000000001")
ADDRESS = ShippingAddress(name="Ada “Lovelace”\n", address="12 St James's Sq", city="東京", method="express")
SOON = timedelta(minutes=30)
Lines = Sequence[tuple[int, int]]


@pytest.fixture
def by_the_orm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reserving, "_reserve_together", lambda wishes: [_answer(reserving._reserve, *wishes)])
    monkeypatch.setattr(recording, "_record_together", lambda placements: [_answer(recording._record, *placements)])


def _answer(call: Callable[..., Any], *arguments: object) -> object:
    try:
        return call(*arguments)
    except DomainError as error:
        return error


def _rows() -> dict[str, list[dict[str, Any]]]:
    """What is stored, without what is made up anew each time."""
    tables = {
        "orders": Order.objects.order_by("id"),
        "items": OrderItem.objects.order_by("order_id", "id"),
        "reservations": Reservation.objects.order_by("order_id"),
        "levels": StockLevel.objects.order_by("product_id"),
        "ledger": StockMovement.objects.order_by("id"),
        "outbox": OutboxEvent.objects.using(alias_of("orders")).filter(source="orders").order_by("id"),
    }
    made_up = {"items": {"id"}, "outbox": {"id", "traceparent"}}
    return {
        table: [
            {name: _in_minutes(name, value) for name, value in row.items() if name not in made_up.get(table, ())}
            for row in rows
        ]
        for table, rows in ((table, list(query.values())) for table, query in tables.items())
    }


def _in_minutes(name: str, value: Any) -> Any:  # noqa: ANN401 - a column's
    """Any value but times that the database's clock has written, which cannot be stopped: how many minutes are left."""
    return round((value - timezone.now()) / timedelta(minutes=1)) if name == "expires_at" else value


def _play(products: Sequence[Product], order_ids: Sequence[UUID]) -> list[str]:
    """Orders of every kind; returns what became of each."""
    wishes: list[tuple[int, Lines, dict[str, Any]]] = [
        (0, [(0, 1)], {}),
        (1, [(0, 2), (1, 1)], {"shipping": ADDRESS, "note": 'a "note"\\ with\tall'}),
        (2, [(1, 1), (0, 1), (2, 3)], {"currency": "USD"}),
        (3, [(0, 1000)], {}),
        (3, [(0, 1)], {}),
        (4, [(1, 1), (3, 2), (0, 5000)], {}),
        (0, [(0, 1)], {}),
        (1, [(0, 1)], {}),
        (5, [(4, 1)], {}),
        (6, [(0, 1), (5, 1)], {}),
        (7, [(0, 1)], {"currency": "EUR"}),
        (7, [(0, 1)], {}),
        (8, [(0, 1), (0, 2)], {"shipping": ShippingAddress()}),
        (9, [(0, 1)], {"shipping": ShippingAddress(method="by pigeon")}),
        (10, [(3, 1)], {}),
        (11, [(6, 2)], {}),
    ]
    outcomes = []
    for number, lines, more in wishes:
        wanted = [StockLine(product_id=products[which].id, quantity=quantity) for which, quantity in lines]
        try:
            order = services.orders().place_order(
                order_id=order_ids[number], user_id=USER, new=NewOrder(lines=wanted, **more)
            )
        except DomainError as error:
            outcomes.append(f"{error.code}: {sorted(problem.detail for problem in error.problems)}")
        else:
            seen = [(item.sku, item.quantity, item.price, item.total) for item in order.items]
            outcomes.append(f"{order.number} {order.subtotal} {order.total} {order.shipping} {order.note!r} {seen}")
    return outcomes


@pytest.mark.django_db
def test_one_statement_does_what_the_orm_does(request: pytest.FixtureRequest) -> None:
    products = [
        make_product(name='Lamp "one"', stock=10, price="10.10"),
        make_product(name="Vase", stock=5, price="0.00"),
        make_product(name="卓", stock=5, price="3.33"),
        make_product(name="Sold out", stock=0),
        make_product(name="Hidden"),
        make_product(name="Yen", currency="JPY", price="100"),
        make_product(name="Dinar", currency="KWD", price="1.125"),
    ]
    services.products().update_product(product_id=products[4].id, change=ProductChange(active=False))
    order_ids = [new_id() for _ in range(12)]
    outcomes, rows = [], []
    with time_machine.travel(timezone.now(), tick=False):
        for fixture in (None, "by_the_orm"):
            if fixture:
                request.getfixturevalue(fixture)
            with (
                patch("apps.orders.services.placing.randbits", side_effect=count()),
                transaction.atomic(using=alias_of("orders")),
                transaction.atomic(using=alias_of("products")),
            ):
                outcomes.append(_play(products, order_ids))
                rows.append(_rows())
                for service in ("orders", "products"):
                    transaction.set_rollback(True, using=alias_of(service))
    assert outcomes[0] == outcomes[1]
    assert rows[0] == rows[1]
    assert {table: len(found) for table, found in rows[0].items()} == {
        "orders": 6, "items": 9, "reservations": 9, "levels": 7, "ledger": 6, "outbox": 6,
    }  # fmt: skip


@pytest.mark.django_db
def test_of_a_batch_each_order_is_given_what_those_before_it_have_left() -> None:
    lamp, vase = make_product(stock=5), make_product(name="Vase", stock=5)
    ids = [new_id() for _ in range(7)]

    def wish(number: int, *lines: tuple[Product, int]) -> reserving.Wish:
        wanted = [StockLine(product_id=product.id, quantity=quantity) for product, quantity in lines]
        return reserving.Wish(ids[number], wanted, SOON)

    answers = reserving._reserve_together(
        [
            wish(0, (lamp, 3)),
            wish(1, (lamp, 3)),  # only two are left
            wish(2, (lamp, 1), (vase, 6)),  # never enough vases
            wish(3, (lamp, 2), (vase, 5)),  # fits, since those before it got nothing
            wish(0, (lamp, 3)),  # a repetition
            wish(4, (vase, 1)),  # sold out by now
            reserving.Wish(ids[5], [StockLine(product_id=new_id(), quantity=1)], SOON),
        ]
    )
    codes = [answer.code if isinstance(answer, DomainError) else "held" for answer in answers]
    assert codes == ["held", "out_of_stock", "out_of_stock", "held", "held", "out_of_stock", "product_not_found"]
    levels = StockLevel.objects.order_by("product_id").values_list("on_hand", "reserved")
    assert list(levels) == [(5, 5), (5, 5)]
    assert set(Reservation.objects.values_list("order_id", flat=True)) == {ids[0], ids[3]}
    assert [problem.detail for problem in answers[1].problems] == [  # type: ignore[union-attr]
        f"Lamp: 3 more wanted, 2 available (product {lamp.id})."
    ]


@pytest.mark.django_db
def test_what_it_costs_does_not_grow_with_the_tables() -> None:
    with connection_of("products").cursor() as cursor:
        cursor.execute(
            "INSERT INTO products_reservation (order_id, lines, returns, state, change, expires_at, created_at) "
            "SELECT gen_random_uuid(), '[]', '[]', 'active', 0, now(), now() FROM generate_series(1, 20000)"
        )
        cursor.execute(
            "INSERT INTO products_stocklevel (product_id, on_hand, reserved, version) "
            "SELECT gen_random_uuid(), 1, 0, 1 FROM generate_series(1, 20000)"
        )
        cursor.execute("ANALYZE products_reservation, products_stocklevel")
        cursor.execute("SET LOCAL plan_cache_mode = force_generic_plan")
        cursor.execute(f"PREPARE held (text) AS {holding._HOLD.replace('%s', '$1')}")
        cursor.execute("EXPLAIN EXECUTE held ('[]')")
        plan = "\n".join(line for (line,) in cursor.fetchall())
        cursor.execute("DEALLOCATE held")
    assert "Index Cond" in plan
    assert "Seq Scan" not in plan


@pytest.mark.django_db(transaction=True)
def test_scarce_stock_is_neither_sold_twice_nor_withheld() -> None:
    dice = random.Random(7)  # noqa: S311 - the same wishes each time
    products = [make_product(name=f"Lamp {number}", stock=stock) for number, stock in enumerate((1, 7, 25, 60))]
    wishes = [
        [(product, dice.randint(1, 4)) for product in dice.sample(products, dice.randint(1, 4))] for _ in range(300)
    ]

    def buy(lines: Sequence[tuple[Product, int]]) -> bool:
        wanted = [StockLine(product_id=product.id, quantity=quantity) for product, quantity in lines]
        try:
            services.orders().place_order(order_id=new_id(), user_id=USER, new=NewOrder(lines=wanted))
        except OutOfStock:
            return False
        else:
            return True
        finally:
            connections.close_all()

    with ThreadPoolExecutor(24) as pool:
        outcomes = list(pool.map(buy, wishes))
    bought = [lines for lines, is_bought in zip(wishes, outcomes, strict=True) if is_bought]
    left = {product.id: services.products().get_stock(product_id=product.id) for product in products}
    for product in products:
        units = sum(quantity for lines in bought for each, quantity in lines if each is product)
        assert (left[product.id].on_hand, left[product.id].reserved) == (product.stock, units)
    # Stock only went down: whoever was refused could not be served now either.
    for lines, is_bought in zip(wishes, outcomes, strict=True):
        assert is_bought or any(quantity > left[product.id].available for product, quantity in lines)
    assert (Order.objects.count(), Reservation.objects.count()) == (len(bought), len(bought))
    audit()
