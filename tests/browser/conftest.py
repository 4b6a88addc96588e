"""One demo shop and one browser for each file of tests."""

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser

from tests.browser.visitor import Visitor, chromium
from tests.shop import Shop, open_shop


@pytest.fixture(scope="module")
def demo_shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """The shop that `make run` shows: demo products, customers, orders and log-ins."""
    with open_shop(tmp_path_factory.mktemp("shop")) as shop:
        shop.manage("seed_demo")
        yield shop


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


@pytest.fixture
def visit(browser: Browser, demo_shop: Shop) -> Iterator[Callable[..., Visitor]]:
    """Makes visitors of the demo shop; their windows are closed in the end."""
    visitors: list[Visitor] = []

    def come(**how: object) -> Visitor:
        visitors.append(Visitor(browser, demo_shop, **how))  # type: ignore[arg-type] # the visitor's own options
        return visitors[-1]

    yield come
    for visitor in visitors:
        visitor.page.context.close()
