"""The storefront: what visitors see, and what becomes of what they do."""

import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Protocol
from uuid import UUID, uuid4

import pytest
from django.contrib.sessions.backends.cached_db import SessionStore
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpResponse
from django.test import Client
from limits import parse_many
from pytest_django.fixtures import Settings
from pytest_django.live_server_helper import LiveServer

from apps.orders.interface import Actor, OrderStatus
from apps.products.interface import Product
from apps.products.tests.factories import make_category, make_product
from apps.storefront import api
from apps.storefront.templatetags.storefront import money, tint
from apps.users.interface import InvalidToken
from apps.users.models import User
from apps.users.tests.factories import PASSWORD, UserFactory
from config import services
from tests.flow import sends
from tests.test_access import PICTURE

pytestmark = pytest.mark.django_db

ADDRESS = {
    "name": "Ada Lovelace",
    "address": "12 St James's Square",
    "zip_code": "SW1Y 4JH",
    "city": "London",
    "country": "United Kingdom",
    "method": "standard",
    "note": "",
}


@pytest.fixture
def user() -> User:
    return UserFactory()


@pytest.fixture
def shopper(client: Client, user: User) -> Client:
    """Somebody who is logged in."""
    assert log_in(client, user.email).status_code == 302
    return client


def log_in(client: Client, login: str, password: str = PASSWORD, **given: str) -> HttpResponse:
    return client.post("/shop/login", {"login": login, "password": password, **given})  # type: ignore[return-value]


def put(client: Client, product: Product, quantity: int = 1) -> None:
    assert client.post("/shop/cart/add", {"product": str(product.id), "quantity": quantity}).status_code == 302


def place(client: Client, form: str | None = None) -> HttpResponse:
    return client.post("/shop/checkout", {**ADDRESS, "form": form or str(uuid4())})  # type: ignore[return-value]


def pay(client: Client, order_id: UUID, token: str) -> str:
    """The page that comes of it."""
    return text(client.post(f"/shop/orders/{order_id}/pay", {"form": str(uuid4()), "token": token}, follow=True))


class Page(Protocol):
    """What a client of Django's tests gets."""

    @property
    def content(self) -> bytes: ...


def text(response: Page) -> str:
    """What a page says, without its tags."""
    content = re.sub(r"<[^>]+>", " ", response.content.decode())
    return re.sub(r"\s+", " ", content.replace("&#x27;", "'"))


def orders_of(user: User) -> list[UUID]:
    return [order.id for order in services.orders().list_orders(actor=Actor(user_id=user.id)).orders]


# --- Looking around ------------------------------------------------------------------------------


def test_the_front_page_shows_what_is_new(client: Client) -> None:
    make_product(name="Brass lamp", price=Decimal("1234.50"))

    page = client.get("/shop/")

    assert "Brass lamp" in text(page)
    assert "$1,234.50" in text(page)


def test_a_list_narrows_down(client: Client) -> None:
    category = make_category(name="Lamps")
    make_product(name="Brass lamp", price=Decimal(40), category="Lamps", tags=("warm",))
    make_product(name="Oak table", price=Decimal(400), tags=("warm",))
    make_product(name="Sold lamp", price=Decimal(50), category="Lamps", stock=0)

    def found(query: str) -> list[str]:
        return re.findall(r'class="name">([^<]*)<', client.get(f"/shop/products{query}").content.decode())

    assert found("?ordering=name") == ["Brass lamp", "Oak table", "Sold lamp"]
    assert found(f"?category={category.slug}&ordering=-price") == ["Sold lamp", "Brass lamp"]
    assert found("?min_price=41&max_price=60") == ["Sold lamp"]
    assert found("?tag=warm&ordering=price") == ["Brass lamp", "Oak table"]
    assert found("?category=lamps&in_stock=true") == ["Brass lamp"]
    assert found("?q=lam&ordering=name") == ["Brass lamp", "Sold lamp"]
    assert found("?q=nothing") == []


def test_a_price_that_is_none_is_said(client: Client) -> None:
    page = client.get("/shop/products?min_price=cheap")

    assert page.status_code == 200
    assert "A price is a number" in text(page)


@pytest.mark.parametrize("number", ["²", "9" * 5000, "0", "-1", "x", ""])
def test_a_picture_that_is_none(client: Client, number: str) -> None:
    product = make_product(name="Lamp")
    services.products().add_image(product_id=product.id, content=PICTURE)
    assert client.get(f"/shop/products/{product.id}", {"picture": number}).status_code == 200
    assert client.get("/shop/products", {"page": number or "1"}).status_code in {200, 404}


def test_a_cart_that_cannot_be_sent(shopper: Client, settings: Settings) -> None:
    settings.SHIPPING_METHODS = {"standard": {"CHF": "5"}}
    put(shopper, make_product(currency="USD"))
    page = shopper.get("/shop/checkout")
    assert page.status_code == 200


@pytest.mark.parametrize("query", ["?page=2", "?page=x", "?page=-1"])
def test_a_page_that_is_not_there(client: Client, query: str) -> None:
    page = client.get(f"/shop/products{query}")

    assert (page.status_code, "There is nothing here." in text(page)) == (404, True)


def test_suggestions(client: Client) -> None:
    product = make_product(name="Brass <lamp>")

    piece = client.get("/shop/suggest?q=bra").content.decode()

    assert f'href="/shop/products/{product.id}">Brass &lt;lamp&gt;<' in piece
    assert client.get("/shop/suggest?q=").content.strip() == b""


def test_a_product_and_its_variants(client: Client) -> None:
    red = make_product(name="Mug", group="mug", attributes={"colour": "red"}, stock=3)
    blue = make_product(name="Mug", group="mug", attributes={"colour": "blue"}, stock=0)

    page = client.get(f"/shop/products/{red.id}")

    assert "Only 3 left" in text(page)
    assert re.search(rf'href="/shop/products/{blue.id}" class="gone">blue', page.content.decode())
    assert "Put into the cart" not in text(client.get(f"/shop/products/{blue.id}"))
    assert client.get(f"/shop/products/{uuid4()}").status_code == 404


# What the API needs, and nothing besides: a visitor without a session costs no statement here.
def test_pages_for_anybody_cost_what_the_api_costs(client: Client) -> None:
    product = make_product(name="Lamp")
    client.get("/shop/")
    with sends(4):
        client.get("/shop/products")
    with sends(2):
        client.get(f"/shop/products/{product.id}")


# --- Accounts ------------------------------------------------------------------------------------


def test_an_account_is_opened(client: Client) -> None:
    given = {"username": "ada", "email": "ada@example.com", "password": PASSWORD, "next": "/shop/cart"}

    response = client.post("/shop/register", given)

    assert (response.status_code, response["Location"]) == (302, "/shop/cart")
    assert User.objects.get(email="ada@example.com").username == "ada"
    assert "Log out" in text(client.get("/shop/"))


def test_what_the_api_refuses_is_said_beside_the_form(client: Client, user: User) -> None:
    given = {"username": "ada", "email": user.email, "password": "short"}

    weak = client.post("/shop/register", given)
    taken = client.post("/shop/register", {**given, "password": PASSWORD})

    assert (weak.status_code, taken.status_code) == (400, 400)
    assert "Choose a password of at least 8 characters" in text(weak)
    assert "There is an account with this e-mail address already." in text(taken)
    assert not User.objects.filter(username="ada").exists()


def test_a_wrong_password(client: Client, user: User) -> None:
    page = log_in(client, user.email, "wrong")

    assert (page.status_code, "The e-mail address or the password is wrong." in text(page)) == (400, True)
    assert client.get("/shop/orders").status_code == 302


@pytest.mark.parametrize("wanted", ["https://evil.example/", "//evil.example/shop/", "/admin/", "javascript:alert(1)"])
def test_nobody_is_sent_elsewhere(client: Client, user: User, wanted: str) -> None:
    assert log_in(client, user.username, next=wanted)["Location"] == "/shop/"


def test_tokens_never_reach_the_browser(client: Client, user: User) -> None:
    put(client, make_product())
    before = client.session.session_key
    log_in(client, user.email)

    vault = SessionStore(client.session["storefront"]["vault"])
    seen = "".join(client.get(path).content.decode() for path in ("/shop/", "/shop/cart", "/shop/orders"))
    kept = str({**client.session}) + str(client.cookies)

    assert services.users().authenticate(access_token=vault["access"]).id == user.id
    for token in (vault["access"], vault["refresh"]):
        assert token not in seen
        assert token not in kept
    assert client.cookies["sessionid"]["httponly"]
    # Whoever has planted a session's key has nothing of it; the cart came along.
    assert client.session.session_key != before
    assert before
    assert not client.session.exists(before)
    assert client.session["storefront_cart"] != {}


def test_whoever_logs_out_is_logged_out_of_the_api(shopper: Client) -> None:
    key = shopper.session["storefront"]["vault"]
    access = SessionStore(key)["access"]

    shopper.post("/shop/logout")

    with pytest.raises(InvalidToken):
        services.users().authenticate(access_token=access)
    assert not SessionStore().exists(key)
    assert shopper.get("/shop/orders")["Location"] == "/shop/login?next=%2Fshop%2Forders"


def test_an_access_token_that_ends_is_exchanged(shopper: Client) -> None:
    key = shopper.session["storefront"]["vault"]
    vault = SessionStore(key)
    old = vault["refresh"]
    vault["expires_at"] = 0
    vault.save()

    # The second page finds the new pair: the same refresh token again would end the log-in.
    assert [shopper.get("/shop/orders").status_code for _ in range(2)] == [200, 200]
    assert SessionStore(key)["refresh"] != old


def test_a_log_in_that_was_ended_elsewhere(shopper: Client, user: User) -> None:
    for session in services.users().list_sessions(user_id=user.id):
        services.users().log_out(user_id=user.id, session_id=session.id)

    assert shopper.get("/shop/orders")["Location"] == "/shop/login?next=%2Fshop%2Forders"
    piece = shopper.get("/shop/orders", headers={"hx-request": "true"})
    assert (piece.status_code, piece["HX-Redirect"]) == (204, "/shop/login?next=%2Fshop%2Forders")
    assert "Log in" in text(shopper.get("/shop/"))


def test_the_api_hears_the_visitors_address(client: Client, user: User, settings: Settings) -> None:
    settings.REST_FRAMEWORK = {**settings.REST_FRAMEWORK, "NUM_PROXIES": 0}

    client.post("/shop/login", {"login": user.email, "password": PASSWORD}, REMOTE_ADDR="203.0.113.9")

    assert [each.address for each in services.users().list_sessions(user_id=user.id)] == ["203.0.113.9"]


# --- Buying --------------------------------------------------------------------------------------


def test_from_the_cart_to_a_paid_order(shopper: Client, user: User) -> None:
    product = make_product(name="Brass lamp", price=Decimal("40.00"), stock=5)
    put(shopper, product, 2)

    assert "$80.00" in text(shopper.get("/shop/cart"))
    placed = place(shopper)
    [order_id] = orders_of(user)
    assert placed["Location"] == f"/shop/orders/{order_id}"
    assert services.products().get_stock(product_id=product.id).available == 3
    page = text(shopper.get(f"/shop/orders/{order_id}"))
    assert "Waiting for payment" in page
    assert "SW1Y 4JH London" in page
    assert "The card was declined. Nothing was charged" in pay(shopper, order_id, "tok_declined")
    assert "Your bank asks for a confirmation" in pay(shopper, order_id, "tok_3ds")
    assert "Thank you. Your order is paid" in pay(shopper, order_id, "tok_visa")
    assert "There is nothing in it yet." in text(shopper.get("/shop/cart"))
    assert "Brass lamp" in text(shopper.get("/shop/orders"))


def test_a_form_that_is_sent_twice_orders_once(shopper: Client, user: User) -> None:
    product = make_product(stock=5)
    put(shopper, product)
    cart, form = shopper.session["storefront_cart"], str(uuid4())

    first = place(shopper, form)["Location"]
    again = place(shopper, form)["Location"]
    # The second click was sent before the first was answered: its session still has the cart, and no order.
    session = shopper.session
    session["storefront_cart"], session["storefront_placed"] = cart, {}
    session.save()
    at_once = place(shopper, form)["Location"]

    assert first == again == at_once
    assert len(orders_of(user)) == 1
    assert services.products().get_stock(product_id=product.id).reserved == 1


def test_the_last_one_goes_to_somebody_else(shopper: Client, user: User) -> None:
    product = make_product(name="Brass lamp", stock=2)
    put(shopper, product, 2)
    assert shopper.get("/shop/checkout").status_code == 200
    services.products().adjust_stock(product_id=product.id, delta=-1, reason="sold", actor_id=user.id)

    page = shopper.post("/shop/checkout", {**ADDRESS, "form": str(uuid4())}, follow=True)

    assert page.redirect_chain == [("/shop/cart", 302)]
    assert "Only 1 is left." in text(page)
    assert "To the checkout" not in text(page)
    assert orders_of(user) == []
    shopper.post("/shop/cart/change", {"product": str(product.id), "quantity": 1})
    assert place(shopper).status_code == 302
    assert len(orders_of(user)) == 1


def test_an_order_without_an_address(shopper: Client, user: User) -> None:
    put(shopper, make_product())

    page = shopper.post("/shop/checkout", {**ADDRESS, "form": str(uuid4()), "city": ""})

    assert page.status_code == 400
    assert 'id="id_city_error">This field is required.' in page.content.decode()
    assert orders_of(user) == []


def test_what_is_not_sold_any_more_leaves_the_cart(client: Client) -> None:
    product = make_product()
    put(client, product)
    services.products().delete_product(product_id=product.id, if_revision=None)

    assert "There is nothing in it yet." in text(client.get("/shop/cart"))
    assert client.post("/shop/cart/add", {"product": str(product.id)}).status_code == 404
    assert client.post("/shop/cart/add", {"product": "x"}).status_code == 404


def test_an_order_is_cancelled(shopper: Client, user: User) -> None:
    put(shopper, make_product())
    place(shopper)
    [order_id] = orders_of(user)

    page = shopper.post(f"/shop/orders/{order_id}/cancel", {"reason": "changed my mind"}, follow=True)
    again = shopper.post(f"/shop/orders/{order_id}/cancel", follow=True)

    assert "The order is cancelled." in text(page)
    assert "the order has changed in the meantime" in text(again)
    assert services.orders().get_status(order_id=order_id, actor=Actor(user_id=user.id)) == OrderStatus.CANCELLED


def test_somebody_elses_order(shopper: Client, user: User, client: Client) -> None:
    put(shopper, make_product())
    place(shopper)
    [order_id] = orders_of(user)
    other = Client()
    log_in(other, UserFactory().email)

    assert other.get(f"/shop/orders/{order_id}").status_code == 404
    assert other.post(f"/shop/orders/{order_id}/cancel").status_code == 404
    assert other.post(f"/shop/orders/{order_id}/pay", {"form": str(uuid4()), "token": "tok_visa"}).status_code == 404


def test_a_script_asks_whether_an_order_has_changed(shopper: Client, user: User) -> None:
    put(shopper, make_product())
    place(shopper)
    [order_id] = orders_of(user)
    page = shopper.get(f"/shop/orders/{order_id}").content.decode()
    address = re.search(r'id="order" hx-get="([^"]*)"', page)[1]  # type: ignore[index]

    assert shopper.get(address, headers={"hx-request": "true"}).status_code == 204
    pay(shopper, order_id, "tok_visa")
    assert "Paid" in text(shopper.get(address, headers={"hx-request": "true"}))


# --- What every page keeps -----------------------------------------------------------------------


@pytest.mark.parametrize("path", ["", "products", "cart", "login", "reset", "verify?token=a", "orders", "products/x"])
def test_a_page_runs_nothing_but_ours(client: Client, path: str) -> None:
    page = client.get(f"/shop/{path}", headers={"accept": "text/html"})

    if path != "products/x":  # no such address
        assert "script-src 'self'; style-src 'self'" in page["Content-Security-Policy"]
        assert "no-store" in page["Cache-Control"]
    assert not re.search(r"<style|style=|<script>|\son[a-z]+=", page.content.decode())


@pytest.mark.parametrize(
    "path", ["cart/add", "cart/change", "checkout", "login", "register", "logout", "reset", "verify"]
)
def test_forms_of_others_are_refused(path: str) -> None:
    assert Client(enforce_csrf_checks=True).post(f"/shop/{path}", {"token": "a"}).status_code == 403


def test_the_page_speaks_the_visitors_language_and_the_api_english(client: Client) -> None:
    make_product(name="Lamp", price=Decimal(5))

    page = client.get("/shop/products", headers={"accept-language": "zh-CN"})

    assert "全部商品" in text(page)
    assert "US$5.00" in text(page)
    # After the API has answered, in English, the page goes on in Chinese.
    assert "没有符合条件的商品" in text(client.get("/shop/products?q=none", headers={"accept-language": "zh-CN"}))
    assert page["Content-Language"] == "zh-hans"


def test_too_many_log_ins(user: User, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.RATE_LIMITS = {**settings.RATE_LIMITS, "credentials": parse_many("2/minute")}
    # The application reads its limits when it is made.
    monkeypatch.setattr("config.wsgi.application", WSGIHandler())

    pages = [log_in(Client(REMOTE_ADDR="203.0.113.5"), user.email, "wrong") for _ in range(3)]
    other = log_in(Client(REMOTE_ADDR="203.0.113.6"), user.email)

    assert ["too often" in text(page) for page in pages] == [False, False, True]
    assert other.status_code == 302


def test_too_many_searches(client: Client, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.RATE_LIMITS = {**settings.RATE_LIMITS, "search": parse_many("1/minute")}
    monkeypatch.setattr("config.wsgi.application", WSGIHandler())

    pages = [client.get("/shop/products?q=lamp") for _ in range(2)]

    assert [page.status_code for page in pages] == [200, 429]
    assert 55 <= int(pages[1]["Retry-After"]) <= 60
    assert f"Try again in {pages[1]['Retry-After']} seconds." in text(pages[1])


def test_an_api_that_is_away(client: Client, settings: Settings) -> None:
    settings.STOREFRONT_API = "http://127.0.0.1:9"

    page = client.get("/shop/products")

    assert (page.status_code, page["Retry-After"]) == (503, "5")
    assert "The shop does not answer." in text(page)


@pytest.fixture
def api_elsewhere(settings: Settings, live_server: LiveServer) -> Iterator[str]:
    """The API at an address of its own."""
    settings.STOREFRONT_API = live_server.url
    yield live_server.url
    api._elsewhere(live_server.url).close()
    api._elsewhere.cache_clear()


@pytest.mark.django_db(transaction=True)
def test_an_api_elsewhere(client: Client, api_elsewhere: str) -> None:
    make_product(name="Brass lamp")

    page = client.get("/shop/products")

    assert "Brass lamp" in text(page)
    assert f"img-src 'self' data: {api_elsewhere}" in page["Content-Security-Policy"]


@pytest.mark.parametrize(
    ("amount", "currency", "written"),
    [("1234567.50", "USD", "$1,234,567.50"), ("500", "JPY", "¥500"), ("9.125", "KWD", "KWD 9.125"), ("0", "EUR", "€0")],
)
def test_money(amount: str, currency: str, written: str) -> None:
    assert money(amount, currency) == written


def test_a_tint_stands_for_a_category() -> None:
    one, other = ({"id": str(uuid4()), "category_id": "01938d5e-7b1a-7c3e-9a51-0242ac120002"} for _ in range(2))

    assert tint(one) == tint(other)
