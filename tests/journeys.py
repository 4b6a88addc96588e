"""What every shop must be able to do, on whatever it runs."""

import secrets
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from tests.shop import Client, Shop


def walk_through(shop: Shop, admin: Client) -> None:
    """From registering to a paid order, as README prints it; then what follows by itself."""
    guest = Client(shop.url)
    account = {"username": "testuser", "email": "test@example.com", "password": "password123"}
    assert guest.post("/users/register", account).status_code == 201
    customer = guest.log_in("test@example.com", "password123")
    new = {"name": "Test Product", "price": 99.99, "stock": 100, "category": "Electronics"}
    assert customer.post("/products", new).status_code == 403
    product = admin.post("/products", new).json()
    assert (product["price"], product["category"], product["stock"]) == ("99.99", "Electronics", 100)
    order = customer.order(product["id"])
    assert order.status_code == 201
    assert len(order.headers["X-Request-ID"]) >= 32
    paid = customer.pay(order.json()["id"])
    assert (paid.status_code, paid.json()["status"], paid.json()["total"]) == (200, "paid", "99.99")
    shop.eventually(lambda: admin.stock(product["id"]) == (99, 0))
    shop.eventually(lambda: len(customer.get("/users/activity").json()["results"]) >= 3)
    shop.manage("audit")


def sixteen_buyers_of_fifty_lamps(shop: Shop, admin: Client) -> None:
    """A hundred orders at once for fifty lamps: fifty are placed, fifty refused."""
    lamp = admin.product(stock=50)
    customers = [shop.customer() for _ in range(16)]
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda number: customers[number % 16].order(lamp), range(100)))
    assert Counter(answer.status_code for answer in answers) == {201: 50, 409: 50}
    assert {answer.json()["errors"][0]["code"] for answer in answers if answer.status_code == 409} == {"out_of_stock"}
    assert admin.stock(lamp) == (50, 50)
    shop.manage("audit")


def import_and_find(shop: Shop, admin: Client) -> None:
    """A file of products in the background, found by searching when it is done, and bought until it is sold out."""
    word = f"gadget{secrets.token_hex(4)}"
    rows = [f"{word}-{number},{word} {number},{number}.50,1,Imported" for number in range(1, 151)]
    answer = admin.upload("/products/import", "\n".join(["sku,name,price,stock,category", *rows, f"{word}-x,,free,,"]))
    assert answer.status_code == 202, answer.text
    job = f"/products/imports/{answer.json()['id']}"
    shop.eventually(lambda: admin.get(job).json()["state"] == "finished", seconds=60)
    done = admin.get(job).json()
    assert (done["created"], done["failed"]) == (150, 1)
    guest = Client(shop.url)
    shop.eventually(lambda: guest.get(f"/products/search?q={word}").json()["count"] == 150)
    (first,) = guest.get(f"/products/search?q={word}+150&page_size=1").json()["results"]
    assert (first["name"], first["stock"], first["price"]) == (f"{word} 150", 1, "150.50")
    assert shop.customer().order(first["id"]).status_code == 201
    assert guest.get(f"/products/{first['id']}").json()["stock"] == 0
    assert shop.customer().order(first["id"]).json()["errors"][0]["code"] == "out_of_stock"
    shop.manage("audit")
