"""An order's way, from the first log-in to the last report."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import requests

from tests.blackbox.callers import Caller
from tests.blackbox.matching import ANYTHING, COUNT, ID, MONEY, SOMETHING, TIME, Mismatch, check, each, has, text
from tests.blackbox.stage import NOBODY, PAID, Stage

TRANSACTION = text("transaction", r"sandbox_[0-9a-f]{32}")


def item_of(key: str, quantity: int, price: str, total: str, **fields: object) -> dict[str, Any]:
    """A line of an order."""
    about = {"product_name": SOMETHING, "sku": SOMETHING, **fields}
    return {"id": ID, "product_id": key, "quantity": quantity, "price": price, "total": total, **about}


def payment_of(amount: str, status: str = "succeeded", **fields: object) -> dict[str, Any]:
    """What an order says of its payment."""
    about = {"method": "card", "amount": amount, "refunded_amount": "0.00", "status": status, "next_action": None}
    return {**about, "transaction_id": TRANSACTION, "paid_at": TIME, **fields}


def order_of(caller: Caller, total: str, *items: dict[str, Any], **fields: object) -> dict[str, Any]:
    """An order as the API shows one."""
    usual = {"id": ID, "number": SOMETHING, "user_id": caller.id, "status": "pending", "currency": "USD", "note": ""}
    money = {"subtotal": total, "total": total, "items": list(items), "shipping": None, "payment": None}
    return {**usual, **money, "created_at": TIME, "updated_at": TIME, **fields}


def page_of(*results: object, **links: object) -> dict[str, Any]:
    """A page of what only grows."""
    return {"next": None, "previous": None, "results": list(results), **links}


def lines(*wanted: tuple[str, int]) -> dict[str, Any]:
    """The body of an order of so many units of each product."""
    return {"items": [{"product_id": key, "quantity": quantity} for key, quantity in wanted]}


def the_walk_through(stage: Stage) -> None:
    """Section 8 of the contract, under a name of our own."""
    name = stage.name("testuser")
    account = {"username": name, "email": f"{name}@example.com", "password": "password123"}
    stage.guest.post("users/register", account).said(201)
    pair = stage.guest.post("users/login", {"email": account["email"], "password": "password123"}).said(200).body
    customer = stage.log_in("testuser", account["email"], "password123")
    check(pair["user"], customer.user, "the user")
    new = {"name": "Test Product", "price": 99.99, "stock": 100, "category": stage.name("Electronics")}
    customer.post("products", new).refused(403, "permission_denied")
    key = stage.catalog.post("products", new).said(201, has(price="99.99", stock=100))["id"]
    line = item_of(key, 1, "99.99", "99.99", product_name="Test Product")
    placed = order_of(customer, "99.99", line)
    order = customer.post("orders", lines((key, 1))).said(201, placed)
    paid = customer.post(f"orders/{order['id']}/pay", PAID)
    paid.said(200, {**placed, "id": order["id"], "status": "paid", "payment": payment_of("99.99")})
    level = {"product_id": key, "on_hand": 99, "reserved": 0, "available": 99}
    stage.eventually(lambda: stage.catalog.get(f"products/{key}/stock"), lambda answer: answer.body == level)
    actions = [
        "order.created",
        "order.paid",
        "user.logged_in",
        "user.logged_in",
        "user.registered",
        "user.verification_mailed",
    ]
    log = stage.eventually(
        lambda: customer.get("users/activity"), lambda answer: len(answer["results"]) == len(actions), is_noted=False
    )
    check(actions, sorted(line["action"] for line in log["results"]), "the activity log")


def placing_an_order(stage: Stage) -> None:
    one, two = stage.product(price="2.50", stock=10), stage.product(price="10.00", stock=10)
    shipping = {"name": "Ada", "address": "1 Road\nHouse", "city": "London", "country": "GB", "method": "express"}
    body = {**lines((one, 2), (two, 1), (one, 1)), "shipping": shipping, "note": "Ring twice.", "currency": "usd"}
    answer = stage.customer.post("orders", body)
    items = [item_of(one, 3, "2.50", "7.50"), item_of(two, 1, "10.00", "10.00")]
    sent = {"state": "", "zip_code": "", "cost": "15.00", "status": SOMETHING, **shipping}
    order = order_of(stage.customer, "32.50", *items, subtotal="17.50", shipping=sent, note="Ring twice.")
    answer.said(201, order, location=text("its address", rf"(https?://[^/]+)?/api/v1/orders/{answer['id']}"))
    for caller in (stage.customer, stage.clerk, stage.admin):
        caller.get(f"orders/{answer['id']}").said(200, answer.body)
    for caller in (stage.other, stage.catalog):
        caller.get(f"orders/{answer['id']}").refused(404, "order_not_found")
    stage.guest.get(f"products/{one}").said(200, has(stock=7))
    stage.guest.get(f"products/{two}").said(200, has(stock=9))
    stage.guest.post("orders", body).refused(401, "not_authenticated")


def orders_that_are_refused(stage: Stage) -> None:
    one, two = stage.product(stock=3), stage.product(stock=1)
    euro = stage.product(stock=3, currency="EUR")
    short = stage.customer.post("orders", lines((one, 4), (two, 2), (euro, 1)))
    short.refused_for(409, [("out_of_stock", f"items.{one}"), ("out_of_stock", f"items.{two}")])
    available = [problem["detail"] for problem in short["errors"]]
    if "3 available" not in available[0] or "1 available" not in available[1]:
        raise Mismatch(f"It is not told what is available: {available}")
    nothing = stage.customer.post("orders", lines((one, 1), (NOBODY, 1)))
    nothing.refused(404, "product_not_found", f"items.{NOBODY}")
    stage.customer.post("orders", lines((one, 1), (euro, 1))).refused(400, "currency_mismatch", "currency")
    good = lines((one, 1))
    wrong: tuple[tuple[dict[str, object], str, str], ...] = (
        ({}, "required", "items"),
        ({"items": []}, "empty", "items"),
        ({"items": [{"product_id": one}]}, "required", "items.0.quantity"),
        (lines((one, 0)), "min_value", "items.0.quantity"),
        (lines((one, -1)), "min_value", "items.0.quantity"),
        (lines(("lamp", 1)), "invalid", "items.0.product_id"),
        ({"items": [{"product_id": one, "quantity": 1, "price": 1}]}, "unknown_field", "items.0.price"),
        ({**good, "total": "1"}, "unknown_field", "total"),
        ({**good, "currency": "XXX"}, "unknown_currency", "currency"),
        ({**good, "currency": "EUR"}, "currency_mismatch", "currency"),
        ({**good, "shipping": {"method": "rocket"}}, "unknown_shipping_method", "shipping.method"),
        ({**good, "note": "x" * 1001}, "max_length", "note"),
    )
    for body, code, attr in wrong:
        stage.customer.post("orders", body).refused(400, code, attr)
    for key, stock in ((one, 3), (two, 1), (euro, 3)):
        stage.guest.get(f"products/{key}").said(200, has(stock=stock))


def an_order_is_placed_once_for_its_key(stage: Stage) -> None:
    key = stage.product(stock=10)
    header = {"Idempotency-Key": stage.name("key-")}
    body = lines((key, 2))
    first = stage.customer.post("orders", body, headers=header).said(201, idempotent_replayed=None)
    again = stage.customer.post("orders", body, headers=header)
    again.said(201, first.body, idempotent_replayed="true")
    stage.customer.post("orders", lines((key, 3)), headers=header).refused(422, "idempotency_key_reused")
    stage.other.post("orders", body, headers=header).said(201, has(user_id=stage.other.id), idempotent_replayed=None)
    stage.guest.get(f"products/{key}").said(200, has(stock=6))
    refused = {"Idempotency-Key": stage.name("key-")}
    for replayed in (None, "true"):
        answer = stage.customer.post("orders", lines((key, 7)), headers=refused)
        answer.refused(409, "out_of_stock", f"items.{key}").said(409, idempotent_replayed=replayed)
    for bad in ("", "x" * 256, "two words"):
        answer = stage.customer.post("orders", body, headers={"Idempotency-Key": bad})
        answer.refused(400, "invalid_idempotency_key")


def lists_of_orders(stage: Stage) -> None:
    person = stage.newcomer()
    orders = [stage.order(by=person), stage.paid(by=person), stage.order(by=person)]
    one, two, three = (has(id=key) for key in orders)
    person.get("orders").said(200, page_of(three, two, one))
    person.get("orders?status=paid").said(200, page_of(two))
    person.get("orders?status=lost").refused(400, "invalid_choice", "status")
    placed = person.get(f"orders/{orders[1]}")["created_at"]
    person.get(f"orders?from={placed}").said(200, page_of(three, two))
    person.get(f"orders?to={placed}").said(200, page_of(one))
    person.get("orders?from=yesterday").refused(400, "invalid", "from")
    first = person.get("orders?page_size=2").said(200, page_of(three, two, next=SOMETHING))
    rest = person.get(first["next"].partition("/api/v1/")[2]).said(200, page_of(one, previous=SOMETHING))
    person.get(rest["previous"].partition("/api/v1/")[2]).said(200, page_of(three, two, next=SOMETHING))
    for caller in (person, stage.clerk, stage.admin):
        caller.get(f"orders/user/{person.id}").said(200, page_of(three, two, one))
    for caller in (stage.other, stage.catalog):
        caller.get(f"orders/user/{person.id}").refused(404, "order_not_found")
    stage.clerk.get(f"orders/user/{NOBODY}").said(200, page_of())
    stage.clerk.get(f"orders/user/{person.id}?status=paid").said(200, page_of(two))
    # Others order, too.
    seen = stage.clerk.get(f"orders?page_size=3&from={placed}", is_noted=False)
    seen.said(200, page_of(next=ANYTHING, results=each(has(user_id=ID, number=SOMETHING)))).noted("orders of many")


def changing_an_order(stage: Stage) -> None:
    one, two = stage.product(price="2.00", stock=10), stage.product(price="3.00", stock=10)
    order = stage.order((one, 4))
    path = f"orders/{order}"
    placed = order_of(stage.customer, "8.00", item_of(one, 4, "2.00", "8.00"), id=order)
    stage.customer.patch(path, {"note": "Ring twice."}).said(200, {**placed, "note": "Ring twice."})
    changed = stage.customer.put(path, lines((one, 1), (two, 5)))
    items = [item_of(one, 1, "2.00", "2.00"), item_of(two, 5, "3.00", "15.00")]
    after = order_of(stage.customer, "17.00", *items, id=order, note="Ring twice.")
    changed.said(200, after)
    _stocks(stage, {one: 9, two: 5})
    stage.customer.patch(path, lines((two, 11))).refused(409, "out_of_stock", f"items.{two}")
    stage.customer.put(path, {"note": "x"}).refused(400, "required", "items")
    stage.customer.patch(path, {"items": None}).refused(400, "null", "items")
    stage.customer.patch(path, {"status": "paid"}).refused(400, "unknown_field", "status")
    for caller in (stage.other, stage.clerk, stage.admin):
        caller.patch(path, {"note": "mine"}).refused(404, "order_not_found")
    stage.customer.patch(f"orders/{NOBODY}", {"note": "x"}).refused(404, "order_not_found")
    stage.customer.get(path).said(200, after)
    _stocks(stage, {one: 9, two: 5})
    stage.customer.post(f"{path}/pay", PAID).said(200, has(total="17.00", status="paid"))
    stage.customer.patch(path, {"note": "late"}).refused(409, "invalid_transition")
    stage.customer.put(path, lines((one, 1))).refused(409, "invalid_transition")


def _stocks(stage: Stage, stocks: Mapping[str, int]) -> None:
    for key, stock in stocks.items():
        stage.guest.get(f"products/{key}").said(200, has(stock=stock))


def cancelling_an_order(stage: Stage) -> None:
    key = stage.product(stock=10)
    pending, paid, third = stage.order((key, 1)), stage.paid((key, 2)), stage.order((key, 3))
    for caller in (stage.other, stage.catalog):
        caller.delete(f"orders/{pending}").refused(404, "order_not_found")
        caller.post(f"orders/{pending}/cancel").refused(404, "order_not_found")
    stage.customer.delete(f"orders/{pending}").said(200, has(id=pending, status="cancelled", payment=None))
    stage.customer.delete(f"orders/{pending}").refused(409, "invalid_transition")
    stage.customer.post(f"orders/{pending}/pay", PAID).refused(409, "invalid_transition")
    cancelled = stage.clerk.post(f"orders/{paid}/cancel", {"reason": "no longer made"})
    refunded = payment_of("20.00", "refunded", refunded_amount="20.00")
    cancelled.said(200, has(id=paid, status="cancelled", payment=refunded))
    stage.customer.post(f"orders/{third}/cancel", {"reason": "x", "why": "y"}).refused(400, "unknown_field", "why")
    stage.customer.post(f"orders/{third}/cancel").said(200, has(id=third, status="cancelled"))
    stage.eventually(lambda: stage.guest.get(f"products/{key}"), lambda answer: answer["stock"] == 10)
    told = stage.customer.get(f"orders/{paid}/timeline").body
    check(["place", "pay", "cancel"], [entry["action"] for entry in told], "the timeline")
    check((stage.clerk.id, "no longer made"), (told[2]["actor_id"], told[2]["reason"]), "who cancelled it, and why")


def from_paid_to_delivered(stage: Stage) -> None:
    order = stage.order()
    path = f"orders/{order}"
    for move in ("ship", "deliver", "refund"):
        stage.clerk.post(f"{path}/{move}").refused(409, "invalid_transition")
    _stands(stage, order, "pending")
    stage.customer.post(f"{path}/pay", PAID).said(200)
    _stands(stage, order, "paid")
    stage.clerk.post(f"{path}/deliver").refused(409, "invalid_transition")
    stage.customer.post(f"{path}/ship").refused(403, "permission_denied")
    stage.clerk.post(f"{path}/ship", {"reason": "by post"}).said(200, has(id=order, status="shipped"))
    _stands(stage, order, "shipped")
    for again in ("ship", "cancel"):
        stage.clerk.post(f"{path}/{again}").refused(409, "invalid_transition")
    stage.customer.post(f"{path}/pay", PAID).refused(409, "invalid_transition")
    stage.admin.post(f"{path}/deliver").said(200, has(id=order, status="delivered"))
    _stands(stage, order, "delivered")
    stage.clerk.post(f"{path}/ship").refused(409, "invalid_transition")
    told = {"place": stage.customer, "pay": stage.customer, "ship": stage.clerk, "deliver": stage.admin}
    statuses = ("pending", "paid", "shipped", "delivered")
    entries = [
        {"sequence": number, "status": status, "action": action, "actor_id": caller.id, "at": TIME}
        for number, (status, (action, caller)) in enumerate(zip(statuses, told.items(), strict=True), 1)
    ]
    reasons = ["", "", "by post", ""]
    timeline = [{**entry, "reason": reason} for entry, reason in zip(entries, reasons, strict=True)]
    for caller in (stage.customer, stage.clerk):
        caller.get(f"{path}/timeline").said(200, timeline)
    stage.customer.get(f"{path}/timeline?after=2").said(200, timeline[2:])
    stage.customer.get(f"{path}/timeline?after=x").refused(400, "invalid", "after")


def _stands(stage: Stage, order: str, status: str) -> None:
    """Its status, for the owner and for staff; nobody else."""
    for caller in (stage.customer, stage.clerk):
        caller.get(f"orders/{order}/status").said(200, {"id": order, "status": status})
    stage.other.get(f"orders/{order}/status").refused(404, "order_not_found")


def an_order_that_is_none(stage: Stage) -> None:
    for path in ("", "/status", "/timeline", "/events", "/refunds"):
        stage.customer.get(f"orders/{NOBODY}{path}").refused(404, "order_not_found")
        stage.customer.get(f"orders/nothing{path}").refused(404, "not_found")
    stage.customer.post(f"orders/{NOBODY}/pay", PAID).refused(404, "order_not_found")
    stage.customer.post(f"orders/{NOBODY}/cancel").refused(404, "order_not_found")
    for move in ("ship", "deliver", "refund"):
        stage.clerk.post(f"orders/{NOBODY}/{move}").refused(404, "order_not_found")


def following_an_order_live(stage: Stage) -> None:
    order = stage.order()
    path = f"orders/{order}/events"
    stage.other.get(path).refused(404, "order_not_found")
    with stage.customer.follow(path) as stream:
        check((200, "text/event-stream"), (stream.status_code, stream.headers["Content-Type"]), "the stream")
        check("no-store", stream.headers["Cache-Control"], "the stream")
        told = _events(stream)
        _told(next(told), order, 1, "pending", "place", stage.customer)
        stage.customer.post(f"orders/{order}/pay", PAID).said(200)
        _told(next(told), order, 2, "paid", "pay", stage.customer)
        stage.clerk.post(f"orders/{order}/cancel", {"reason": "lost"}).said(200)
        _told(next(told), order, 3, "cancelled", "cancel", stage.clerk, "lost")
        check([], list(told), "after the end")
    with stage.customer.follow(path, **{"Last-Event-ID": "1"}) as stream:
        sequences = [json.loads(event["data"])["sequence"] for event in _events(stream)]
        check([2, 3], sequences, "what was missed")
    stage.customer.get(path, headers={"Last-Event-ID": "3"}).said(204, None, cache_control="no-store")


def a_stream_ends_with_its_session(stage: Stage) -> None:
    person = stage.newcomer()
    order = stage.order(by=person)
    with person.follow(f"orders/{order}/events") as stream:
        told = _events(stream)
        check("1", next(told)["id"], "the stream")
        person.delete("users/logout").said(204, None)
        check([], list(told), "after the log-out")


def _events(stream: requests.Response) -> Iterator[dict[str, str]]:
    """The events of a stream, as they come."""
    fields: dict[str, str] = {}
    for line in stream.iter_lines(chunk_size=1, decode_unicode=True):
        name, _, value = (line.decode() if isinstance(line, bytes) else line).partition(": ")
        if name:
            fields[name] = value
        elif "data" in fields:
            yield fields
            fields = {}


def _told(
    event: dict[str, str], order: str, sequence: int, status: str, action: str, actor: Caller, reason: str = ""
) -> None:
    check(("status", str(sequence)), (event["event"], event["id"]), "the event")
    about = {"order_id": order, "sequence": sequence, "status": status, "action": action, "actor_id": actor.id}
    check({**about, "reason": reason, "at": TIME}, json.loads(event["data"]), "the event")


def reports(stage: Stage) -> None:
    """Of sales in francs since a moment ago: nobody else's."""
    key = stage.product(price="10.00", stock=100, currency="CHF", name=stage.name("Franc "))
    first = stage.paid((key, 3))
    order = stage.customer.get(f"orders/{first}")
    since = order["created_at"]
    stage.order((key, 5))
    stage.clerk.post(f"orders/{first}/refund", {"amount": "4.00"}).said(200)
    query = f"from={since}&currency=CHF"
    sums = {"orders": 1, "units": 3, "amount": "30.00", "refunds": 1, "refunded_amount": "4.00", "net": "26.00"}
    total = {"currency": "CHF", **sums, "average_order": "30.00"}
    sales = stage.eventually(
        lambda: stage.clerk.get(f"orders/reports/sales?{query}"),
        lambda answer: [total] == answer["totals"],
    )
    row = {"period": SOMETHING, "starts_at": TIME, "ends_at": TIME, **total}
    about = {"from": since, "to": TIME, "tz": "UTC"}
    sales.said(200, {**about, "interval": "day", "totals": [total], "results": [row]})
    products = stage.clerk.get(f"orders/reports/products?{query}")
    sold = {"product_id": key, "name": order["items"][0]["product_name"], "sku": order["items"][0]["sku"]}
    sold = {**sold, "currency": "CHF", "orders": 1, "units": 3, "amount": "30.00"}
    check([sold], [{name: row[name] for name in sold} for row in products.said(200)["results"]], "the products")
    statuses = stage.clerk.get(f"orders/reports/status?{query}").said(200, {**about, "results": ANYTHING})
    counts = {row["status"]: row["orders"] for row in statuses["results"]}
    none = dict.fromkeys(("shipped", "delivered", "cancelled", "expired", "refunded"), 0)
    check({**none, "paid": 1, "pending": 1}, counts, "the orders by status")
    _sheets_and_refusals(stage, query)


def _sheets_and_refusals(stage: Stage, query: str) -> None:
    for name in ("sales", "products", "status"):
        path = f"orders/reports/{name}"
        sheet = stage.clerk.get(f"{path}?{query}", headers={"Accept": "text/csv"})
        disposition = text("a file's name", rf'attachment; filename="{name}\.csv"')
        kind = text("CSV", r"text/csv; ?charset=utf-8")
        sheet.said(200, text("rows", r".*CHF.*"), content_type=kind, content_disposition=disposition)
        stage.clerk.get(f"{path}?from=2020-02-01&to=2020-01-01").refused(400, "empty_span", "to")
        stage.clerk.get(f"{path}?from=soon").refused(400, "invalid", "from")
        stage.clerk.get(f"{path}?tz=Mars").refused(400, "unknown_zone", "tz")
        stage.clerk.get(f"{path}?from=1990-01-01&to=2020-01-01").refused(400, "span_too_long", "from")
    stage.clerk.get("orders/reports/sales?interval=hour").refused(400, "invalid_choice", "interval")
    empty = stage.clerk.get("orders/reports/sales?interval=month&from=1999-01-01&to=1999-02-28&currency=CHF")
    nothing = has(orders=0, units=0, amount=MONEY, net=MONEY, refunds=COUNT)
    empty.said(200, has(interval="month", results=[nothing, nothing]))


SCENARIOS = (
    the_walk_through,
    placing_an_order,
    orders_that_are_refused,
    an_order_is_placed_once_for_its_key,
    lists_of_orders,
    changing_an_order,
    cancelling_an_order,
    from_paid_to_delivered,
    an_order_that_is_none,
    following_an_order_live,
    a_stream_ends_with_its_session,
    reports,
)
