"""Customers and staff who remember everything that they asked for, and every answer or its absence."""

import json
import random
import secrets
import threading
import time
from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any
from uuid import UUID

import psycopg
import requests
from standardwebhooks.webhooks import Webhook

from tests.chaos.store import Store
from tests.shop import PASSWORD

_TIMEOUT_SECONDS = 20
# For how long somebody with a key asks again; what became of a payment is found out later.
_PATIENCE_SECONDS = defaultdict(lambda: 15, pay=2)
_PAUSE_SECONDS = 0.3
# Nothing was decided, and asking again with the same key may decide it.
_BUSY = {"idempotency_in_progress", "order_busy"}

# What the sandbox makes of a token: charged, to be confirmed, refused, or no answer with and without a charge.
CONFIRMED = "tok_3ds"
CHARGING = ("tok_visa", "tok_timeout", CONFIRMED)
_TOKENS = {
    "tok_visa": 45,
    CONFIRMED: 20,
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
    def awaits_customer(self) -> bool:
        """Whether a payment is to be confirmed first."""
        payment = (isinstance(self.body, dict) and self.body.get("payment")) or {}
        return bool(payment.get("status") == "requires_action")

    @property
    def decides(self) -> bool:
        """Whether the client now knows what became of its wish."""
        if self.status is None or self.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            return False
        return self.status != HTTPStatus.UNAUTHORIZED and self.code not in _BUSY and not self.awaits_customer


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
        return bool(self.key) and self.what in {"place", "pay", "part", "refund"}


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
        return self._insist(wish, method, path, body)

    def _insist(self, wish: Wish, method: str, path: str, body: object) -> Wish:
        deadline = time.monotonic() + _PATIENCE_SECONDS[wish.what]
        while True:
            answer = self._send(method, path, body, wish.key)
            wish.answers.append(answer)
            if answer.status == HTTPStatus.UNAUTHORIZED:
                self._log_in()
            if wish.verdict or answer.awaits_customer or not wish.key or time.monotonic() > deadline:
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
            return Answer(response.status_code, response.json() if response.content else None)
        except requests.RequestException:
            return Answer(None)


@dataclass(frozen=True)
class Bank:
    """Asks customers whether a payment is theirs, and tells the shop what they said, as the sandbox would."""

    store: Store
    url: str
    secret: str

    def tell(self, order: str, outcome: str) -> Answer:
        """What the shop answers; no status also if there is nothing to confirm, or the books cannot be read."""
        query = "SELECT id FROM orders_payment WHERE order_id = %s AND status = 'requires_action'"
        try:
            found = self.store.rows(query, UUID(order))
            if not found:
                return Answer(None)
            body = json.dumps({"payment_id": str(found[0][0]), "outcome": outcome})
            response = requests.post(
                f"{self.url}/api/v1/payments/webhooks/sandbox",
                data=body,
                headers=self._signed(body),
                timeout=_TIMEOUT_SECONDS,
            )
            return Answer(response.status_code, response.json() if response.content else None)
        except (psycopg.OperationalError, requests.RequestException):
            return Answer(None)

    def _signed(self, body: str) -> Mapping[str, str]:
        key, now = f"msg_{secrets.token_hex(8)}", datetime.now(UTC)
        signature = Webhook(self.secret).sign(key, now, body)
        return {
            "Content-Type": "application/json",
            "webhook-id": key,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": signature,
        }


class Customer(Caller):
    """Buys, changes their mind, pays or does not."""

    def __init__(self, products: Mapping[str, int], bank: Bank, *given: Any) -> None:  # noqa: ANN401 - a caller's
        super().__init__(*given)
        self._products = products  # id → how often it is wanted
        self._bank = bank

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
        if wish.answers[-1].awaits_customer:
            self._confirm(order, wish)
        if (wish.refused or wish.answers[-1].awaits_customer) and self.dice.random() < 0.5:
            wish = self._pay_by(order, "tok_visa")
        if wish.granted:
            self.memory.paid.append(order)

    def _confirm(self, order: str, payment: Wish) -> None:
        """Say yes, or no, or nothing; then ask again what became of the payment."""
        (outcome,) = self.dice.choices(["approved", "declined", ""], [5, 1, 2])
        if outcome:
            wish = Wish("confirm", self.user, order=order, sent={"outcome": outcome})
            self.memory.note(wish)
            wish.answers.append(self._bank.tell(order, outcome))
        if payment.key:
            self._insist(payment, "POST", f"/orders/{order}/pay", {"method": "card", "token": CONFIRMED})

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
        for _ in range(self.dice.choice([0, 0, 1, 2])):
            self._pay_back(order, "part", self._part(order))
        if chance < 0.1 or chance > 0.7:
            self._pay_back(order, "refund", {})

    def _part(self, order: str) -> Mapping[str, Any]:
        """Some money, or a unit of each of some lines, back on the shelves or not."""
        if self.dice.random() < 0.4:
            return {"amount": self.dice.choice(["0.50", "3.00", "12.34", "500.00"])}
        found = self.ask("read", "GET", f"/orders/{order}", order=order)
        bought = [item["product_id"] for item in found.verdict.body["items"]] if found.granted and found.verdict else []
        if not bought:
            return {"amount": "1.00"}
        part: dict[str, Any] = {"items": _items(dict.fromkeys(self.dice.sample(bought, 1), 1))}
        restock = self.dice.choice([None, True, False])
        return part if restock is None else {**part, "restock": restock}

    def _pay_back(self, order: str, what: str, part: Mapping[str, Any]) -> None:
        key = secrets.token_hex(8) if self.dice.random() < 0.9 else ""
        details = {"order": order, "key": key, "sent": part}
        self.ask(what, "POST", f"/orders/{order}/refund", {"reason": "broken", **part}, **details)


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
