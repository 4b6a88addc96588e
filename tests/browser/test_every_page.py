"""Every page that the menu of the staff leads to, and the storefront's to visitors: anybody can use it, and there is a
picture of it.
"""

from collections.abc import Callable, Iterator

import pytest

from tests.browser.visitor import Visitor

pytestmark = [pytest.mark.e2e, pytest.mark.once]

OF_THE_SHOP = ("login", "register", "reset", "products", "cart")
_MENU = "#nav-sidebar-apps a[href^='/admin/']"


def test_the_pages_of_the_menu(visit: Callable[..., Visitor]) -> None:
    visitor = visit()
    page = visitor.log_in_to_staff_pages("admin@example.com")
    page.goto("/admin/users/user/")
    links = page.locator(_MENU).evaluate_all("all => all.map(a => a.pathname)")
    addresses = [address for address in dict.fromkeys(links) if address != "/admin/"]
    assert len(addresses) >= 20
    names = {address: "menu" + address.removeprefix("/admin").rstrip("/").replace("/", "-") for address in addresses}
    assert list(_faults(visitor, names)) == []


def test_the_pages_of_the_shop(visit: Callable[..., Visitor]) -> None:
    names = {f"/shop/{name}": f"shop-{name}-empty" for name in OF_THE_SHOP}
    assert list(_faults(visit(), names)) == []


def _faults(visitor: Visitor, names: dict[str, str]) -> Iterator[str]:
    """What is wrong, of all pages at once."""
    for address, name in names.items():
        visitor.go(address)
        try:
            visitor.look(name, whole=False)
        except AssertionError as fault:
            visitor.faults.clear()
            yield str(fault)
