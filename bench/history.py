"""A year of orders, written by the database itself: `django.setup()` comes first, on PostgreSQL.

Orders, their lines, reservations and payments, and the sums of the reports; no events, no timeline. What an order is
follows from its number: seven of eight have been paid, and each customer has fifty.
"""

import json
import os
import sys
from uuid import UUID

from django.db import connection

from apps.orders.models import Order
from apps.users.interface import Role
from bench.pgbench import PRICE, number_products
from bench.stock import customer, stock

PRODUCTS = 1000
ORDERS_OF_A_CUSTOMER = 50
_AT_ONCE = 50_000

# `%%` is a modulo. An id is that of its time (UUIDv7), and so the orders are in the order of their numbers.
_DRAFTS = """
    CREATE TEMP TABLE draft AS
    SELECT
        n, placed_at, user_id, status, status IN ('paid', 'shipped', 'delivered') AS is_paid,
        (ms || '7' || lpad(to_hex(n %% 4096), 3, '0') || '8' || lpad(to_hex(n), 15, '0'))::uuid AS id,
        (ms || '7' || lpad(to_hex(n %% 4096), 3, '0') || '9' || lpad(to_hex(n), 15, '0'))::uuid AS other_id,
        lpad(to_hex(2 + n %% 499), 32, '0')::uuid AS one,
        lpad(to_hex(501 + n / 499 %% 500), 32, '0')::uuid AS other
    FROM (
        SELECT n, placed_at,
            CASE WHEN n %% %(customers)s = 0 THEN %(buyer)s::uuid
                ELSE lpad(to_hex(n %% %(customers)s), 32, '0')::uuid END AS user_id,
            (ARRAY['delivered', 'delivered', 'delivered', 'delivered', 'delivered', 'shipped', 'paid', 'expired'])
                [1 + n / %(customers)s %% 8] AS status,
            lpad(to_hex((extract(epoch FROM placed_at) * 1000)::bigint), 12, '0') AS ms
        FROM (
            SELECT n, now() - interval '365 days' + n * (interval '364 days' / %(orders)s) AS placed_at
            FROM generate_series(%(first)s::bigint, %(last)s::bigint) AS n
        ) AS numbered
    ) AS placed
"""
_LINE = """jsonb_build_object('product_id', {}, 'quantity', 1, 'name', 'Lamp', 'sku', 'LAMP', 'price', '10.00',
    'currency', 'USD')"""
_ROWS = f"""
    INSERT INTO products_reservation (order_id, lines, returns, state, change, expires_at, created_at)
    SELECT id, jsonb_build_array({_LINE.format("one")}, {_LINE.format("other")}), '[]',
        CASE WHEN is_paid THEN 'committed' ELSE 'released' END, 0, placed_at + interval '45 minutes', placed_at
    FROM draft;
    INSERT INTO orders_order (id, number, user_id, status, currency, subtotal, shipping_cost, total, note, sequence,
        changes, expires_at, created_at, updated_at)
    SELECT id, 'H' || n, user_id, status, 'USD', {2 * PRICE}, 0, {2 * PRICE}, '', 2,
        0, placed_at + interval '30 minutes', placed_at, placed_at
    FROM draft;
    INSERT INTO orders_orderitem (id, order_id, product_id, product_name, sku, quantity, price, total)
    SELECT draft.id, draft.id, one, 'Lamp', 'LAMP', 1, {PRICE}, {PRICE} FROM draft
    UNION ALL SELECT other_id, draft.id, other, 'Lamp', 'LAMP', 1, {PRICE}, {PRICE} FROM draft;
    INSERT INTO orders_payment (id, order_id, provider, method, amount, refunded_amount, currency, status,
        transaction_id, failure_code, failure_detail, created_at, updated_at, paid_at)
    SELECT id, id, 'sandbox', 'card', {2 * PRICE}, 0, 'USD', 'succeeded',
        'history_' || n, '', '', placed_at, placed_at, placed_at + interval '2 minutes'
    FROM draft WHERE is_paid;
    DROP TABLE draft;
"""
_SUMS = """
    INSERT INTO orders_salesbucket (starts_at, currency, orders, units, amount, refunds, refunded_amount)
    SELECT date_bin('15 minutes', paid_at, 'epoch'), currency, count(*), 2 * count(*), sum(amount), 0, 0
    FROM orders_payment GROUP BY 1, 2;
    INSERT INTO orders_statusbucket (starts_on, currency, status, orders, amount)
    SELECT (created_at AT TIME ZONE 'UTC')::date, currency, status, count(*), sum(total)
    FROM orders_order GROUP BY 1, 2, 3;
    INSERT INTO orders_productsales (span, starts_on, product_id, currency, orders, units, amount)
    SELECT 'day', (paid_at AT TIME ZONE 'UTC')::date, product_id, currency, count(*), sum(quantity), sum(item.total)
    FROM orders_payment JOIN orders_orderitem AS item USING (order_id) GROUP BY 1, 2, 3, 4;
    INSERT INTO orders_productsales (span, starts_on, product_id, currency, orders, units, amount)
    SELECT wide, date_trunc(wide, starts_on::timestamp)::date, product_id, currency,
        sum(orders), sum(units), sum(amount)
    FROM orders_productsales, (VALUES ('month'), ('quarter')) AS spans (wide) GROUP BY 1, 2, 3, 4;
"""


def main(orders: str) -> None:
    """Make them, and print as JSON what is needed to ask for them."""
    buyer, number = customer(), int(orders)
    stock(PRODUCTS)
    products = number_products(os.environ["DATABASE_URL"], PRODUCTS)
    _write(number, buyer.id)
    staff = customer("clerk", Role.ORDER_STAFF)
    own = Order.objects.filter(user_id=buyer.id).values_list("id", flat=True)
    told = {
        "token": buyer.token,
        "staff": staff.token,
        "products": [str(product) for product in products],
        "orders": [str(order_id) for order_id in own],
    }
    sys.stdout.write(json.dumps(told))


def _write(orders: int, buyer_id: UUID) -> None:
    known: dict[str, int | str] = {
        "orders": orders,
        "customers": max(orders // ORDERS_OF_A_CUSTOMER, 1),
        "buyer": str(buyer_id),
    }
    with connection.cursor() as cursor:
        # Should the server fail, the database is made anew.
        cursor.execute("SET synchronous_commit = off")
        for first in range(1, orders + 1, _AT_ONCE):
            cursor.execute(_DRAFTS, {**known, "first": first, "last": min(first + _AT_ONCE - 1, orders)})
            for statement in _ROWS.split(";\n"):
                if statement.strip():
                    cursor.execute(statement)
        for statement in _SUMS.split(";\n"):
            if statement.strip():
                cursor.execute(statement)
        cursor.execute("VACUUM ANALYZE")
