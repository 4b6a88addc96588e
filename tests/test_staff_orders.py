"""Order staff's pages: what they find, what they can do, who else cannot, and what is noted of it."""

import json
from io import BytesIO
from typing import Any
from uuid import UUID

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client
from pypdf import PdfReader
from pytest_django.fixtures import Settings

from apps.common.ids import new_id
from apps.orders.interface import SYSTEM, NewOrder, OrderStatus, ShippingAddress
from apps.orders.models import Order, SandboxCharge
from apps.orders.tests.factories import make_product, pay, place, ship
from apps.products.interface import StockLine
from apps.users.interface import Role
from apps.users.tests.factories import UserFactory
from config import services
from tests.flow import deliver_events, statements

pytestmark = pytest.mark.django_db

LIST = "/admin/orders/order/"
SCRIPT = "<script>alert(1)</script>"


@pytest.fixture
def clerk() -> Client:
    return client_of(Role.ORDER_STAFF)


def client_of(role: Role, **how: Any) -> Client:  # noqa: ANN401 - Django's options
    client = Client(**how)
    client.force_login(UserFactory(role=role))
    return client


def found(client: Client, query: str) -> set[UUID]:
    """The orders that the list shows."""
    page = client.get(f"{LIST}?{query}")
    assert page.status_code == 200
    return {order.pk for order in page.context["cl"].result_list}


def page_of(client: Client, order: Any) -> str:  # noqa: ANN401 - an order of the interface
    return str(client.get(f"{LIST}{order.id}/change/").content.decode())


def messages_of(answer: Any) -> list[str]:  # noqa: ANN401 - an answer of the test's client
    return [str(message) for message in answer.context["messages"]]


def noted(order: Any) -> list[dict[str, Any]]:  # noqa: ANN401 - an order of the interface
    """The log of the order: each action, with what was before and after."""
    entries = []
    for entry in LogEntry.objects.filter(object_id=str(order.id)).order_by("id"):
        (message,) = json.loads(entry.change_message)
        entries.append(message)
    return entries


def text_of(answer: Any) -> list[str]:  # noqa: ANN401 - an answer of the test's client
    """What each page of a PDF says."""
    assert answer["Content-Type"] == "application/pdf"
    return [page.extract_text() for page in PdfReader(BytesIO(answer.content)).pages]


class TestFinding:
    def test_by_number_customer_article_and_recipient(self, clerk: Client) -> None:
        user = UserFactory(email="Mona.Lisa@example.com")
        lamp = make_product(sku="LMP-1")
        order = place(user.pk, (lamp, 1), shipping=ShippingAddress(name="Zoë O'Hara", country="IE"))
        place(new_id(), (make_product(sku="MUG-1"), 1), shipping=ShippingAddress(name="Nobody Else"))
        _start, end = order.number.split("-")
        for text in (
            *(order.number, order.number.lower(), f" {order.number} ", f"%23{order.number}", end, end.lower()),
            *(end[-4:], order.number[:-2], str(user.pk), str(order.id), user.pk.hex),
            *("mona.lisa@example.com", "MONA.LISA@EXAMPLE.COM", "LMP-1", "lmp-1", "o'hara", "zoë o"),
        ):
            assert found(clerk, f"q={text}") == {order.id}, text
        for text in ("nobody@example.com", "LMP", "xyzzy", str(new_id()), "%25", "_____"):
            assert found(clerk, f"q={text}") == set(), text

    def test_by_filters(self, clerk: Client) -> None:
        lamp, cup = make_product(), make_product(price="900", currency="JPY")
        pending, paid, yen = place(new_id(), (lamp, 1)), pay(place(new_id(), (lamp, 1))), place(new_id(), (cup, 1))
        Order.objects.filter(pk=pending.id).update(created_at="2026-03-05T23:30:00Z")
        deliver_events()
        assert found(clerk, "status__exact=paid") == {paid.id}
        assert found(clerk, "status__exact=paid&status__exact=pending") == {pending.id, paid.id, yen.id}
        assert found(clerk, "currency__exact=JPY") == {yen.id}
        assert found(clerk, "payment=succeeded") == {paid.id}
        assert found(clerk, "payment=none") == {pending.id, yen.id}
        assert found(clerk, "payment=none&payment=succeeded") == {pending.id, paid.id, yen.id}
        assert found(clerk, "created_at_from=2026-03-05&created_at_to=2026-03-05") == {pending.id}
        assert found(clerk, "created_at_from=2026-03-06") == {paid.id, yen.id}
        assert found(clerk, "created_at_to=2026-03-04") == set()
        page = clerk.get(LIST).content.decode()
        assert ('value="JPY"' in page, 'value="EUR"' in page) == (True, False)

    def test_lists_count_nothing_and_ask_nothing_of_each_row(self, clerk: Client) -> None:
        lamp = make_product(stock=100)
        for path in (
            LIST,
            f"{LIST}?q=lamp",
            f"{LIST}?status__exact=paid&payment=succeeded",
            f"{LIST}?_facets=True",
            "/admin/orders/payment/",
        ):
            sent_before = None
            for _ in range(2):
                for _ in range(3):
                    pay(place(new_id(), (lamp, 1), shipping=ShippingAddress(name="Lampwick")))
                with statements() as sent:
                    assert clerk.get(path).status_code == 200
                assert not [statement for statement in sent if "COUNT(" in statement]
                assert sent_before in {None, len(sent)}
                sent_before = len(sent)
                assert len(sent) <= 12

    def test_one_can_leaf_through_all_of_them(self, clerk: Client) -> None:
        lamp = make_product(stock=100)
        placed = [place(new_id(), (lamp, 1)).id for _ in range(53)]
        assert (len(found(clerk, "p=1")), found(clerk, "p=2")) == (50, set(placed[:3]))
        assert 'href="?p=2"' in clerk.get(LIST).content.decode()


class TestSteps:
    @pytest.mark.parametrize(
        ("status", "allowed"),
        [
            ("pending", {"cancel"}),
            ("paid", {"ship", "refund", "cancel", "packing-slip.pdf", "invoice.pdf"}),
            ("shipped", {"deliver", "refund", "packing-slip.pdf", "invoice.pdf"}),
            ("delivered", {"refund", "packing-slip.pdf", "invoice.pdf"}),
            ("refunded", {"invoice.pdf"}),
            ("cancelled", {"invoice.pdf"}),
        ],
    )
    def test_an_order_offers_what_its_state_allows(self, clerk: Client, status: str, allowed: set[str]) -> None:
        order = (
            pay(place(new_id(), (make_product(), 1))) if status != "pending" else place(new_id(), (make_product(), 1))
        )
        Order.objects.filter(pk=order.id).update(status=status)
        page = page_of(clerk, order)
        every = {"ship/", "deliver/", "refund/", "cancel/", "packing-slip.pdf", "invoice.pdf"}
        offered = {each.strip("/") for each in every if f'href="{LIST}{order.id}/{each}"' in page}
        assert offered == allowed

    def test_shipping_notes_carrier_and_number(self, clerk: Client) -> None:
        order = pay(place(new_id(), (make_product(), 1)))
        asked = clerk.get(f"{LIST}{order.id}/ship/")
        assert (asked.status_code, Order.objects.get().status) == (200, "paid")
        given = {"carrier": "DHL", "tracking_number": "0034043", "note": "At the back door"}
        done = clerk.post(f"{LIST}{order.id}/ship/", given, follow=True)
        assert messages_of(done) == [f"Order {order.number} is shipped."]
        timeline = services.orders().get_timeline(order_id=order.id, actor=SYSTEM)
        assert [entry.action for entry in timeline] == ["place", "pay", "ship"]
        assert timeline[-1].reason == "DHL 0034043. At the back door"
        assert str(timeline[-1].actor_id) == clerk.session["_auth_user_id"]
        assert "DHL 0034043. At the back door" in done.content.decode()
        again = clerk.post(f"{LIST}{order.id}/ship/", given, follow=True)
        assert messages_of(again) == [f"Order {order.number}: The order is shipped; to ship it, it must be paid."]
        assert len(services.orders().get_timeline(order_id=order.id, actor=SYSTEM)) == 3

    def test_what_the_state_forbids_is_not_asked(self, clerk: Client) -> None:
        order = place(new_id(), (make_product(), 1))
        for name in ("ship", "deliver", "refund"):
            answer = clerk.get(f"{LIST}{order.id}/{name}/", follow=True)
            assert messages_of(answer) == [f"Order {order.number} is pending, so that this cannot be done to it."]
        for name in ("packing-slip.pdf", "invoice.pdf"):
            answer = clerk.get(f"{LIST}{order.id}/{name}", follow=True)
            assert messages_of(answer) == [f"Order {order.number} is pending: there is no such paper for it."]

    def test_a_text_that_is_too_long_is_said_and_nothing_is_done(self, clerk: Client) -> None:
        order = pay(place(new_id(), (make_product(), 1)))
        given = {"carrier": "D" * 60, "tracking_number": "0" * 80, "note": "x" * 200}
        answer = clerk.post(f"{LIST}{order.id}/ship/", given)
        assert "shorten the note" in answer.content.decode()
        assert Order.objects.get().status == "paid"

    def test_cancelling_says_what_is_paid_back(self, clerk: Client) -> None:
        order = pay(place(new_id(), (make_product(price="12.50"), 2)))
        assert (
            "25.00\N{NO-BREAK SPACE}USD go back to the customer"
            in clerk.get(f"{LIST}{order.id}/cancel/").content.decode()
        )
        assert SandboxCharge.objects.get().refunded_amount == 0
        clerk.post(f"{LIST}{order.id}/cancel/", {"note": "sold out"})
        assert (Order.objects.get().status, SandboxCharge.objects.get().refunded_amount) == ("cancelled", order.total)

    @pytest.mark.parametrize("action", ["cancel", "refund"])
    def test_several_orders_are_paid_back_after_a_question_only(self, clerk: Client, action: str) -> None:
        orders = [pay(place(new_id(), (make_product(), 1))) for _ in range(2)]
        data: dict[str, Any] = {"action": action, "_selected_action": [str(order.id) for order in orders]}
        asked = clerk.post(LIST, data)
        page = asked.content.decode()
        assert all(f'value="{order.id}"' in page for order in orders)
        assert {charge.refunded_amount for charge in SandboxCharge.objects.all()} == {0}
        clerk.post(LIST, {**data, "confirmed": "yes", "note": "recall"})
        assert {charge.refunded_amount for charge in SandboxCharge.objects.all()} == {orders[0].total}
        timeline = services.orders().get_timeline(order_id=orders[0].id, actor=SYSTEM)
        assert (timeline[-1].action, timeline[-1].reason) == (action, "recall")

    def test_money_is_paid_back_after_a_tick_only(self, clerk: Client) -> None:
        order = pay(place(new_id(), (make_product(), 1)))
        answer = clerk.post(f"{LIST}{order.id}/refund/", {"refund_id": str(new_id())})
        assert "Tick this to say that the money is to be paid back." in answer.content.decode()
        assert SandboxCharge.objects.get().refunded_amount == 0

    def test_nothing_is_done_for_another_site(self) -> None:
        client = client_of(Role.ORDER_STAFF, enforce_csrf_checks=True)
        order = pay(place(new_id(), (make_product(), 1)))
        for name in ("ship", "cancel", "refund"):
            data = {"refund_id": str(new_id()), "confirmed": "on"}
            assert client.post(f"{LIST}{order.id}/{name}/", data).status_code == 403
        assert client.post(LIST, {"action": "ship", "_selected_action": [str(order.id)]}).status_code == 403
        assert (Order.objects.get().status, str(SandboxCharge.objects.get().refunded_amount)) == ("paid", "0.000")

    def test_each_step_is_noted_with_what_was_before_and_after(self, clerk: Client) -> None:
        lamp = make_product(price="10.00")
        order, other = pay(place(new_id(), (lamp, 3))), place(new_id(), (lamp, 1))
        clerk.post(f"{LIST}{order.id}/ship/", {"carrier": "DHL"})
        clerk.post(f"{LIST}{order.id}/ship/", {"carrier": "DHL"})
        clerk.post(f"{LIST}{order.id}/deliver/", {})
        refund = {"refund_id": str(new_id()), "confirmed": "on", str(lamp.id): "1", "reason": "broken"}
        clerk.post(f"{LIST}{order.id}/refund/", refund)
        clerk.post(LIST, {"action": "cancel", "confirmed": "yes", "_selected_action": [str(other.id)]})
        shown = [json.dumps(entry, ensure_ascii=False).replace("\N{NO-BREAK SPACE}", " ") for entry in noted(order)]
        assert len(shown) == 3
        wanted = (
            ("Shipped", "paid", "shipped", "DHL"),
            ("Delivered", "shipped", "delivered"),
            ("Refunded", "0.00 USD", "10.00 USD", "broken"),
        )
        for entry, parts in zip(shown, wanted, strict=True):
            assert all(f'"{part}"' in entry for part in parts), entry
        (cancelled,) = noted(other)
        assert all(f'"{part}"' in json.dumps(cancelled) for part in ("Cancelled", "pending", "cancelled"))
        history = clerk.get(f"{LIST}{order.id}/history/")
        assert (history.status_code, "Shipped" in history.content.decode()) == (200, True)


class TestWhoMay:
    PAGES = ("", "reports/", "reports/sales.csv", "reports/products.csv", "reports/status.csv")
    OF_AN_ORDER = ("change/", "history/", "ship/", "deliver/", "cancel/", "refund/", "packing-slip.pdf", "invoice.pdf")
    OTHERS = (
        *("payment", "refund", "sandboxcharge", "ordersevent", "ordersinboxentry", "ordersfaileddelivery"),
        *("shopwebhookendpoint", "shopwebhookdelivery"),
    )

    @pytest.mark.parametrize(
        ("role", "status"), [(Role.ADMIN, 200), (Role.ORDER_STAFF, 200), (Role.CATALOG_STAFF, 403), (Role.USER, 302)]
    )
    def test_each_address(self, role: Role, status: int) -> None:
        order = pay(place(new_id(), (make_product(), 1)))
        client = client_of(role)
        addresses = [*(LIST + page for page in self.PAGES), *(f"/admin/orders/{page}/" for page in self.OTHERS)]
        addresses += [f"{LIST}{order.id}/{page}" for page in self.OF_AN_ORDER]
        answers = {address: client.get(address).status_code for address in addresses}
        # Not shipped yet, it cannot be delivered.
        if status == 200:
            assert answers.pop(f"{LIST}{order.id}/deliver/") == 302
        assert set(answers.values()) == {status}, answers

    @pytest.mark.parametrize(("role", "status"), [(Role.CATALOG_STAFF, 403), (Role.USER, 302)])
    def test_each_action(self, role: Role, status: int) -> None:
        order = pay(place(new_id(), (make_product(), 1)))
        client = client_of(role)
        for name in ("ship", "deliver", "cancel", "refund"):
            sure = {"refund_id": str(new_id()), "confirmed": "on"}
            assert client.post(f"{LIST}{order.id}/{name}/", sure).status_code == status
            chosen = {"action": name, "confirmed": "yes", "_selected_action": [str(order.id)]}
            assert client.post(LIST, chosen).status_code == status
        assert (Order.objects.get().status, LogEntry.objects.count()) == ("paid", 0)

    def test_order_staff_see_no_catalogue_and_nobody_an_order_that_is_not_there(self, clerk: Client) -> None:
        assert clerk.get("/admin/products/product/").status_code == 403
        assert clerk.get("/admin/users/user/").status_code == 403
        for key in (new_id(), "nonsense", "1"):
            assert clerk.get(f"{LIST}{key}/change/").status_code == 404
        for page in ("ship/", "refund/", "packing-slip.pdf"):
            assert clerk.get(f"{LIST}{new_id()}/{page}").status_code == 404

    def test_what_customers_write_is_shown_as_text(self, clerk: Client) -> None:
        lamp = make_product(name=f"Lamp {SCRIPT}")
        address = ShippingAddress(name=SCRIPT, address=SCRIPT, city=SCRIPT, country="US")
        new = NewOrder(lines=[StockLine(product_id=lamp.id, quantity=1)], shipping=address, note=SCRIPT)
        order = pay(services.orders().place_order(order_id=new_id(), user_id=new_id(), new=new))
        services.orders().ship_order(order_id=order.id, actor=SYSTEM, reason=SCRIPT)
        refund = {"refund_id": str(new_id()), "confirmed": "on", "amount": "1", "reason": SCRIPT}
        clerk.post(f"{LIST}{order.id}/refund/", refund)
        deliver_events()
        for path in ("", f"{order.id}/change/", f"{order.id}/refund/", f"{order.id}/history/", "reports/"):
            page = clerk.get(LIST + path).content.decode()
            assert SCRIPT not in page
            assert "&lt;script&gt;alert(1)" in page or "\\u003C" in page
        assert SCRIPT not in clerk.get("/admin/orders/refund/").content.decode()
        (slip,) = text_of(clerk.get(f"{LIST}{order.id}/packing-slip.pdf"))
        assert SCRIPT in slip.replace("\n", "")


class TestPapers:
    def test_a_slip_leaves_out_what_was_paid_back_and_stays_on_the_shelves(self, clerk: Client) -> None:
        lamp, vase = make_product(name="Lamp", stock=9), make_product(name="Vase", stock=9)
        order = pay(place(new_id(), (lamp, 3), (vase, 2)))
        deliver_events()
        back = [StockLine(lamp.id, 2), StockLine(vase.id, 2)]
        services.orders().refund_order(order_id=order.id, actor=SYSTEM, lines=back, restock=True)
        (slip,) = text_of(clerk.get(f"{LIST}{order.id}/packing-slip.pdf"))
        assert ("Lamp" in slip, "Vase" in slip, "Lines: 1. Units: 1." in slip) == (True, False, True)

    def test_a_slip_says_what_goes_where_and_no_price(self, clerk: Client, settings: Settings) -> None:
        settings.SHOP_NAME, settings.SHOP_ADDRESS = "Lamps & Co", "1 High Street\nLondon"
        lamp = make_product(name="落地灯 Łódź", sku="LMP-9", price="33.00")
        address = ShippingAddress(name="王小明", address="建国路 88 号", city="北京", country="CN")
        order = pay(place(new_id(), (lamp, 2), shipping=address))
        answer = clerk.get(f"{LIST}{order.id}/packing-slip.pdf")
        assert answer["Content-Disposition"] == f'attachment; filename="packing-slip-{order.number}.pdf"'
        (slip,) = text_of(answer)
        for text in (
            "Lamps & Co",
            "1 High Street",
            order.number,
            "王小明",
            "建国路 88 号",
            "落地灯 Łódź",
            "LMP-9",
            "Units: 2.",
        ):
            assert text in slip
        assert ("33" in slip.replace(order.number, ""), "66" in slip.replace(order.number, "")) == (False, False)

    def test_an_invoice_has_the_places_of_its_currency(self, clerk: Client) -> None:
        for currency, price, shown in (
            ("JPY", "1200", "2,400"),
            ("KWD", "1.250", "2.500"),
            ("USD", "1000.5", "2,001.00"),
        ):
            order = pay(place(new_id(), (make_product(price=price, currency=currency), 2)))
            (bill,) = text_of(clerk.get(f"{LIST}{order.id}/invoice.pdf"))
            assert f"{shown}\N{NO-BREAK SPACE}{currency}" in bill.replace(" ", "\N{NO-BREAK SPACE}")
            assert order.payment is not None
            assert order.payment.transaction_id in bill

    def test_an_invoice_says_what_was_paid_back(self, clerk: Client) -> None:
        order = pay(place(new_id(), (make_product(price="10.00"), 3)))
        services.orders().refund_order(order_id=order.id, actor=SYSTEM, amount=order.total / 3)
        (bill,) = text_of(clerk.get(f"{LIST}{order.id}/invoice.pdf"))
        bill = bill.replace("\N{NO-BREAK SPACE}", " ")
        assert ("-10.00 USD" in bill, "20.00 USD" in bill, "30.00 USD" in bill) == (True, True, True)

    def test_a_long_order_goes_on_over_the_page(self, clerk: Client) -> None:
        lines = [(make_product(name=f"Lamp number {number}"), 1) for number in range(60)]
        order = pay(place(new_id(), *lines))
        for paper in ("packing-slip.pdf", "invoice.pdf"):
            pages = text_of(clerk.get(f"{LIST}{order.id}/{paper}"))
            assert len(pages) > 1
            assert order.number in pages[1]
            assert all("Article" in page for page in pages)
            assert ["page 1" in pages[0], "page 2" in pages[1]] == [True, True]
            whole = "\n".join(pages)
            assert all(f"Lamp number {number}\n" in whole.replace("\r", "") + "\n" for number in range(60))

    def test_no_text_of_a_customer_keeps_a_paper_from_being_made(self, clerk: Client) -> None:
        order = pay(place(new_id(), (make_product(name="Lampe für \U0001f381 مرحبا"), 1)))
        shipping = {"name": "王" * 200, "address": "x\n" * 250, "city": "<b>&amp;\x0b\x1b", "state": "y" * 100}
        Order.objects.filter(pk=order.id).update(shipping=shipping, note="z\n" * 500)
        for paper in ("packing-slip.pdf", "invoice.pdf"):
            whole = "\n".join(text_of(clerk.get(f"{LIST}{order.id}/{paper}")))
            assert ("王王王" in whole, "x, x, x" in whole, "<b>&amp;" in whole) == (True, True, True)

    def test_slips_are_printed_for_the_paid_among_the_selected(self, clerk: Client) -> None:
        lamp = make_product(stock=20)
        paid = [pay(place(new_id(), (lamp, 1))) for _ in range(3)]
        pending, shipped = place(new_id(), (lamp, 1)), ship(pay(place(new_id(), (lamp, 1))))
        data: dict[str, Any] = {
            "action": "packing_slips",
            "_selected_action": [str(each.id) for each in (*paid, pending, shipped)],
        }
        pages = text_of(clerk.post(LIST, data))
        assert len(pages) == 3
        assert [order.number in page for order, page in zip(paid, pages, strict=True)] == [True] * 3
        assert all("page 1" in page for page in pages)
        data["_selected_action"] = [str(pending.id)]
        refused = clerk.post(LIST, data, follow=True)
        assert messages_of(refused) == ["None of the selected orders is paid and waits to be packed."]


class TestReports:
    def test_the_page_tells_what_the_service_counts(self, clerk: Client) -> None:
        lamp = make_product(name="Brass lamp", price="10.00")
        order = pay(place(new_id(), (lamp, 3)))
        place(new_id(), (lamp, 1))
        services.orders().refund_order(order_id=order.id, actor=SYSTEM, amount=order.total / 3)
        deliver_events()
        answer = clerk.get(f"{LIST}reports/")
        assert dict(answer.context["cards"]) == {
            "Sales": "30.00\N{NO-BREAK SPACE}USD",
            "Refunds": "10.00\N{NO-BREAK SPACE}USD",
            "Net": "20.00\N{NO-BREAK SPACE}USD",
            "Paid orders": "1",
            "Units": "3",
            "Average order": "30.00\N{NO-BREAK SPACE}USD",
        }
        page = answer.content.decode()
        assert ("Brass lamp" in page, "days begin at midnight in UTC" in page, "https://" in page) == (
            True,
            True,
            False,
        )
        states = {str(row["name"]): row["orders"] for row in answer.context["statuses"]}
        assert (states["paid"], states["pending"], states["shipped"]) == (1, 1, 0)
        for name, rows in (("sales", 31), ("products", 2), ("status", 8)):
            sheet = clerk.get(answer.context["files"][name])
            assert sheet["Content-Type"] == "text/csv; charset=utf-8"
            assert b"".join(sheet).count(b"\r\n") == rows

    def test_another_time_zone_currency_and_interval(self, clerk: Client) -> None:
        pay(place(new_id(), (make_product(price="900", currency="JPY"), 2)))
        deliver_events()
        query = "from=2026-01-01&to=2026-12-31&interval=month&currency=JPY&tz=Asia/Tokyo"
        answer = clerk.get(f"{LIST}reports/?{query}")
        assert len(answer.context["sales"]) == 12
        assert "in JPY; days begin at midnight in Asia/Tokyo" in answer.content.decode()

    @pytest.mark.parametrize(
        ("query", "error"),
        [
            ("from=2026-02-02&to=2026-02-01", "This is before the first day."),
            ("from=2010-01-01&to=2026-02-01", "A report is about ten years at most."),
            ("tz=Mars/Olympus", "There is no such time zone."),
            ("from=9999-12-31&to=9999-12-31", "There are no orders then."),
            ("from=0001-01-01&to=0001-01-02", "There are no orders then."),
            ("from=soon", "Enter a valid date."),
            ("currency=XXX", "Select a valid choice."),
        ],
    )
    def test_what_cannot_be_reported_is_said(self, clerk: Client, query: str, error: str) -> None:
        answer = clerk.get(f"{LIST}reports/?{query}")
        assert (answer.status_code, error in answer.content.decode()) == (200, True)
        assert clerk.get(f"{LIST}reports/sales.csv?{query}").status_code == 404

    def test_no_cell_of_a_file_is_a_formula(self, clerk: Client) -> None:
        pay(place(new_id(), (make_product(name="=HYPERLINK(A1)", sku="@SUM"), 1)))
        deliver_events()
        sheet = b"".join(clerk.get(f"{LIST}reports/products.csv")).decode()
        assert "'=HYPERLINK(A1)" in sheet
        assert ",=HYPERLINK" not in sheet
        assert clerk.get(f"{LIST}reports/secrets.csv").status_code == 404


def test_the_timeline_names_who_acted(clerk: Client) -> None:
    user = UserFactory(first_name="Ada", last_name="Byron", email="ada@example.com")
    order = pay(place(user.pk, (make_product(), 1)))
    stranger = place(new_id(), (make_product(), 1))
    page = page_of(clerk, order)
    assert ("Ada Byron" in page, "ada@example.com" in page, "Payment received" in page) == (True, True, True)
    assert f"/admin/users/user/{user.pk}/" not in page
    assert f"/admin/users/user/{user.pk}/" in page_of(client_of(Role.ADMIN), order)
    assert str(stranger.user_id) in page_of(clerk, stranger)
    assert OrderStatus(Order.objects.get(pk=order.id).status) == "paid"


def test_the_pages_speak_chinese(clerk: Client) -> None:
    order = pay(place(new_id(), (make_product(price="10.00"), 1)))
    clerk.defaults["HTTP_ACCEPT_LANGUAGE"] = "zh-CN,zh;q=0.9"
    for path, texts in (
        ("", ("已付款", "客户", "订单号、邮箱、收件人或 SKU")),
        (f"{order.id}/change/", ("时间线", "已收到付款", "小计", "装箱单")),
        (f"{order.id}/refund/", ("退还款项。此操作无法撤销。", "放回库存")),
        ("reports/", ("最畅销商品", "每日从时区 UTC 的零点开始")),
    ):
        page = clerk.get(LIST + path).content.decode()
        assert [text for text in texts if text not in page] == []
    (slip,) = text_of(clerk.get(f"{LIST}{order.id}/packing-slip.pdf"))
    assert ("装箱单" in slip, "第 1 页" in slip) == (True, True)
