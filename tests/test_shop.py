"""The shop as its users meet it: real processes, driven over HTTP, killed and started again."""

import os
import secrets
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest
import requests

from tests.journeys import import_and_find, sixteen_buyers_of_fifty_lamps, walk_through
from tests.shop import ROOT, Client, Shop, open_shop

pytestmark = pytest.mark.e2e

# `KILLS=20 pytest tests/test_shop.py -k kill` looks longer.
KILLS = int(os.environ.get("KILLS", "4"))


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    with open_shop(tmp_path_factory.mktemp("shop")) as running:
        yield running


@pytest.fixture(scope="module")
def admin(shop: Shop) -> Client:
    return shop.admin()


@pytest.mark.smoke
def test_the_walk_through(shop: Shop, admin: Client) -> None:
    walk_through(shop, admin)


@pytest.mark.smoke
def test_sixteen_buyers_of_fifty_lamps(shop: Shop, admin: Client) -> None:
    sixteen_buyers_of_fifty_lamps(shop, admin)


@pytest.mark.smoke
def test_import_and_find(shop: Shop, admin: Client) -> None:
    import_and_find(shop, admin)


@pytest.mark.smoke
def test_one_key_sent_eight_times_at_once_makes_one_order(shop: Shop, admin: Client) -> None:
    lamp, customer = admin.product(stock=50), shop.customer()
    key = secrets.token_hex(8)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: customer.order(lamp, key=key), range(8)))
    assert set(Counter(answer.status_code for answer in answers)) <= {201, 409}
    again = customer.order(lamp, key=key)
    assert (again.status_code, again.headers["Idempotent-Replayed"]) == (201, "true")
    assert {answer.text for answer in answers if answer.status_code == 201} == {again.text}
    assert admin.stock(lamp) == (50, 1)


@pytest.mark.smoke
def test_logging_out_works_at_once(shop: Shop) -> None:
    customer = shop.customer()
    assert customer.get("/users/profile").status_code == 200
    assert customer.post("/users/logout").status_code == 204
    refused = customer.get("/users/profile")
    assert (refused.status_code, refused.json()["errors"][0]["code"]) == (401, "invalid_token")


def test_a_second_shop_on_the_port_is_refused_in_a_sentence(shop: Shop) -> None:
    command = [sys.executable, "manage.py", "serve"]
    environment = {**os.environ, "PORT": shop.url.rpartition(":")[2], "BIND": "127.0.0.1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "Address already in use. Set PORT or BIND" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("victim", ["granian", "relay", "beat"])
def test_a_process_that_is_killed_comes_back_and_leaves_no_orphan(shop: Shop, victim: str) -> None:
    customer = shop.customer()
    top = shop.processes()[0]
    (process,) = _running(top, victim)
    group = [process, *process.children(recursive=True)]
    process.kill()
    _, alive = psutil.wait_procs(group, timeout=10)
    assert alive == []
    shop.eventually(lambda: bool(_running(top, victim)))
    shop.eventually(lambda: _answers(shop))
    assert customer.get("/users/profile").status_code == 200
    assert customer.post("/users/logout").status_code == 204
    assert {customer.get("/users/profile").status_code for _ in range(10)} == {401}


def _running(top: psutil.Process, name: str) -> list[psutil.Process]:
    """The supervisor's own processes with that word in their command."""
    found = []
    for child in top.children():
        with suppress(psutil.NoSuchProcess):
            if name in child.cmdline():
                found.append(child)
    return found


def _answers(shop: Shop) -> bool:
    try:
        return requests.get(f"{shop.url}/ready", timeout=5).ok
    except requests.ConnectionError:
        return False


def test_sigterm_finishes_what_began(tmp_path: Path) -> None:
    with open_shop(tmp_path) as shop:
        lamp, customer = shop.admin().product(stock=1000), shop.customer()
        answers: list[requests.Response] = []
        broken: list[str] = []
        begun = threading.Event()

        def buy() -> None:
            while True:
                try:
                    answers.append(customer.order(lamp))
                except requests.exceptions.ConnectionError as error:
                    # A refused connection is a request that never began; one that is cut off is a broken promise.
                    if "refused" not in str(error).lower():
                        broken.append(str(error))
                    return
                if len(answers) > 20:
                    begun.set()

        threads = [threading.Thread(target=buy) for _ in range(4)]
        for thread in threads:
            thread.start()
        assert begun.wait(30)
        assert shop.stop() == 0
        for thread in threads:
            thread.join(30)
        assert {answer.status_code for answer in answers} == {201}
        assert [error for error in broken if "RemoteDisconnected" not in error] == []
        shop.start()
        shop.manage("audit")


@dataclass
class Buyer:
    """Places and pays orders until told to stop, and remembers every answer that it got.

    What broke off is asked again with the same key once the shop is back, as a careful client does.
    """

    client: Client
    product: str
    placed: dict[str, str] = field(default_factory=dict)
    paid: set[str] = field(default_factory=set)
    stop: bool = False
    open_key: str = ""

    def run(self) -> None:
        try:
            while not self.stop:
                self.open_key = self.open_key or secrets.token_hex(8)
                order_id = self._place()
                self._pay(order_id)
                self.open_key = ""
        except (requests.exceptions.RequestException, KeyError):
            return

    def _place(self) -> str:
        answer = self.client.order(self.product, key=f"place-{self.open_key}")
        while answer.status_code == 409:
            assert answer.json()["errors"][0]["code"] == "idempotency_in_progress"
            time.sleep(1)
            answer = self.client.order(self.product, key=f"place-{self.open_key}")
        assert answer.status_code == 201, answer.text
        self.placed[self.open_key] = answer.json()["id"]
        return self.placed[self.open_key]

    def _pay(self, order_id: str) -> None:
        answer = self.client.pay(order_id, key=f"pay-{self.open_key}")
        if answer.status_code == 200:
            self.paid.add(order_id)


def test_kill_nine_loses_nothing(tmp_path: Path) -> None:
    stock = 100_000
    with open_shop(tmp_path) as shop:
        admin = shop.admin()
        lamp = admin.product(stock=stock)
        buyers = [Buyer(shop.customer(), lamp) for _ in range(6)]
        for round_number in range(KILLS):
            threads = [threading.Thread(target=buyer.run) for buyer in buyers]
            for thread in threads:
                thread.start()
            time.sleep(1 + 0.37 * round_number)
            shop.kill()
            for buyer in buyers:
                buyer.stop = True
            for thread in threads:
                thread.join(60)
            for buyer in buyers:
                buyer.stop, buyer.open_key = False, ""
            shop.start()
            shop.manage("audit")
        placed = {order_id for buyer in buyers for order_id in buyer.placed.values()}
        paid = {order_id for buyer in buyers for order_id in buyer.paid}
        assert len(paid) > 10 * KILLS
        known = {order["id"]: order for order in _all_orders(admin)}
        assert placed <= set(known)
        assert all(known[order_id]["status"] == "paid" for order_id in paid)
        # What a crash left open is found out: then every paid order is deducted once, and nothing else.
        shop.eventually(lambda: _deducted(admin, lamp, stock), seconds=100)
        shop.manage("audit")


def _all_orders(admin: Client) -> list[dict[str, str]]:
    orders: list[dict[str, str]] = []
    path = "/orders?page_size=100"
    while path:
        page = admin.get(path).json()
        orders += page["results"]
        path = (page["next"] or "").partition("/api/v1")[2]
    return orders


def _deducted(admin: Client, product: str, stock: int) -> bool:
    statuses = Counter(order["status"] for order in _all_orders(admin))
    on_hand, reserved = admin.stock(product)
    return on_hand == stock - statuses["paid"] and reserved >= statuses["pending"]
