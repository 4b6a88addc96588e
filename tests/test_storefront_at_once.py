"""One visitor of the storefront who does several things at the same moment."""

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from time import sleep

import pytest
import requests

from tests.shop import PASSWORD, Shop, open_shop
from tests.test_storefront import ADDRESS

pytestmark = [pytest.mark.e2e, pytest.mark.once]

AT_ONCE = 6


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    # The storefront exchanges tokens 15 seconds before they end: here, one second after the log-in.
    with open_shop(tmp_path_factory.mktemp("shop"), JWT_EXPIRES_IN="16s") as running:
        yield running


class Browser:
    """Cookies, and forms that are sent with the page's own token."""

    def __init__(self, shop: Shop) -> None:
        self.url = f"{shop.url}/shop"
        self.session = requests.Session()

    def get(self, path: str) -> requests.Response:
        # No connection is shared: several requests are under way.
        return requests.get(self.url + path, cookies=dict(self.session.cookies), allow_redirects=False, timeout=30)

    def post(self, path: str, **given: str) -> requests.Response:
        page = self.session.get(f"{self.url}/login", timeout=30).text
        token = re.findall('name="csrfmiddlewaretoken" value="([^"]*)"', page)[0]
        data = {**given, "csrfmiddlewaretoken": token}
        return self.session.post(self.url + path, data=data, allow_redirects=False, timeout=30)


def registered(shop: Shop, name: str) -> Browser:
    """Somebody who has an account, and is logged in."""
    browser = Browser(shop)
    account = {"username": name, "email": f"{name}@example.com", "password": PASSWORD}
    assert browser.post("/register", **account).status_code == 302
    return browser


def checkout_form(browser: Browser) -> dict[str, str]:
    """The form as the page has it, filled in."""
    page = browser.session.get(f"{browser.url}/checkout", timeout=30).text
    hidden = dict(re.findall('name="(form|csrfmiddlewaretoken)" value="([^"]*)"', page))
    return {**ADDRESS, **hidden}


def send(browser: Browser, form: dict[str, str]) -> str:
    """Where the checkout leads, by a connection of its own."""
    answer = requests.post(
        f"{browser.url}/checkout", data=form, cookies=dict(browser.session.cookies), allow_redirects=False, timeout=30
    )
    return answer.headers.get("Location", str(answer.status_code))


def test_tokens_are_exchanged_once(shop: Shop) -> None:
    browser = registered(shop, "ada")
    sleep(2)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        pages = list(pool.map(browser.get, ["/orders"] * AT_ONCE))

    assert [page.status_code for page in pages] == [200] * AT_ONCE


def test_a_double_click_orders_once(shop: Shop) -> None:
    product_id = shop.admin().product(stock=10)
    browser = registered(shop, "bob")
    browser.post("/cart/add", product=product_id, quantity="2")
    form = checkout_form(browser)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        places = set(pool.map(lambda _: send(browser, form), range(AT_ONCE)))

    assert len(places) == 1
    assert re.fullmatch("/shop/orders/[0-9a-f-]{36}", places.pop())
    assert shop.admin().stock(product_id) == (10, 2)


def test_of_many_who_want_the_last_one_a_single_one_gets_it(shop: Shop) -> None:
    product_id = shop.admin().product(stock=1)
    browsers = [registered(shop, f"buyer{number}") for number in range(AT_ONCE)]
    for browser in browsers:
        browser.post("/cart/add", product=product_id, quantity="1")
    forms = [checkout_form(browser) for browser in browsers]

    with ThreadPoolExecutor(AT_ONCE) as pool:
        places = sorted(pool.map(send, browsers, forms))

    # The others are shown their cart, which says what is left.
    assert places[:-1] == ["/shop/cart"] * (AT_ONCE - 1)
    assert re.fullmatch("/shop/orders/[0-9a-f-]{36}", places[-1])
    assert shop.admin().stock(product_id) == (1, 1)
