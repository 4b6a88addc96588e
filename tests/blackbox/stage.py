"""What scenarios play on: people of every role, things that they made, and a way to wait."""

import secrets
import time
from collections.abc import Callable
from typing import Any

from tests.blackbox.callers import Answer, Caller, Notes
from tests.blackbox.matching import Mismatch
from tests.blackbox.target import Target
from tests.blackbox.transcript import Labels

PASSWORD = "correct horse 9"
PAID = {"method": "card", "token": "tok_visa"}
# An id of nobody and nothing.
NOBODY = "01938d5e-0000-7000-8000-000000000000"
# What workers do follows within a second or two; on a busy machine, later.
DEADLINE = 30.0
_INTERVAL = 0.05
# Without vowels no word comes of it, and without digits nothing takes it for a number.
_LETTERS = "bcdfghjkmnpqrstvwxz"


class Stage:
    """People of every role in a shop, and what scenarios need of it again and again.

    What is made here is set-up: it is not noted.
    """

    def __init__(self, target: Target, *, email: str, password: str) -> None:
        """
        Raises:
            Mismatch: the admin cannot log in, or accounts cannot be opened.
        """
        self.target = target
        # Part of every name that this run makes up.
        self.token = "".join(secrets.choice(_LETTERS) for _ in range(10))
        self._people = Labels(bases=target.bases, token=self.token)
        self.notes = Notes(self._people)
        self._names = 0
        self.guest = self.caller("guest")
        # Only to give roles: what else an admin does is done by one of our own, who has no other sessions to lose.
        self._chief = self.log_in("chief", email, password)
        self.admin = self.staff("admin")
        self.catalog = self.staff("catalog_staff")
        self.clerk = self.staff("order_staff")
        self.customer = self.newcomer("customer")
        self.other = self.newcomer("other")

    def new_scene(self) -> None:
        """Begin a scenario: of what was named so far, only the people keep their names."""
        self.notes.labels, self.notes.exchanges, self.notes.is_paused = self._people.branch(), [], False

    def name(self, word: str) -> str:
        """A name that nobody else has: letters only, the same length each time."""
        self._names += 1
        high, low = divmod(self._names, len(_LETTERS))
        return f"{word}{self.token}{_LETTERS[high]}{_LETTERS[low]}"

    def caller(self, name: str, access: str | None = None) -> Caller:
        """Somebody who shows that access token, or none."""
        return Caller(name, self.target, self.notes, {"access": access} if access is not None else None)

    def account(self, role: str) -> dict[str, Any]:
        """A new account: the user, as registering answers."""
        username = self.name(role.replace("_", ""))
        body = {"username": username, "email": f"{username}@example.com", "password": PASSWORD}
        with self.notes.paused():
            user: dict[str, Any] = self.guest.post("users/register", body).said(201).body
        self.notes.labels.name(role, user["id"])
        return user

    def log_in(self, name: str, email: str, password: str = PASSWORD) -> Caller:
        """Somebody with a session of their own."""
        with self.notes.paused():
            pair = self.guest.post("users/login", {"email": email, "password": password}).said(200).body
        self.notes.labels.name(name, pair["user"]["id"])
        return Caller(name, self.target, self.notes, pair)

    def newcomer(self, name: str = "newcomer") -> Caller:
        """A customer who has just opened an account and logged in."""
        return self.log_in(name, self.account(name)["email"])

    def staff(self, role: str) -> Caller:
        """Somebody new with that role."""
        user = self.account(role)
        with self.notes.paused():
            self._chief.patch(f"users/{user['id']}", {"role": role}).said(200)
        return self.log_in(role, user["email"])

    def product(self, stock: int = 10, price: str = "10.00", **fields: object) -> str:
        """The id of a new product."""
        body = {"name": self.name("Lamp "), "price": price, "stock": stock, **fields}
        with self.notes.paused():
            product_id: str = self.catalog.post("products", body).said(201)["id"]
        self.notes.labels.name("product", product_id)
        return product_id

    def order(self, *lines: tuple[str, int], by: Caller | None = None) -> str:
        """The id of a new order of these products and quantities, or of one lamp."""
        items = [{"product_id": key, "quantity": quantity} for key, quantity in lines or [(self.product(), 1)]]
        with self.notes.paused():
            order: dict[str, Any] = (by or self.customer).post("orders", {"items": items}).said(201).body
        self.notes.labels.name("number", order["number"])
        self.notes.labels.name("order", order["id"])
        return str(order["id"])

    def paid(self, *lines: tuple[str, int], by: Caller | None = None) -> str:
        """The id of a new order that is paid."""
        order_id = self.order(*lines, by=by)
        with self.notes.paused():
            (by or self.customer).post(f"orders/{order_id}/pay", PAID).said(200)
        return order_id

    def shipped(self, *lines: tuple[str, int], by: Caller | None = None) -> str:
        """The id of a new order that is on its way."""
        order_id = self.paid(*lines, by=by)
        with self.notes.paused():
            self.clerk.post(f"orders/{order_id}/ship").said(200)
        return order_id

    def eventually(
        self, ask: Callable[[], Answer], holds: Callable[[Answer], bool], *, is_noted: bool = True
    ) -> Answer:
        """Ask until it holds; only that answer is noted, if any.

        Raises:
            Mismatch: it did not, by the deadline.
        """
        until = time.monotonic() + DEADLINE
        while True:
            with self.notes.paused():
                answer = ask()
            if holds(answer):
                return answer.noted() if is_noted else answer
            if time.monotonic() > until:
                said = answer.content[:500].decode(errors="replace")
                raise Mismatch(f"{answer.method} {answer.path} did not come true in {DEADLINE:.0f} s: {said}")
            time.sleep(_INTERVAL)
