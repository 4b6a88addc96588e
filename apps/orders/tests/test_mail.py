"""What customers find in their mailbox."""

from collections.abc import Callable
from dataclasses import replace
from io import StringIO
from pathlib import Path
from uuid import UUID

import pytest
from celery import current_app
from django.core.mail import EmailMultiAlternatives
from django.core.management import CommandError, call_command
from pytest_django import Settings

from apps.common.databases import alias_of
from apps.common.ids import new_id
from apps.events.envelope import Event
from apps.events.models import FailedDelivery, OutboxEvent
from apps.orders import events
from apps.orders.interface import SYSTEM, Order, OrderChange, ShippingAddress
from apps.orders.mail import MAILED, order_mail
from apps.orders.models import Order as OrderRow
from apps.orders.tests.factories import make_product, pay, place, ship
from apps.products.interface import StockLine
from apps.users.interface import Profile
from config import services
from tests.flow import deliver_events

pytestmark = pytest.mark.django_db


DELIVERED_ADVICE = "If it has not reached you, or something is wrong with it, please write to us."


@pytest.fixture
def customer() -> UUID:
    profile = Profile(first_name="Ada")
    return (
        services.users()
        .register(username="ada", email="ada@example.com", password="correct horse 9", profile=profile)
        .id
    )


@pytest.fixture
def order(customer: UUID) -> Order:
    return place(customer, (make_product(name="Brass lamp", price="1000.00"), 2), (make_product(name="Vase"), 1))


def told(order: Order, kind: str) -> Event:
    """The order's event of this kind; that of a partial refund as it is published."""
    rows = OutboxEvent.objects.using(alias_of("orders")).filter(subject=order.id)
    if kind != events.REFUND_COMPLETED:
        return rows.get(type=kind).to_event()
    event = rows.get(type=events.CREATED).to_event()
    lines = [{"product_id": str(order.items[1].product_id), "quantity": 1}]
    refund = {"refund_id": str(new_id()), "amount": "10.00", "lines": lines, "restock": True}
    return replace(event, id=new_id(), type=kind, data={**event.data, "refund": refund})


def deliver(*happened: Event) -> None:
    messages = [event.to_message() for event in happened]
    current_app.tasks["orders.mail_customer"].apply_async(args=(messages,))


def _pay(order: Order) -> None:
    pay(order)


def _ship(order: Order) -> None:
    ship(pay(order))


def _deliver(order: Order) -> None:
    _ship(order)
    services.orders().deliver_order(order_id=order.id, actor=SYSTEM)


def _cancel(order: Order) -> None:
    services.orders().cancel_order(order_id=order.id, actor=SYSTEM)


def _expire(order: Order) -> None:
    OrderRow.objects.filter(pk=order.id).update(expires_at="2020-01-01T00:00:00Z")
    assert services.orders().expire_orders() == 1


def _refund(order: Order) -> None:
    _pay(order)
    services.orders().refund_order(order_id=order.id, actor=SYSTEM)


@pytest.mark.parametrize(
    ("kind", "act", "subject", "sentences"),
    [
        (
            "order.created",
            lambda _: None,
            "Your order {}",
            "thank you for your order {}.\n\nIt is reserved for you until it is paid or its time to pay is over.",
        ),
        (
            "order.paid",
            _pay,
            "Payment received for order {}",
            "we have received your payment for order {}.\n\nIt will be on its way soon.",
        ),
        (
            "order.shipped",
            _ship,
            "Your order {} is on its way",
            "your order {} has left us.\n\nIt will be with you soon.",
        ),
        (
            "order.delivered",
            _deliver,
            "Your order {} was delivered",
            "your order {} was delivered.\n\n" + DELIVERED_ADVICE,
        ),
        (
            "order.cancelled",
            _cancel,
            "Your order {} was cancelled",
            "your order {} was cancelled.",
        ),
        (
            "order.expired",
            _expire,
            "Your order {} was not paid in time",
            "your order {} was not paid in time, so we have given the goods back.\n\nYou can order again at any time.",
        ),
        (
            "order.refunded",
            _refund,
            "Your order {} was refunded",
            "your order {} was refunded.\n\nYou get back 2,010.00 USD, the way you paid.",
        ),
        (
            "refund.completed",
            _pay,
            "A refund for order {}",
            (
                "we have paid back a part of your order {}.\n\nYou get back 10.00 USD, the way you paid.\n\n"
                "For:\n  1 × Vase"
            ),
        ),
    ],
)
def test_each_step_is_told(
    order: Order,
    mailoutbox: list[EmailMultiAlternatives],
    kind: str,
    act: Callable[[Order], None],
    subject: str,
    sentences: str,
) -> None:
    act(order)
    event = told(order, kind)
    deliver(event)
    (mail,) = mailoutbox
    assert (mail.to, mail.subject) == (["ada@example.com"], subject.format(order.number))
    assert mail.body == (
        f"Hello Ada,\n\n{sentences.format(order.number)}\n\n"
        f"Order {order.number}, {event.timestamp:%-d %B %Y}\n\n"
        "  2 × Brass lamp: 2,000.00 USD\n  1 × Vase: 10.00 USD\n\n"
        "Total: 2,010.00 USD\n\nCartwright\nshop@example.com\n"
    )
    ((page, media_type),) = mail.alternatives
    assert media_type == "text/html"
    for sentence in sentences.format(order.number).split("\n\n")[:2]:
        assert sentence in str(page)
    assert ("2 × Brass lamp" in str(page), "2,010.00 USD" in str(page)) == (True, True)


def test_every_mail_is_tested() -> None:
    (mark,) = (mark for mark in test_each_step_is_told.pytestmark if mark.name == "parametrize")  # type: ignore[attr-defined]
    assert {case[0] for case in mark.args[1]} == MAILED


def test_the_customer_is_written_to_once_for_each_step(order: Order, mailoutbox: list[EmailMultiAlternatives]) -> None:
    _refund(order)
    deliver_events()
    deliver(told(order, "order.created"), told(order, "order.paid"))
    assert [mail.subject for mail in mailoutbox] == [
        "Is this your e-mail address?",
        f"Your order {order.number}",
        f"Payment received for order {order.number}",
        f"Your order {order.number} was refunded",
    ]


def test_a_mail_that_is_sent_twice_is_known_as_one(order: Order) -> None:
    event = told(order, "order.created")
    first, again = (order_mail(event, to="ada@example.com", name="Ada").message() for _ in range(2))
    assert first["Message-ID"] == again["Message-ID"] == f"<{event.id}@example.com>"
    assert first["Auto-Submitted"] == "auto-generated"
    assert first.get_content_type() == "multipart/alternative"


def test_a_mail_tells_how_things_stood(order: Order, mailoutbox: list[EmailMultiAlternatives]) -> None:
    change = OrderChange(lines=[StockLine(product_id=order.items[1].product_id, quantity=5)])
    services.orders().change_order(order_id=order.id, actor=SYSTEM, change=change)
    deliver(told(order, "order.created"))
    assert "2 × Brass lamp" in str(mailoutbox[0].body)
    assert mailoutbox[0].subject == f"Your order {order.number}"


HOSTILE = "<script>alert(1)</script>\r\nBcc: victim@example.com"


def test_hostile_names_do_no_harm(order: Order) -> None:
    event = told(order, "order.created")
    item = {**event.data["items"][0], "product_name": HOSTILE}
    event = replace(event, data={**event.data, "number": f"1{HOSTILE}", "items": [item]})
    mail = order_mail(event, to="ada@example.com", name="Ada\n<b>")
    one_line = "<script>alert(1)</script> Bcc: victim@example.com"
    assert mail.subject == f"Your order 1{one_line}"
    assert mail.message()["Bcc"] is None
    assert str(mail.body).startswith("Hello Ada <b>,\n")
    assert f"2 × {one_line}: 2,000.00 USD" in str(mail.body)
    page = str(mail.alternatives[0][0])
    assert "<script" not in page
    assert "Hello Ada &lt;b&gt;," in page
    assert "2 × &lt;script&gt;alert(1)&lt;/script&gt; Bcc" in page


@pytest.mark.parametrize("name", ["evil.example", "https://evil", "mail me@evil", "www.evil.example/win"])
def test_a_name_that_is_a_link_is_left_out(order: Order, name: str) -> None:
    mail = order_mail(told(order, "order.created"), to="ada@example.com", name=name)
    assert str(mail.body).startswith("Hello,\n")
    assert "evil" not in str(mail.body) + str(mail.alternatives[0][0])


def test_a_name_with_a_full_stop_stays(order: Order) -> None:
    mail = order_mail(told(order, "order.created"), to="ada@example.com", name="J. R.")
    assert str(mail.body).startswith("Hello J. R.,\n")


@pytest.fixture
def own_templates(settings: Settings, tmp_path: Path) -> Path:
    """The folder of a shop, as TEMPLATES_DIR names one."""
    (configured,) = settings.TEMPLATES
    settings.TEMPLATES = [{**configured, "DIRS": [tmp_path, *configured["DIRS"]]}]
    folder = tmp_path / "orders" / "mail"
    folder.mkdir(parents=True)
    return folder


def test_a_shop_replaces_what_it_wants_to(own_templates: Path, order: Order) -> None:
    (own_templates / "order.created.subject.txt").write_text("{{ shop.name }} sagt danke\n")
    (own_templates / "order.created.txt").write_text("{{ order.items.0.product_name }} & {{ name }}")
    mail = order_mail(told(order, "order.created"), to="ada@example.com", name="O'Ada")
    assert (mail.subject, mail.body) == ("Cartwright sagt danke", "Brass lamp & O'Ada")
    assert "thank you for your order" in str(mail.alternatives[0][0])


def test_the_shop_signs(settings: Settings, order: Order) -> None:
    settings.SHOP_NAME, settings.SHOP_ADDRESS = "Lamps & Co", "1 High Street, London"
    settings.SUPPORT_EMAIL = "help@lamps.example"
    mail = order_mail(told(order, "order.created"), to="ada@example.com", name="Ada")
    assert str(mail.body).endswith("\nLamps & Co\n1 High Street, London\nhelp@lamps.example\n")
    assert "Lamps &amp; Co, 1 High Street, London" in str(mail.alternatives[0][0])
    assert mail.reply_to == ["help@lamps.example"]


def test_shipping_that_costs_something_is_listed(customer: UUID) -> None:
    order = place(customer, (make_product(), 1), shipping=ShippingAddress(method="express"))
    mail = order_mail(told(order, "order.created"), to="ada@example.com", name="Ada")
    assert "Shipping: 15.00 USD\nTotal: 25.00 USD\n" in str(mail.body)


def test_of_other_events_nobody_is_written(order: Order, mailoutbox: list[EmailMultiAlternatives]) -> None:
    event = told(order, "order.created")
    deliver(replace(event, id=new_id(), type="order.updated"), replace(event, id=new_id(), type="order.invented"))
    assert mailoutbox == []
    assert not FailedDelivery.objects.using(alias_of("orders")).exists()


def test_nobody_is_written_to_who_has_no_account(mailoutbox: list[EmailMultiAlternatives]) -> None:
    place(new_id(), (make_product(stock=100), 1))
    deliver_events()
    assert mailoutbox == []


def test_a_mail_server_that_is_away_is_tried_again(customer: UUID, settings: Settings) -> None:
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", 9
    place(customer, (make_product(stock=100), 1))
    deliver_events()
    failure = FailedDelivery.objects.using(alias_of("orders")).get(consumer="orders.mail_customer")
    assert failure.state == "retrying"
    assert failure.error.startswith("ConnectionRefusedError")


def test_every_mail_can_be_looked_at(tmp_path: Path, mailoutbox: list[EmailMultiAlternatives]) -> None:
    call_command("preview_mails", "--to", str(tmp_path / "new"), stdout=StringIO())
    assert {path.name for path in (tmp_path / "new").iterdir()} == {
        f"{kind}.{suffix}" for kind in MAILED for suffix in ("txt", "html")
    }
    text = (tmp_path / "new" / "refund.completed.txt").read_text()
    assert text.startswith("Subject: A refund for order 250101-7F3K9QXA\n\nHello Ada,\n")
    assert mailoutbox == []


def test_a_broken_template_is_one_clear_line(own_templates: Path, tmp_path: Path) -> None:
    (own_templates / "order.paid.txt").write_text("{% if %}")
    with pytest.raises(CommandError, match=r"^A template of the mail order\.paid cannot be read: "):
        call_command("preview_mails", "--to", str(tmp_path / "new"), stdout=StringIO())


def test_a_folder_that_cannot_be_written_is_one_clear_line() -> None:
    with pytest.raises(CommandError, match=r"^/dev/null/mails cannot be written: "):
        call_command("preview_mails", "--to", "/dev/null/mails", stdout=StringIO())
