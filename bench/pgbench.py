"""The floor on PostgreSQL: an order as plain SQL in one transaction, driven by PostgreSQL's own pgbench.

It writes what the service writes, in the service's own tables: the same rows, constraints and indexes.
"""

import re
import shutil
import subprocess
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from uuid import UUID

import psycopg

from bench.load import Driver, Run

# Every product of the benchmark costs this.
PRICE = 10
# What tells the floor's orders from the shop's.
_NOTE = "floor"
_MORE_SECONDS = 60
_THREADS = 2
_PLACES = (Path("/usr/lib/postgresql"), Path("/usr/local/pgsql"), Path("/opt/homebrew/opt"))

# Who buys which two products: any two, or the hot one and another. Their ids are their numbers.
_PICKS = {
    "spread": r"""
\set one random(2, :products)
\set other random(2, :products - 1)
\set other case when :other >= :one then :other + 1 else :other end
\set low least(:one, :other)
\set high greatest(:one, :other)
""",
    "hot": r"""
\set low 1
\set high random(2, :products)
""",
}

_NUMBERED = {"products_product": "_id", "products_stocklevel": "product_id", "products_stockmovement": "product_id"}

# Ids sort by time, as UUIDv7 does: the first half is `order`, which begins with milliseconds and counts on.
_ID = "(lpad(to_hex(:order::bigint), 16, '0') || '00000000000000{}')::uuid"
_PRODUCT = "lpad(to_hex(:{}::int), 32, '0')::uuid"
_LINE = """'{{"product_id": "' || {product} || '", "quantity": 1, "name": "Lamp", "sku": "{sku}", "price": "10.00",
 "currency": "USD"}}'"""
_LINES = f"""('[' || {_LINE.format(product=_PRODUCT.format("low"), sku="LAMP-1")} || ', ' ||
 {_LINE.format(product=_PRODUCT.format("high"), sku="LAMP-2")} || ']')::jsonb"""
_ITEM = f"({_ID}, {_ID.format('00')}, {_PRODUCT}, 'Lamp', '{{}}', 1, {PRICE}, {PRICE})"
_HOLD = f"""UPDATE products_stocklevel SET reserved = reserved + 1
 WHERE product_id = {_PRODUCT} AND reserved < on_hand;"""

# The event is published already, and of a type that nobody hears of: the relay must not work for the floor. The stock
# comes last, for the shortest locks, and in one order everywhere, against deadlocks.
_ORDER = f"""
\\set key :key + 64
\\set order :key + :client_id
BEGIN;
SELECT _id, name, sku, price, currency FROM products_product
 WHERE _id IN ({_PRODUCT.format("low")}, {_PRODUCT.format("high")}) AND active AND deleted_at IS NULL;
INSERT INTO products_reservation (order_id, lines, returns, state, change, expires_at, created_at)
 VALUES ({_ID.format("00")}, {_LINES}, '[]', 'active', 0, now() + interval '45 minutes', now());
INSERT INTO orders_order (id, number, user_id, status, currency, subtotal, shipping_cost, total, note, sequence,
 changes, expires_at, created_at, updated_at)
 VALUES ({_ID.format("00")}, 'F' || to_hex(:order::bigint), :user::uuid, 'pending', 'USD', {2 * PRICE}, 0, {2 * PRICE},
 '{_NOTE}', 1, 0, now() + interval '30 minutes', now(), now());
INSERT INTO orders_orderitem (id, order_id, product_id, product_name, sku, quantity, price, total)
 VALUES {_ITEM.format("01", "low", "LAMP-1")}, {_ITEM.format("02", "high", "LAMP-2")};
INSERT INTO events_outboxevent (id, type, source, subject, sequence, data, version, traceparent, occurred_at,
 available_at, attempts, last_error, published_at, delivered_at)
 VALUES ({_ID.format("00")}, 'product.updated', 'orders', {_ID.format("00")}, 1,
 jsonb_build_object('order_id', {_ID.format("00")}, 'user_id', :user::text, 'total', '{2 * PRICE}.00', 'items',
 {_LINES}), 1, '', now(), now(), 0, '', now(), now());
{_HOLD.format("low")}
{_HOLD.format("high")}
COMMIT;
"""
STATEMENTS = 7

_REMOVE = f"""
    CREATE TEMP TABLE gone AS SELECT id FROM orders_order WHERE note = '{_NOTE}';
    UPDATE products_stocklevel AS level SET reserved = level.reserved - sold.units FROM (
        SELECT product_id, sum(quantity) AS units FROM orders_orderitem WHERE order_id IN (SELECT id FROM gone)
        GROUP BY product_id
    ) AS sold WHERE sold.product_id = level.product_id;
    DELETE FROM events_outboxevent WHERE id IN (SELECT id FROM gone);
    DELETE FROM orders_orderitem WHERE order_id IN (SELECT id FROM gone);
    DELETE FROM products_reservation WHERE order_id IN (SELECT id FROM gone);
    DELETE FROM orders_order WHERE id IN (SELECT id FROM gone);
"""


def find() -> str | None:
    """Where pgbench is: Debian keeps it beside the server, away from the path."""
    if found := shutil.which("pgbench"):
        return found
    return next((str(each) for place in _PLACES for each in sorted(place.glob("**/bin/pgbench"), reverse=True)), None)


def number_products(database: str, products: int) -> Sequence[UUID]:
    """Give the products ids that a script can compute, 1 and up; returns them."""
    with psycopg.connect(database) as connection:
        connection.execute(
            "CREATE TEMP TABLE numbered AS SELECT _id AS old, lpad(to_hex(row_number() OVER (ORDER BY _id)), 32, '0')"
            "::uuid AS new FROM products_product"
        )
        for table, column in _NUMBERED.items():
            connection.execute(f"UPDATE {table} SET {column} = new FROM numbered WHERE {column} = old")
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE")
    return [UUID(int=number) for number in range(1, products + 1)]


def script(folder: Path, where: str) -> Path:
    """The transaction as pgbench reads it."""
    file = folder / f"{where}.sql"
    file.write_text(_PICKS[where] + _ORDER)
    return file


def floor(program: str, database: str, script: Path, user_id: UUID, products: int) -> Driver:
    """Orders of two of the products that are numbered."""
    command = [program, "--no-vacuum", "--protocol=prepared", f"--file={script}"]
    command += [f"--define=products={products}", f"--define=user={user_id}"]
    return partial(_run, command, database)


def _run(command: Sequence[str], database: str, clients: int, seconds: float) -> Run:
    # A client counts by 64 from a number of its own: below that is its number.
    first = time.time_ns() // 1_000_000 << 16
    options = [f"--client={clients}", f"--jobs={min(clients, _THREADS)}", f"--time={max(round(seconds), 1)}"]
    done = subprocess.run(
        [*command, *options, f"--define=key={first}", database],
        check=False,
        capture_output=True,
        text=True,
        timeout=seconds + _MORE_SECONDS,
    )
    calls = re.search(r"actually processed: (\d+)", done.stdout)
    rate = re.search(r"tps = ([\d.]+)", done.stdout)
    latency = re.search(r"latency average = ([\d.]+) ms", done.stdout)
    if done.returncode or not (calls and rate and latency):
        raise RuntimeError(f"pgbench failed: {done.stderr[-600:]}")
    return Run(int(calls[1]), float(rate[1]), [float(latency[1]) / 1000])


def remove(database: str) -> None:
    """Take the floor's orders away, and give their stock back: the audit is then of the shop's own."""
    with psycopg.connect(database) as connection:
        connection.execute(_REMOVE)
