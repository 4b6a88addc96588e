"""Customers buy in the storefront, with and without scripts, in their language."""

import re
from collections.abc import Callable
from uuid import uuid4

import pytest
from playwright.sync_api import Page, expect

from tests.browser.visitor import DEMO_PASSWORD, Visitor

pytestmark = [pytest.mark.e2e, pytest.mark.once]

ADDRESS = {
    "Name": "Ada Lovelace",
    "Street and number": "12 St James's Square",
    "Postcode": "SW1Y 4JH",
    "Town or city": "London",
    "Country": "United Kingdom",
}
PRODUCT = "Paper pendant lamp"


def log_in(visitor: Visitor, email: str = "customer@example.com", password: str = DEMO_PASSWORD) -> None:
    visitor.go("/shop/login")
    visitor.page.get_by_label("E-mail address or name").fill(email)
    visitor.page.get_by_label("Password").fill(password)
    visitor.page.locator("main").get_by_role("button").click()
    expect(visitor.page.locator("header").get_by_role("button", name=re.compile("Log out|退出"))).to_be_visible()


def put_into_cart(page: Page, name: str = PRODUCT) -> None:
    page.goto("/shop/products?q=" + name)
    page.locator(".card").get_by_role("link", name=name).click()
    page.locator("form.buy").get_by_role("button").click()
    expect(page.locator(".count")).to_be_visible()


def order(page: Page) -> None:
    """From the cart to an order that waits for its payment."""
    page.goto("/shop/checkout")
    for label, text in ADDRESS.items():
        page.get_by_label(label, exact=True).fill(text)
    page.get_by_role("button", name="Place the order").click()
    expect(page.locator(".status.pending")).to_be_visible()


def test_from_a_search_to_a_paid_order(visit: Callable[..., Visitor]) -> None:
    visitor = visit()
    page = visitor.go("/shop/")
    visitor.look("shop-home", whole=False)
    page.get_by_role("searchbox").press_sequentially("lamp", delay=20)
    expect(page.locator(".suggestions").get_by_role("link", name=PRODUCT)).to_be_visible()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Results for “lamp”")).to_be_visible()
    visitor.look("shop-search")
    page.locator(".card").get_by_role("link", name=PRODUCT).click()
    page.get_by_role("button", name="Put into the cart").click()
    expect(page.locator("#added")).to_contain_text(f"“{PRODUCT}” is in your cart.")
    expect(page.locator(".count")).to_have_text("1 in it")
    visitor.look("shop-product")

    # Nobody is logged in: who wants to order opens an account on the way, and keeps the cart.
    page.get_by_role("link", name="Go to the cart").click()
    visitor.look("shop-cart")
    page.get_by_role("link", name="To the checkout").click()
    page.get_by_role("link", name="Open an account").click()
    name = f"ada{uuid4().hex[:8]}"
    page.get_by_label("Name").fill(name)
    page.get_by_label("E-mail address").fill(f"{name}@example.com")
    page.get_by_label("Password").fill("correct horse 9")
    page.get_by_role("button", name="Open the account").click()
    expect(page.get_by_role("heading", name="Checkout")).to_be_visible()
    for label, text in ADDRESS.items():
        page.get_by_label(label, exact=True).fill(text)
    visitor.look("shop-checkout")
    page.get_by_role("button", name="Place the order").click()
    expect(page.locator(".status.pending")).to_have_text("Waiting for payment")
    visitor.look("shop-pay")

    page.get_by_role("radio", name="Is declined").check()
    page.get_by_role("button", name="Pay $").click()
    expect(page.get_by_text("The card was declined. Nothing was charged: choose another card.")).to_be_visible()
    page.get_by_role("radio", name="Is charged").check()
    page.get_by_role("button", name="Pay $").click()
    expect(page.locator(".status.paid")).to_have_text("Paid")
    assert visitor.page.evaluate("document.cookie.includes('sessionid')") is False
    page.goto("/shop/orders")
    expect(page.locator(".orders li")).to_have_count(1)
    expect(page.locator(".count")).to_have_count(0)
    assert visitor.faults == []


def test_without_scripts_in_the_dark(visit: Callable[..., Visitor]) -> None:
    visitor = visit(scheme="dark", java_script_enabled=False)
    log_in(visitor)
    put_into_cart(visitor.page)
    expect(visitor.page.get_by_text(f"“{PRODUCT}” is in your cart.")).to_be_visible()
    visitor.page.get_by_label(f"How many of “{PRODUCT}”").fill("2")
    visitor.page.get_by_role("button", name="Update").click()
    expect(visitor.page.locator(".count")).to_have_text("2 in it")
    order(visitor.page)
    visitor.page.get_by_role("button", name="Pay $").click()
    expect(visitor.page.locator(".status.paid")).to_have_text("Paid")
    visitor.page.get_by_text("Cancel this order").click()
    visitor.page.get_by_role("button", name="Yes, cancel it").click()
    expect(visitor.page.locator(".status.cancelled")).to_have_text("Cancelled")


def test_the_page_of_an_order_follows_it(visit: Callable[..., Visitor]) -> None:
    visitor = visit(scheme="dark")
    log_in(visitor)
    put_into_cart(visitor.page)
    order(visitor.page)
    visitor.page.get_by_role("radio", name="3-D Secure").check()
    visitor.page.get_by_role("button", name="Pay $").click()
    expect(visitor.page.get_by_role("heading", name="Your bank asks for a confirmation")).to_be_visible()
    visitor.page.get_by_role("radio", name="does not answer in time").check()
    visitor.page.get_by_role("button", name="Pay $").click()
    expect(visitor.page.get_by_text("The bank did not answer in time.")).to_be_visible()

    # The bank is asked again; nobody loads the page anew.
    expect(visitor.page.locator(".status.paid")).to_have_text("Paid", timeout=40_000)
    visitor.look("shop-order-dark")


def test_in_chinese(visit: Callable[..., Visitor]) -> None:
    visitor = visit(language="zh-CN")
    page = visitor.go("/shop/")
    expect(page.get_by_role("heading", level=1)).to_have_text("好东西，明码标价。")
    expect(page.locator("html")).to_have_attribute("lang", "zh-Hans")
    visitor.go("/shop/login")
    page.get_by_label("邮箱或用户名").fill("customer@example.com")
    page.get_by_label("密码").fill(DEMO_PASSWORD)
    page.locator("main").get_by_role("button").click()
    put_into_cart(page)
    expect(page.locator("#added")).to_contain_text(f"“{PRODUCT}”已放入购物车。")
    visitor.look("shop-chinese")
    page.goto("/shop/checkout")
    for label, text in {
        "姓名": "李雷",
        "街道和门牌号": "中山路1号",
        "邮政编码": "200000",
        "城市": "上海",
        "国家": "中国",
    }.items():
        page.get_by_label(label, exact=True).fill(text)
    page.get_by_role("button", name="提交订单").click()
    page.get_by_role("button", name="支付 US$").click()
    expect(page.locator(".status.paid")).to_have_text("已付款")
    page.get_by_role("button", name="English").click()
    expect(page.locator(".status.paid")).to_have_text("Paid")


def test_on_a_telephone(visit: Callable[..., Visitor]) -> None:
    visitor = visit(narrow=True)
    visitor.go("/shop/products?category=home")
    assert visitor.page.evaluate("document.documentElement.scrollWidth") == 390
    visitor.look("shop-list-narrow", whole=False)
    put_into_cart(visitor.page)
    visitor.go("/shop/cart")
    assert visitor.page.evaluate("document.documentElement.scrollWidth") == 390
    visitor.look("shop-cart-narrow")


def test_a_page_that_is_not_there(visit: Callable[..., Visitor]) -> None:
    visitor = visit()
    visitor.go(f"/shop/products/{uuid4()}")
    expect(visitor.page.get_by_role("heading", name="There is nothing here.")).to_be_visible()
