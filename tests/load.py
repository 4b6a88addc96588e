"""Light load from outside: customers who browse, order and pay, and remember every answer that they got."""

import secrets
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus

import requests

from tests.shop import Client, Shop

_PAUSE = 0.05


@dataclass(frozen=True)
class Answer:
    """What became of a request, when it was sent, and how long it took."""

    what: str
    began: float
    seconds: float
    response: requests.Response

    @property
    def status(self) -> int:
        return self.response.status_code


class Shopper(threading.Thread):
    """Buys one product again and again. What cannot be served just now is asked again with the same key; so is what was
    cut off, where that may happen.
    """

    def __init__(self, client: Client, product: str, *, may_be_cut_off: bool = False) -> None:
        super().__init__(daemon=True)
        self.answers: list[Answer] = []
        self.paid: list[str] = []
        self.error: Exception | None = None
        self.done = threading.Event()
        self._client = client
        self._product = product
        self._cuts: tuple[type[Exception], ...] = (requests.RequestException,) if may_be_cut_off else ()

    def run(self) -> None:
        try:
            while not self.done.is_set():
                self._buy()
        except Exception as error:  # noqa: BLE001 - the test that waits for this thread raises it
            self.error = error

    def _buy(self) -> None:
        key = secrets.token_hex(8)
        self._look_around()
        order = self._ask("place", lambda: self._client.order(self._product, key=f"place-{key}"))
        if order is None or order.status_code != HTTPStatus.CREATED:
            return
        order_id = order.json()["id"]
        payment = self._ask("pay", lambda: self._client.pay(order_id, key=f"pay-{key}"))
        if payment is not None and payment.status_code == HTTPStatus.OK:
            self.paid.append(order_id)

    def _ask(self, what: str, send: Callable[[], requests.Response]) -> requests.Response | None:
        """The answer that decides it; None when it is time to go home."""
        while not self.done.wait(_PAUSE):
            began = time.monotonic()
            try:
                response = send()
            except self._cuts:
                continue
            self.answers.append(Answer(what, began, time.monotonic() - began, response))
            if not _is_for_later(response):
                return response
            self._look_around()
        return None

    def _look_around(self) -> None:
        began = time.monotonic()
        try:
            response = self._client.get("/products")
        except self._cuts:
            return
        self.answers.append(Answer("browse", began, time.monotonic() - began, response))


def _is_for_later(response: requests.Response) -> bool:
    if response.status_code == HTTPStatus.SERVICE_UNAVAILABLE:
        return True
    is_conflict = response.status_code == HTTPStatus.CONFLICT
    return is_conflict and response.json()["errors"][0]["code"] == "idempotency_in_progress"


@contextmanager
def shoppers(shop: Shop, product: str, number: int = 3, *, may_be_cut_off: bool = False) -> Iterator[Sequence[Shopper]]:
    """So many customers, buying for as long as the block lasts."""
    crowd = [Shopper(shop.customer(), product, may_be_cut_off=may_be_cut_off) for _ in range(number)]
    for shopper in crowd:
        shopper.start()
    try:
        yield crowd
    finally:
        for shopper in crowd:
            shopper.done.set()
        for shopper in crowd:
            shopper.join(40)
    for shopper in crowd:
        if shopper.error:
            raise shopper.error
