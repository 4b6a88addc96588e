"""One visitor of the storefront who does several things at the same moment."""

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import sleep

import pytest
import requests

from tests.shop import PASSWORD, Shop, open_shop
from tests.test_storefront import ADDRESS

pytestmark = [pytest.mark.e2e, pytest.mark.once]

AT_ONCE = 6


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    # The storefront exchanges tokens 15 seconds before they end: here, one second after the log-in.
    with open_shop(tmp_path, JWT_EXPIRES_IN="16s") as running:
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


def test_tokens_are_exchanged_once_and_a_double_click_orders_once(shop: Shop) -> None:
    product_id = shop.admin().product(stock=10)
    account = {"username": "ada", "email": "ada@example.com", "password": PASSWORD}
    browser = Browser(shop)
    assert browser.post("/register", **account).status_code == 302
    sleep(2)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        pages = list(pool.map(browser.get, ["/orders"] * AT_ONCE))
    assert [page.status_code for page in pages] == [200] * AT_ONCE

    browser.post("/cart/add", product=product_id, quantity="2")
    page = browser.session.get(f"{browser.url}/checkout", timeout=30).text
    form = re.findall('name="form" value="([^"]*)"', page)[0]
    token = re.findall('name="csrfmiddlewaretoken" value="([^"]*)"', page)[0]
    data = {**ADDRESS, "form": form, "csrfmiddlewaretoken": token}
    cookies = dict(browser.session.cookies)

    def click(_: int) -> str:
        answer = requests.post(f"{browser.url}/checkout", data=data, cookies=cookies, allow_redirects=False, timeout=30)
        return answer.headers.get("Location", str(answer.status_code))

    with ThreadPoolExecutor(AT_ONCE) as pool:
        places = set(pool.map(click, range(AT_ONCE)))
    assert len(places) == 1
    assert re.fullmatch("/shop/orders/[0-9a-f-]{36}", places.pop())
    assert shop.admin().stock(product_id) == (10, 2)
