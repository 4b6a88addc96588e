"""Catalogue staff at work: each sees their own dashboard, adds a product, counts stock, changes prices, imports."""

import re
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
from playwright.sync_api import expect

from apps.products.demo.pictures import draw
from tests.browser.visitor import Visitor

pytestmark = [pytest.mark.e2e, pytest.mark.once]
Visit = Callable[..., Visitor]


@pytest.mark.parametrize(
    ("role", "how", "name"),
    [
        ("admin", {}, "staff-dashboard"),
        ("admin", {"scheme": "dark"}, "staff-dashboard-dark"),
        ("admin", {"narrow": True}, "staff-dashboard-narrow"),
        ("catalog", {}, "catalogue-dashboard"),
        ("orders", {"scheme": "dark", "narrow": True}, "orders-dashboard-dark-narrow"),
    ],
)
def test_the_dashboard_of_each_role(visit: Visit, role: str, how: dict[str, object], name: str) -> None:
    visitor = visit(**how)
    page = visitor.log_in_to_staff_pages(f"{role}@example.com")
    expect(page.get_by_role("link", name=re.compile("Orders to ship")).first).to_have_count(int(role != "catalog"))
    expect(page.get_by_role("link", name=re.compile("Sold out")).first).to_have_count(int(role != "orders"))
    visitor.look(name)


def test_a_product_is_added_with_a_picture_and_its_stock_corrected(visit: Visit, tmp_path: Path) -> None:
    visitor = visit()
    page = visitor.log_in_to_staff_pages("catalog@example.com")
    picture = tmp_path / "kettle.jpg"
    draw("Enamel kettle", 0.6, Random(7)).save(picture)  # noqa: S311 - the same picture each time
    page.get_by_role("link", name="Products", exact=True).click()
    page.get_by_placeholder("Words of the name").fill("lamp")
    page.keyboard.press("Enter")
    expect(page.get_by_role("link", name="Wall lamp Façade")).to_be_visible()
    visitor.look("products")
    page.get_by_role("link", name="Add product").first.click()
    expect(page.get_by_label("SKU")).to_be_visible()
    visitor.look("product-add")
    page.get_by_label("Name").fill("Enamel kettle")
    page.get_by_label("Price").fill("39.50")
    page.get_by_label("Stock").fill("12")
    page.get_by_label("Add pictures").set_input_files(picture)
    page.get_by_role("button", name="Save and continue editing").click()
    expect(page.get_by_text("was added successfully")).to_be_visible()
    expect(page.get_by_label("Name")).to_have_value("Enamel kettle")
    visitor.look("product")

    page.get_by_text("Pictures", exact=True).first.click()
    expect(page.locator("img[src*='/media/']")).to_be_visible()
    visitor.look("product-pictures")
    # By the keyboard, as all of it can be done.
    page.get_by_role("button", name="Stock", exact=True).focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("link", name="The whole ledger")).to_be_visible()
    page.get_by_role("link", name="Correct stock").last.click()
    expect(page.get_by_text("What has happened")).to_be_visible()
    visitor.look("stock-correction")
    page.get_by_label("So many went out").check()
    page.get_by_label("Units").fill("13")
    page.get_by_label("Reason").fill("Two were dented")
    page.get_by_role("button", name="Correct stock").click()
    expect(page.get_by_text("-1 on hand would not be enough")).to_be_visible()
    page.get_by_label("Units").fill("2")
    page.get_by_role("button", name="Correct stock").click()
    expect(page.get_by_text("12 → 10 on hand, 10 for sale.")).to_be_visible()
    page.get_by_role("link", name="History").click()
    expect(page.get_by_text("Stock corrected")).to_be_visible()
    visitor.look("product-history")


def test_prices_of_several_products_change_at_once(visit: Visit) -> None:
    visitor = visit()
    page = visitor.log_in_to_staff_pages("catalog@example.com")
    visitor.go("/admin/products/product/?o=2")
    for number in range(3):
        page.locator("input.action-select").nth(number + 1).check()
    page.locator("select[name=action]").select_option("change_prices")
    page.get_by_role("button", name="Run").click()
    page.get_by_label("Change prices by").fill("-10")
    page.get_by_role("button", name="Show what would change").click()
    expect(page.get_by_role("button", name="Change 3 products")).to_be_visible()
    visitor.look("price-change")
    page.get_by_role("button", name="Change 3 products").click()
    expect(page.get_by_text("3 products were changed.")).to_be_visible()


def test_a_file_is_imported(visit: Visit, tmp_path: Path) -> None:
    visitor = visit()
    page = visitor.log_in_to_staff_pages("catalog@example.com")
    visitor.go("/admin/products/product/import/")
    visitor.look("import")
    file = tmp_path / "products.csv"
    file.write_text("sku,name,price,category\nIMP-1,Bread board,24.00,Kitchen\nIMP-2,,1,Kitchen\n")
    page.get_by_label("CSV file").set_input_files(file)
    page.get_by_role("button", name="Upload").click()
    expect(page.get_by_text("this is what the file would do")).to_be_visible(timeout=20_000)
    visitor.look("import-dry-run")
    page.get_by_role("button", name="Import for real").click()
    expect(page.get_by_text("imported.")).to_be_visible(timeout=20_000)
    expect(page.get_by_role("link", name="IMP-1")).to_be_visible()


def test_the_pages_speak_chinese(visit: Visit) -> None:
    visitor = visit(narrow=True)
    page = visitor.log_in_to_staff_pages("catalog@example.com")
    page.get_by_role("button", name="简体中文").click()
    expect(page.locator("html")).to_have_attribute("lang", "zh-hans")
    page.get_by_role("button", name="菜单").last.click()
    expect(page.get_by_role("link", name="商品", exact=True)).to_be_visible()
    page.get_by_role("link", name="商品", exact=True).click()
    page.get_by_placeholder("名称中的词").fill("lamp")
    page.keyboard.press("Enter")
    expect(page.get_by_role("link", name="Wall lamp Façade")).to_be_visible()
    visitor.look("products-narrow-chinese")
    page.get_by_role("link", name="Wall lamp Façade").click()
    expect(page.get_by_role("button", name="保存", exact=True)).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= page.evaluate("window.innerWidth")
