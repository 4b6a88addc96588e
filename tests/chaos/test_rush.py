"""Very many at the same moment, over HTTP: one unit, one payment, one refund."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import pytest
import requests

from tests.chaos.store import Store, as_amount
from tests.shop import Client, Shop, open_shop

pytestmark = pytest.mark.e2e

_BUYERS, _CUSTOMERS = 500, 5


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    with open_shop(tmp_path_factory.mktemp("rush")) as running:
        yield running


@pytest.fixture(scope="module")
def store(shop: Shop) -> Store:
    return Store(shop.environment.get("DATABASE_URL", f"sqlite:///{shop.environment['DATA_DIR']}/cartwright.sqlite3"))


def test_five_hundred_buyers_of_one_unit(shop: Shop, store: Store) -> None:
    admin = shop.admin()
    lamp = admin.product(stock=1)
    customers = [shop.customer() for _ in range(_CUSTOMERS)]
    body = {"items": [{"product_id": lamp, "quantity": 1}]}
    outcome = _at_once(_BUYERS, lambda number: _post(customers[number % _CUSTOMERS], "/orders", body))
    assert outcome == {"201": 1, "409 out_of_stock": _BUYERS - 1}
    assert admin.stock(lamp) == (1, 1)
    assert store.count("SELECT count(*) FROM orders_order") == 1
    shop.manage("audit")


def test_fifty_payments_of_one_order(shop: Shop, store: Store) -> None:
    customer = shop.customer()
    order = customer.order(shop.admin().product(stock=5)).json()["id"]
    body = {"method": "card", "token": "tok_visa"}
    outcome = _at_once(50, lambda _: _post(customer, f"/orders/{order}/pay", body))
    assert outcome["200"] == 1
    assert set(outcome) <= {"200", "409 order_busy", "409 invalid_transition"}
    assert _charged(store, order) == [(Decimal("10.00"), Decimal("0.00"))]
    shop.manage("audit")


@pytest.mark.parametrize("body", [{}, {"amount": "3.00"}])
def test_twenty_refunds_of_one_payment(shop: Shop, store: Store, body: dict[str, str]) -> None:
    admin, customer = shop.admin(), shop.customer()
    order = customer.order(admin.product(stock=5)).json()["id"]
    assert customer.pay(order).status_code == 200
    outcome = _at_once(20, lambda _: _post(admin, f"/orders/{order}/refund", body))
    refunds = Decimal(body.get("amount", "10.00")) * outcome["200"]
    assert 0 < refunds <= 10
    assert set(outcome) <= {"200", "409 order_busy", "409 invalid_transition", "409 refund_too_large"}
    assert _charged(store, order) == [(Decimal("10.00"), refunds)]
    shop.manage("audit")


def _charged(store: Store, order: str) -> list[tuple[Decimal, Decimal]]:
    """What the provider took for the order, and gave back."""
    rows = store.rows(
        "SELECT charge.amount, charge.refunded_amount FROM orders_sandboxcharge AS charge "
        "JOIN orders_payment AS payment "
        "ON replace(CAST(payment.id AS text), '-', '') = replace(charge.idempotency_key, '-', '') "
        "WHERE replace(CAST(order_id AS text), '-', '') = %s",
        order.replace("-", ""),
    )
    return [(as_amount(amount), as_amount(returned)) for amount, returned in rows]


def _post(client: Client, path: str, body: object) -> requests.Response:
    """The same person on a connection of their own, with patience."""
    return requests.post(client._url + path, json=body, headers=dict(client._session.headers), timeout=120)


def _at_once(number: int, ask: Callable[[int], requests.Response]) -> Counter[str]:
    """How often each answer came to so many who ask at the same moment."""
    start = threading.Barrier(number)

    def attempt(asker: int) -> str:
        start.wait(60)
        response = ask(asker)
        code = response.json()["errors"][0]["code"] if response.status_code >= 400 else ""
        return f"{response.status_code} {code}".strip()

    with ThreadPoolExecutor(number) as pool:
        return Counter(pool.map(attempt, range(number)))
