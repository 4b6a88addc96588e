"""The partitions that docs/scaling.md proposes: PostgreSQL takes them, and they keep what was promised."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import IntegrityError, connection, transaction

from apps.common.databases import connection_of
from apps.common.ids import new_id
from tests.shop import ROOT

pytestmark = [pytest.mark.postgresql, pytest.mark.django_db]

SQL = ROOT / "docs" / "examples" / "partitioning.sql"

ORDER = """
    INSERT INTO orders_order_parted (id, number, user_id, status, currency, subtotal, shipping_cost, total, note,
        sequence, changes, expires_at, created_at, updated_at)
    VALUES (%s, 'N', %s, 'pending', 'USD', 10, 0, 10, '', 1, 0, now(), now(), now())
"""
KEY = """
    INSERT INTO common_idempotencykey_parted (id, owner_id, key, fingerprint, resource_id, claimed_until, created_at)
    VALUES (%s, %s, 'once', '', %s, now(), now())
"""
ENTRY = """
    INSERT INTO events_inboxentry_parted (id, consumer, event_id, applied, handled_at)
    VALUES (%s, 'a.b', %s, true, now())
"""
MOVEMENT = """
    INSERT INTO products_stockmovement_parted (id, product_id, delta, kind, reason, order_id, created_at)
    VALUES (%s, %s, -1, %s, '', %s, now())
"""


@pytest.fixture(autouse=True)
def tables() -> None:
    """The partitions of this month and day, beside the shop's own tables, in a transaction that is undone."""
    if any(connection_of(service).alias != connection.alias for service in ("users", "products", "orders")):
        pytest.skip("The example is of one database for all services.")
    today = datetime.now(UTC).date()
    with connection.cursor() as cursor:
        cursor.execute(SQL.read_text())
        for _ in range(2):
            cursor.execute("CALL make_month(%s)", [today.replace(day=1)])
            cursor.execute("CALL make_day(%s)", [today])


def execute(sql: str, *values: Any) -> list[tuple[Any, ...]]:  # noqa: ANN401 - whatever a column takes
    with connection.cursor() as cursor:
        cursor.execute(sql, values)
        return cursor.fetchall() if cursor.description else []


def refused(sql: str, *values: Any) -> bool:  # noqa: ANN401 - the same
    try:
        with transaction.atomic():
            execute(sql, *values)
    except IntegrityError:
        return True
    return False


def test_a_moments_lowest_id_is_below_the_ids_of_that_moment() -> None:
    before = datetime.now(UTC)
    order_id = new_id()
    ((low, high),) = execute("SELECT uuid_at(%s), uuid_at(%s)", before, before + timedelta(seconds=1))
    assert low <= order_id < high


def test_each_row_is_where_its_id_says() -> None:
    order_id = new_id()
    place_order(order_id)
    ((table,),) = execute("SELECT tableoid::regclass::text FROM orders_order_parted WHERE id = %s", order_id)
    month = datetime.now(UTC).strftime("%Y%m")
    assert str(table)[:-1] == f"orders_order_{month}_"
    # Nothing else is looked at.
    plan = execute("EXPLAIN (COSTS OFF) SELECT * FROM orders_order_parted WHERE id = %s", order_id)
    assert plan[0] == (f"Index Scan using {table}_pkey on {table} orders_order_parted",)
    yesterday = UUID(int=new_id().int - (40 * 86_400_000 << 80))
    assert refused_order(yesterday)


def test_what_must_be_unique_still_is() -> None:
    order_id = new_id()
    place_order(order_id)
    assert refused_order(order_id)
    owner, product_id = uuid4(), uuid4()
    execute(KEY, 1, owner, uuid4())
    assert refused(KEY, 2, owner, uuid4())
    execute(ENTRY, 1, order_id)
    assert refused(ENTRY, 2, order_id)
    execute(MOVEMENT, new_id(), product_id, "sale", order_id)
    assert refused(MOVEMENT, new_id(), product_id, "sale", order_id)
    # By hand as often as one likes.
    execute(MOVEMENT, new_id(), product_id, "adjustment", None)
    execute(MOVEMENT, new_id(), product_id, "adjustment", None)


def test_a_bucket_is_never_oversold() -> None:
    product_id = uuid4()
    execute("INSERT INTO products_stockbucket VALUES (%s, 0, 1, 0), (%s, 1, 0, 0)", product_id, product_id)
    take = "UPDATE products_stockbucket SET reserved = reserved + 1 WHERE product_id = %s AND bucket = %s"
    execute(take, product_id, 0)
    assert refused(take, product_id, 0)
    assert refused(take, product_id, 1)


def place_order(order_id: UUID) -> None:
    execute(ORDER, order_id, uuid4())


def refused_order(order_id: UUID) -> bool:
    return refused(ORDER, order_id, uuid4())
