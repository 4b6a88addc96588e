"""Order staff at work: they find an order, ship it, pay some of it back, print its papers, and read the reports."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect
from pypdf import PdfReader

from tests.browser.visitor import Visitor

pytestmark = [pytest.mark.e2e, pytest.mark.once]

CLERK = "orders@example.com"


def clerk(visit: Callable[..., Visitor], **how: object) -> Visitor:
    visitor = visit(**how)
    visitor.log_in_to_staff_pages(CLERK)
    return visitor


def first_order(page: Page, status: str) -> str:
    """The number of the newest order in that status."""
    page.goto(f"/admin/orders/order/?status__exact={status}")
    return str(page.locator("#result_list .field-number_").first.inner_text()).strip()


def open_order(page: Page, number: str) -> None:
    """Found as somebody does who has only the number, in whatever case."""
    page.goto("/admin/orders/order/")
    page.get_by_placeholder("Number, e-mail, recipient or SKU").fill(number.lower())
    page.keyboard.press("Enter")
    page.get_by_role("link", name=number).click()
    expect(page.locator("[data-buttons]")).to_be_visible()


def test_the_list_of_orders(visit: Callable[..., Visitor]) -> None:
    visitor = clerk(visit)
    page = visitor.go("/admin/orders/order/?q=smith")
    expect(page.locator("#result_list .data-row").first).to_be_visible()
    visitor.look("orders-list")
    page.goto("/admin/orders/order/")
    expect(page.locator("#result_list .data-row")).to_have_count(50)
    page.get_by_role("link", name="Next").click()
    expect(page.locator("#result_list .data-row")).to_have_count(50)
    assert "p=2" in page.url


def test_an_order_is_found_shipped_and_paid_back_in_part(visit: Callable[..., Visitor]) -> None:
    visitor = clerk(visit)
    page = visitor.page
    number = first_order(page, "paid")
    open_order(page, number)
    visitor.look("orders-page")
    slip = PdfReader(visitor.download("Packing slip")).pages[0].extract_text()
    assert ("Packing slip" in slip, number in slip) == (True, True)
    page.locator("[data-buttons]").get_by_role("link", name="Ship").click()
    page.get_by_label("Carrier").fill("DHL")
    page.get_by_label("Tracking number").fill("00340434161094042557")
    visitor.look("orders-ship")
    page.get_by_role("button", name="Ship").click()
    expect(page.get_by_text(f"Order {number} is shipped.")).to_be_visible()
    expect(page.get_by_text("DHL 00340434161094042557")).to_be_visible()
    page.locator("[data-buttons]").get_by_role("link", name="Refund").click()
    page.locator("input[data-price]").first.fill("1")
    expect(page.get_by_text("These units cost")).to_be_visible()
    page.get_by_label("Reason").fill("Arrived broken")
    page.get_by_label("Pay the money back").check()
    visitor.look("orders-refund")
    page.get_by_role("button", name="Refund").click()
    expect(page.get_by_text(f"Order {number}: paid back.")).to_be_visible()
    expect(page.get_by_text("“Arrived broken”")).to_be_visible()
    visitor.look("orders-after")


def test_the_reports(visit: Callable[..., Visitor]) -> None:
    visitor = clerk(visit)
    page = visitor.go("/admin/orders/order/reports/")
    expect(page.get_by_text("days begin at midnight in UTC")).to_be_visible()
    expect(page.locator("canvas").first).to_be_visible()
    page.get_by_role("link", name="7 days").click()
    expect(page.locator("tbody tr")).not_to_have_count(0)
    visitor.look("orders-reports")
    saved = visitor.download("All products as CSV").read_bytes().decode("utf-8-sig")
    assert saved.startswith("product_id,name,sku,currency,orders,units,amount\r\n")
    page.emulate_media(media="print")
    expect(page.get_by_role("button", name="Show")).to_be_hidden()
    expect(page.get_by_text("days begin at midnight in UTC")).to_be_visible()


def test_in_the_dark(visit: Callable[..., Visitor]) -> None:
    visitor = clerk(visit, scheme="dark")
    visitor.go("/admin/orders/order/reports/").get_by_role("link", name="7 days").click()
    visitor.look("orders-reports-dark")
    open_order(visitor.page, first_order(visitor.page, "delivered"))
    visitor.look("orders-page-dark")


def test_on_a_telephone(visit: Callable[..., Visitor]) -> None:
    visitor = clerk(visit, narrow=True)
    open_order(visitor.page, first_order(visitor.page, "shipped"))
    visitor.look("orders-page-narrow")


def test_a_delivery_is_replayed(visit: Callable[..., Visitor]) -> None:
    visitor = visit()
    page = visitor.log_in_to_staff_pages("admin@example.com")
    page.goto("/admin/orders/shopwebhookendpoint/add/")
    # Nobody is there, and nobody can be (RFC 2606).
    page.get_by_label("URL").fill("https://erp.invalid/hooks")
    page.get_by_label("Owner email").fill("erp@example.com")
    visitor.look("events-endpoint")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_text("is not shown again")).to_be_visible()
    page.locator("input.action-select").first.check()
    page.locator("select[name=action]").select_option("send_tests")
    page.locator("#changelist-actions-wrapper button").first.click()
    expect(page.get_by_text("A ping is on its way to https://erp.invalid/hooks.")).to_be_visible()
    page.goto("/admin/orders/shopwebhookdelivery/?q=erp.invalid")
    page.locator("#result_list a").first.click()
    page.get_by_role("button", name="Replay").click()
    expect(page.get_by_text("1 delivery is on its way again.")).to_be_visible()
    visitor.look("events-delivery")
