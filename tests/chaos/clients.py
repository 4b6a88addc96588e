"""Customers and staff who remember everything that they asked for, and every answer or its absence."""

import random
import secrets
import threading
import time
from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import requests

from tests.shop import PASSWORD

_TIMEOUT_SECONDS = 20
# For how long somebody with a key asks again; what became of a payment is found out later.
_PATIENCE_SECONDS = defaultdict(lambda: 15, pay=2)
_PAUSE_SECONDS = 0.3
# Nothing was decided, and asking again with the same key may decide it.
_BUSY = {"idempotency_in_progress", "order_busy"}

# What the sandbox makes of a token: charged, refused, or no answer with and without a charge.
CHARGING = ("tok_visa", "tok_timeout")
_TOKENS = {
    "tok_visa": 60,
    "tok_declined": 10,
    "tok_insufficient_funds": 10,
    "tok_timeout": 10,
    "tok_timeout_lost": 10,
}
Lines = Mapping[str, int]


@dataclass(frozen=True)
class Answer:
    """What came back; no status if nothing did."""

    status: int | None
    body: Any = None

    @property
    def code(self) -> str:
        """The error's code."""
        return str(self.body["errors"][0]["code"]) if isinstance(self.body, dict) and "errors" in self.body else ""

    @property
    def decides(self) -> bool:
        """Whether the client now knows what became of its wish."""
        if self.status is None or self.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            return False
        return self.status != HTTPStatus.UNAUTHORIZED and self.code not in _BUSY


@dataclass
class Wish:
    """Something that a client asked for: once, or again and again with one key."""

    what: str
    user: str
    order: str = ""
    key: str = ""
    sent: Mapping[str, Any] = field(default_factory=dict)
    answers: list[Answer] = field(default_factory=list)

    @property
    def verdict(self) -> Answer | None:
        """The first answer that decided it."""
        return next((answer for answer in self.answers if answer.decides), None)

    @property
    def granted(self) -> bool:
        return self.verdict is not None and self.verdict.status in {HTTPStatus.OK, HTTPStatus.CREATED}

    @property
    def refused(self) -> bool:
        """Nothing has come of it. Who was left without an answer before cannot be sure, unless a key was given."""
        if self.verdict is None or self.granted:
            return False
        return self._is_known_by_key or all(answer.status is not None for answer in self.answers)

    @property
    def open(self) -> bool:
        """Something may have come of it."""
        if self.granted or self.refused:
            return False
        return any(not _never_began(answer) for answer in self.answers)

    @property
    def _is_known_by_key(self) -> bool:
        return bool(self.key) and self.what in {"place", "pay"}


def _never_began(answer: Answer) -> bool:
    return answer.status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.CONFLICT}


class Memory:
    """All wishes of all clients."""

    def __init__(self) -> None:
        self.wishes: list[Wish] = []
        self.paid: deque[str] = deque(maxlen=1000)
        self._lock = threading.Lock()

    def note(self, wish: Wish) -> None:
        with self._lock:
            self.wishes.append(wish)

    def of(self, what: str) -> Sequence[Wish]:
        return [wish for wish in self.wishes if wish.what == what]


class Caller:
    """Asks the shop, and writes down what came of it."""

    def __init__(self, url: str, email: str, memory: Memory, dice: random.Random) -> None:
        self.memory, self.dice = memory, dice
        self.done = threading.Event()
        self._url = f"{url}/api/v1"
        self._email = email
        self._session = requests.Session()
        self._log_in()
        self.user: str = self._send("GET", "/users/profile", None, "").body["id"]

    def ask(self, what: str, method: str, path: str, body: object = None, **details: Any) -> Wish:  # noqa: ANN401
        """Ask once; with a key, until it is decided or patience is over."""
        wish = Wish(what, self.user, **details)
        self.memory.note(wish)
        deadline = time.monotonic() + _PATIENCE_SECONDS[what]
        while True:
            answer = self._send(method, path, body, wish.key)
            wish.answers.append(answer)
            if answer.status == HTTPStatus.UNAUTHORIZED:
                self._log_in()
            if wish.verdict or not wish.key or time.monotonic() > deadline:
                break
            time.sleep(_PAUSE_SECONDS)
        if wish.verdict and wish.key and self.dice.random() < 0.1:  # whoever asks again hears the same
            wish.answers.append(self._send(method, path, body, wish.key))
        if not wish.verdict:
            time.sleep(_PAUSE_SECONDS)
        return wish

    def _log_in(self) -> None:
        """A process whose clock is wrong knows no log-in of the others."""
        answer = self._send("POST", "/users/login", {"email": self._email, "password": PASSWORD}, "")
        if answer.status == HTTPStatus.OK:
            self._session.headers["Authorization"] = f"Bearer {answer.body['access']}"

    def _send(self, method: str, path: str, body: object, key: str) -> Answer:
        headers = {"Idempotency-Key": key} if key else {}
        try:
            response = self._session.request(
                method, self._url + path, json=body, headers=headers, timeout=_TIMEOUT_SECONDS
            )
            return Answer(response.status_code, response.json())
        except requests.RequestException:
            return Answer(None)


class Customer(Caller):
    """Buys, changes their mind, pays or does not."""

    def __init__(self, products: Mapping[str, int], *given: Any) -> None:  # noqa: ANN401 - a caller's
        super().__init__(*given)
        self._products = products  # id → how often it is wanted

    def act(self) -> None:
        order = self._place(self._choose(), self._maybe_key())
        if order is None:
            return
        if self.dice.random() < 0.25:
            self._change(order)
        if self.dice.random() < 0.85:
            self._pay(order)
        self.ask("read", "GET", f"/orders/{order}", order=order)
        if self.dice.random() < 0.15:
            self.ask("cancel", "POST", f"/orders/{order}/cancel", {"reason": "too slow"}, order=order)

    def buy(self) -> str | None:
        """An order of what is there for everybody, if the shop is well."""
        return self._place({max(self._products, key=self._products.__getitem__): 1}, secrets.token_hex(8))

    def pay_for(self, order: str) -> str | None:
        """The order again, if the shop is well."""
        return order if self._pay_by(order, "tok_visa").granted else None

    def _place(self, lines: Lines, key: str) -> str | None:
        wish = self.ask("place", "POST", "/orders", {"items": _items(lines)}, key=key, sent={"lines": lines})
        return wish.verdict.body["id"] if wish.granted and wish.verdict else None

    def _choose(self) -> Lines:
        wanted = self.dice.choices(
            list(self._products), list(self._products.values()), k=self.dice.choice([1, 1, 2, 3])
        )
        return {product: self.dice.choice([1, 1, 1, 2]) for product in wanted}

    def _change(self, order: str) -> None:
        lines = self._choose()
        details = {"order": order, "sent": {"lines": lines}}
        self.ask("change", "PATCH", f"/orders/{order}", {"items": _items(lines)}, **details)

    def _pay(self, order: str) -> None:
        (token,) = self.dice.choices(list(_TOKENS), list(_TOKENS.values()))
        wish = self._pay_by(order, token)
        if wish.refused and self.dice.random() < 0.5:
            wish = self._pay_by(order, "tok_visa")
        if wish.granted:
            self.memory.paid.append(order)

    def _pay_by(self, order: str, token: str) -> Wish:
        body = {"method": "card", "token": token}
        details = {"order": order, "key": self._maybe_key(), "sent": {"token": token}}
        return self.ask("pay", "POST", f"/orders/{order}/pay", body, **details)

    def _maybe_key(self) -> str:
        return secrets.token_hex(8) if self.dice.random() < 0.7 else ""


class Clerk(Caller):
    """Sends what is paid, and pays back."""

    def act(self) -> None:
        try:
            order = self.memory.paid.popleft()
        except IndexError:
            time.sleep(_PAUSE_SECONDS)
            return
        chance = self.dice.random()
        if chance < 0.7:
            self.ask("ship", "POST", f"/orders/{order}/ship", {}, order=order)
        if chance < 0.4:
            self.ask("deliver", "POST", f"/orders/{order}/deliver", {}, order=order)
        if chance < 0.1 or chance > 0.7:
            key = secrets.token_hex(8)
            self.ask("refund", "POST", f"/orders/{order}/refund", {"reason": "broken"}, order=order, key=key)


class Crowd:
    """So many callers, each in a thread of its own, until it is dissolved."""

    def __init__(self, callers: Sequence[Customer | Clerk], pause: float) -> None:
        self._callers, self._pause = callers, pause
        self._errors: list[BaseException] = []
        self._threads = [threading.Thread(target=self._run, args=(caller,), daemon=True) for caller in callers]
        for thread in self._threads:
            thread.start()

    def _run(self, caller: Customer | Clerk) -> None:
        try:
            while not caller.done.wait(self._pause):
                caller.act()
        except Exception as error:  # noqa: BLE001 - whoever dissolves the crowd raises it
            self._errors.append(error)

    def dissolve(self) -> None:
        for caller in self._callers:
            caller.done.set()
        for thread in self._threads:
            thread.join(4 * _TIMEOUT_SECONDS)
            assert not thread.is_alive()
        if self._errors:
            raise self._errors[0]


def _items(lines: Lines) -> list[dict[str, object]]:
    return [{"product_id": product, "quantity": quantity} for product, quantity in lines.items()]
