"""Admins look after accounts, and staff protect their own, in a browser."""

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from apps.users.tests.factories import code_of
from tests.browser.visitor import Visitor

pytestmark = [pytest.mark.e2e, pytest.mark.once]


def open_account(page: Page, email: str) -> None:
    """By the list, as staff find it."""
    page.goto(f"/admin/users/user/?q={email}")
    page.get_by_role("rowheader").get_by_role("link").first.click()


def test_an_admin_changes_a_role(visit: Callable[..., Visitor]) -> None:
    visitor = visit()
    page = visitor.log_in_to_staff_pages("admin@example.com")
    page.goto("/admin/users/user/?q=camille")
    visitor.look("accounts")
    open_account(page, "customer@example.com")
    expect(page.get_by_label("E-mail address")).to_have_value("customer@example.com")
    visitor.look("account")
    page.get_by_label("Role").select_option("order_staff")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_text("was changed successfully")).to_be_visible()
    page.goto("/admin/users/accesschange/")
    expect(page.locator("#result_list")).to_contain_text("Order staff")
    expect(page.locator("#result_list")).to_contain_text("admin")
    visitor.look("account-access-changes")


def test_sessions_end_by_a_button(visit: Callable[..., Visitor]) -> None:
    visitor = visit()
    page = visitor.log_in_to_staff_pages("admin@example.com")
    context = page.request
    given = {"email": "catalog@example.com", "password": "cartwright-demo"}
    pair = context.post("/api/v1/users/login", data=given).json()
    open_account(page, "catalog@example.com")
    page.locator("#tabs-items").get_by_text(re.compile("sessions", re.IGNORECASE)).click()
    expect(page.get_by_text("127.0.0.1").first).to_be_visible()
    visitor.look("account-sessions")
    page.locator("a").filter(has_text="Manage").first.click()
    page.get_by_text("End all sessions").first.click()
    expect(page.get_by_text("The user must log in again on each device.")).to_be_visible()
    visitor.look("account-end-sessions")
    page.get_by_role("button", name="End all sessions").click()
    expect(page.get_by_text("1 session was ended.")).to_be_visible()
    answer = context.get("/api/v1/users/profile", headers={"Authorization": f"Bearer {pair['access']}"})
    assert answer.status == 401


def test_a_second_factor_is_set_up_and_asked_for(visit: Callable[..., Visitor]) -> None:
    visitor = visit()
    page = visitor.log_in_to_staff_pages("orders@example.com")
    visitor.go("/admin/second-factor/")
    visitor.look("second-factor-off")
    page.get_by_role("button", name="Set it up").click()
    expect(page.get_by_role("img", name="QR code of the secret")).to_be_visible()
    secret = page.locator("p.font-mono").inner_text().replace(" ", "")
    page.get_by_role("textbox", name="Code").fill(code_of(secret))
    page.get_by_role("button", name="Turn on").click()
    expect(page.get_by_role("link", name="I have kept them")).to_be_visible()
    codes = page.locator("li.bg-base-50").all_inner_texts()
    assert len(set(codes)) == 10
    other = visit(narrow=True, scheme="dark")
    other.log_in_to_staff_pages("orders@example.com")
    expect(other.page.get_by_text("the code that your app shows now")).to_be_visible()
    other.look("staff-log-in-code")
    other.log_in_to_staff_pages("orders@example.com", otp=codes[0])
    other.go("/admin/second-factor/")
    expect(other.page.get_by_text("9 recovery codes are left")).to_be_visible()
    other.look("second-factor-on")
