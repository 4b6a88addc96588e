"""This shop as `manage.py serve` runs it: relay, workers and periodic tasks work meanwhile."""

from collections.abc import Sequence
from http import HTTPStatus

from bench.peers.scenario import Peer, Session, wanted
from tests.shop import PASSWORD, Shop

_API = "/api/v1"


class Ours(Peer):
    name = "Cartwright"

    def __init__(self, shop: Shop, products: int, stock: int) -> None:
        self.url = shop.url
        self._admin = shop.admin()
        self.products = [self._admin.product(stock=stock) for _ in range(products)]

    def log_in(self, number: int) -> Session:
        session = Session(self.url)
        account = {"username": f"buyer{number}", "email": f"buyer{number}@example.com", "password": PASSWORD}
        # Whoever comes again has an account already.
        wanted(session.call("POST", f"{_API}/users/register", account), 201, 409, 400)
        account.pop("username")
        answer = wanted(session.call("POST", f"{_API}/users/login", account), 200)
        session.headers["Authorization"] = f"Bearer {answer['access']}"
        return session

    def look(self, session: Session, product: str) -> None:
        wanted(session.call("GET", f"{_API}/products/{product}"), 200)

    def order(self, session: Session, products: Sequence[str]) -> bool:
        lines = [{"product_id": product, "quantity": 1} for product in products]
        answer = session.call("POST", f"{_API}/orders", {"items": lines})
        wanted(answer, HTTPStatus.CREATED, HTTPStatus.CONFLICT)
        return answer[0] == HTTPStatus.CREATED

    def scarce(self) -> str:
        return self._admin.product(stock=1)
