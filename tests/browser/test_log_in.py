"""Staff come in by the log-in page, and nobody else does."""

from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from tests.browser.visitor import Visitor

pytestmark = [pytest.mark.e2e, pytest.mark.once]


def test_staff_log_in_and_out(visit: Callable[..., Visitor]) -> None:
    visitor = visit()
    visitor.go("/admin/")
    expect(visitor.page).to_have_title("Log in | Cartwright")
    visitor.look("staff-log-in")
    page = visitor.log_in_to_staff_pages("admin@example.com")
    expect(page.get_by_role("link", name="Orders").first).to_be_visible()
    page.evaluate("document.querySelector('form[action=\"/admin/logout/\"]').submit()")
    expect(page.get_by_text("You are logged out.")).to_be_visible()
    visitor.look("staff-log-out")
    page.goto("/admin/")
    expect(page).to_have_title("Log in | Cartwright")


def test_a_customer_is_refused(visit: Callable[..., Visitor]) -> None:
    page = visit().log_in_to_staff_pages("customer@example.com")
    expect(page.get_by_text("Please enter the correct username and password for a staff account")).to_be_visible()


def test_return_takes_the_first_thing_that_was_found(visit: Callable[..., Visitor]) -> None:
    visitor = visit()
    page = visitor.log_in_to_staff_pages("orders@example.com")
    page.goto("/admin/orders/order/")
    number = page.locator("#result_list a").get_by_text("DEMO-").first.inner_text()
    page.keyboard.press("Control+k")
    search = page.get_by_placeholder("Type to search")
    search.press("Enter")  # nothing was found yet, and nothing happens
    search.fill(number)
    search.press("End")
    expect(page.locator("#command-results-list")).to_contain_text(number)
    search.press("Enter")
    expect(page.get_by_role("heading", name=number).first).to_be_visible()
    assert visitor.faults == []
