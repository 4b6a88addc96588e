"""Developers try the API: in Swagger UI, in the browsable API, and by the pages that lead there."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.browser.visitor import DEMO_PASSWORD, Visitor

pytestmark = [pytest.mark.e2e, pytest.mark.once]

LOG_IN = '{"email": "customer@example.com", "password": "cartwright-demo"}'


def log_in_to_browsable_api(visitor: Visitor, email: str) -> Page:
    page = visitor.go("/api/auth/login/?next=/api/v1/products")
    page.get_by_label("E-mail or username").fill(email)
    page.get_by_label("Password").fill(DEMO_PASSWORD)
    page.get_by_role("button", name="Log in").click()
    return page


def test_the_landing_page(visit: Callable[..., Visitor]) -> None:
    light, dark = visit(), visit(scheme="dark", narrow=True)
    light.go("/")
    light.look("landing")
    dark.go("/")
    dark.look("landing-dark-narrow", whole=False)
    assert dark.page.evaluate("document.documentElement.scrollWidth") == 390
    light.page.get_by_role("link", name="Error codes").first.click()
    expect(light.page.get_by_role("heading", name="Error codes")).to_be_visible()
    light.look("error-codes", whole=False)


def test_a_call_in_swagger_ui(visit: Callable[..., Visitor]) -> None:
    visitor = visit(scheme="dark")
    page = visitor.go("/api/docs/")
    log_in = page.locator("#operations-users-users_login_create")
    expect(log_in).to_be_visible()
    # Closed: what opens is drawn by Swagger UI itself.
    visitor.look("swagger-dark", whole=False)
    log_in.locator(".opblock-summary-control").click()
    log_in.get_by_role("button", name="Try it out").click()
    log_in.locator("textarea").fill(LOG_IN)
    with page.expect_response("**/api/v1/users/login") as answered:
        log_in.get_by_role("button", name="Execute").click()
    token = answered.value.json()["access"]

    page.get_by_role("button", name="Authorize").click()
    page.locator(".modal-ux input").first.fill(token)
    page.locator(".modal-ux").get_by_role("button", name="Apply credentials").first.click()
    page.locator(".modal-ux").get_by_role("button", name="Close").first.click()
    profile = page.locator("#operations-users-users_profile_retrieve")
    profile.locator(".opblock-summary-control").click()
    profile.get_by_role("button", name="Try it out").click()
    with page.expect_response("**/api/v1/users/profile") as answered:
        profile.get_by_role("button", name="Execute").click()

    assert (answered.value.status, answered.value.json()["email"]) == (200, "customer@example.com")
    expect(profile.locator(".live-responses-table tbody .response-col_status").first).to_contain_text("200")
    assert visitor.faults == []


def test_a_purchase_in_the_browsable_api(visit: Callable[..., Visitor]) -> None:
    visitor = visit()
    page = log_in_to_browsable_api(visitor, "customer@example.com")
    # Customers add no products: there is no form for it.
    expect(page.locator("textarea[name=_content]")).to_have_count(0)
    product_id = page.evaluate(
        "fetch('/api/v1/products/search?q=paper+pendant').then(a => a.json()).then(a => a.results[0].id)"
    )
    page.goto("/api/v1/orders?page_size=1")
    page.locator("textarea[name=_content]").fill(f'{{"items": [{{"product_id": "{product_id}", "quantity": 1}}]}}')
    page.get_by_role("button", name="POST").click()
    expect(page.locator(".response-info")).to_contain_text("HTTP 201 Created")

    page.goto("/api/v1/orders?page_size=1")
    page.locator(".response-info a[href*='/orders/']").first.click()
    expect(page.get_by_role("heading", name="Order")).to_be_visible()
    visitor.look("browsable-api")
    page.get_by_role("navigation", name="What belongs to it").get_by_role("link", name="pay").click()
    # The form has the example of the API's description.
    expect(page.locator("textarea[name=_content]")).to_have_value('{\n  "method": "card",\n  "token": "tok_visa"\n}')
    page.get_by_role("button", name="POST").click()
    expect(page.locator(".response-info")).to_contain_text('"status": "paid"')
    page.locator(".response-info a[href*='/products/']").first.click()
    expect(page.locator(".response-info")).to_contain_text("Paper pendant lamp")
    page.locator(".response-info a[href*='/categories/']").first.click()
    expect(page.locator(".response-info")).to_contain_text("Lighting")


def test_the_browsable_api_in_the_dark(visit: Callable[..., Visitor]) -> None:
    visitor = visit(scheme="dark")
    page = log_in_to_browsable_api(visitor, "catalog@example.com")
    expect(page.get_by_role("button", name="POST").first).to_be_visible()
    page.goto("/api/v1/products?page_size=1")
    visitor.look("browsable-api-dark")
