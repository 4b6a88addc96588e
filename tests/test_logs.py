"""Log lines: what every one says, what none says, and a line for every request."""

import io
import json
import logging
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
import time_machine
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.test import Client, RequestFactory
from django_guid import clear_guid, set_guid

from apps.common import logs
from apps.common.addresses import around
from apps.common.masking import is_masked, mask, mask_value
from apps.orders.tests.factories import make_product, pay, place
from apps.users.interface import Role
from apps.users.tests.factories import UserFactory
from config import services
from config.access_log import AccessLog
from grpc_api.gen import order_pb2
from grpc_api.gen.order_pb2_grpc import OrderServiceStub
from grpc_api.servers.orders import hosted
from grpc_api.tests.running import bearer, channel_to, person, refusal, serving
from tests.flow import LoggedIn, deliver_events, hang_up
from tests.lines import Lines, written

logger = logging.getLogger("tests")

JWT = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl"


def _fail(sentence: str) -> None:
    raise ValueError(sentence)


@pytest.fixture
def lines() -> Iterator[Lines]:
    with written() as kept:
        yield kept


class TestLines:
    def test_a_line_is_one_object_with_the_same_names_as_ever(self, lines: Lines) -> None:
        set_guid("cc42deb682904f0e9a510242ac120002")
        with time_machine.travel(datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC), tick=False):
            logger.warning("%s – grün", "one")
        clear_guid()
        (line,) = lines.all()
        assert list(line.items()) == [
            ("time", "2026-01-02T03:04:05.678+00:00"),
            ("level", "warning"),
            ("logger", "tests"),
            ("message", "one – grün"),
            ("request_id", "cc42deb682904f0e9a510242ac120002"),
        ]
        assert "grün" in lines.texts[0]

    def test_what_was_bound_is_said_until_its_work_is_done(self, lines: Lines) -> None:
        with logs.apart():
            logs.bind(user_id=1, order_id="a")
            with logs.saying({"order_id": "b"}):
                logger.warning("inside")
            logger.warning("after")
        logger.warning("outside")
        said = [(line["message"], line.get("user_id"), line.get("order_id")) for line in lines.all()]
        assert said == [("inside", "1", "b"), ("after", "1", "a"), ("outside", None, None)]

    def test_an_error_has_its_traceback_without_secrets(self, lines: Lines) -> None:
        try:
            _fail(f"Key (email)=(ada@example.com) exists; Authorization: Bearer {JWT}")
        except ValueError:
            logger.exception("It failed for %s", "ada@example.com")
        (line,) = lines.all()
        assert line["message"] == "It failed for ***"
        first, *_, last = line["traceback"].splitlines()
        assert first == "Traceback (most recent call last):"
        assert last == "ValueError: Key (email)=(***) exists; Authorization: *** ***"
        assert "example.com" not in lines.texts[0]
        assert "eyJ" not in lines.texts[0]

    def test_values_are_masked_by_their_names(self, lines: Lines) -> None:
        with logs.apart():
            logs.bind(phone="+49 30 1234", caller="crm")
            logger.warning("hello")
        (line,) = lines.all()
        assert (line["phone"], line["caller"]) == ("***", "crm")

    def test_people_read_text_in_no_colours_where_there_are_none(self) -> None:
        stream = io.StringIO()
        handler = logging.StreamHandler(stream)
        handler.setFormatter(logs.readable_lines())
        record = logging.LogRecord("tests", logging.ERROR, __file__, 1, "Broken for %s", ("a@example.com",), None)
        with logs.apart():
            logs.bind(order_id="0193")
            handler.emit(record)
        text = stream.getvalue()
        assert "Broken for ***" in text
        assert "order_id=0193" in text
        assert "error" in text
        assert "\x1b" not in text


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (f"Authorization: Bearer {JWT}", "Authorization: *** ***"),
        (f"a token {JWT} in a sentence", "a token *** in a sentence"),
        ("bearer 0123456789abcdef", "bearer ***"),
        ("Basic dXNlcjpwYXNz", "Basic ***"),
        ("password=hunter2 is wrong", "password=*** is wrong"),
        ("{'new_password': 'two words', 'a': 1}", "{'new_password': '***', 'a': 1}"),
        ('{"first_name": "Ada", "total": "9.99"}', '{"first_name": "***", "total": "9.99"}'),
        ("Cookie: sessionid=abc", "Cookie: ***"),
        ("GET /shop/reset?token=abc.def&next=/", "GET /shop/reset?token=***&next=/"),
        ("ada.lovelace+x@mail.example.co.uk wrote", "*** wrote"),
        ("postgres://shop:s3cret@db:5432/shop", "postgres://***@db:5432/shop"),
        ("redis://:s3cret@cache:6379/0", "redis://***@cache:6379/0"),
        ("card 4242 4242 4242 4242 was refused", "card *** was refused"),
        ("4242424242424242", "***"),
        ("5555-5555-5555-4444", "***"),
        ("No such payment method: 'pm_1AbCdEf'", "No such payment method: '***'"),
        ("key sk_live_51AbCdEf, whsec_c2VjcmV0", "key ***, ***"),
        ("Key (username, email)=(ada, ada@x.org) already exists.", "Key (username, email)=(***) already exists."),
        ("Failing row contains (1, Ada, 12 St James's Sq (rear)).", "Failing row contains (***)."),
    ],
)  # fmt: skip
def test_what_nobody_is_told(text: str, told: str) -> None:
    assert mask(text) == told


@pytest.mark.parametrize(
    "text",
    [
        "GET /api/v1/orders/01938d5e-7b1a-7c3e-9a51-0242ac120002/pay 200",
        "Redis does not answer (ConnectionError: Error 111 connecting to redis:6379. Connection refused.)",
        "Connected to redis://127.0.0.1:6379/9",
        "products.settle_reservation failed on event 01938d5e-7b1a-7c3e-9a51-0242ac120002",
        "order 260102-ABCD2345 of 1234567890123456, 99.99 USD",
        "trace 4bf92f3577b34da6a3ce929d0e0e4736, 2026-01-02T03:04:05.678+00:00",
    ],
)
def test_what_everybody_may_know(text: str) -> None:
    assert mask(text) == text


def test_names_of_secrets() -> None:
    secret = ["password", "X-Api-Key", "customer_email", "set-cookie", "stripe_secret", "phone", "card_number", "otp"]
    assert [name for name in secret if not is_masked(name)] == []
    assert [
        name for name in ("order_id", "user_id", "status", "path", "total", "server.address") if is_masked(name)
    ] == []
    nested = {"card": {"number": 1}, "items": [{"email": "a@b.org", "sku": "A"}], "token": "", "n": 3}
    assert mask_value("data", nested) == {"card": "***", "items": [{"email": "***", "sku": "A"}], "token": "", "n": 3}


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("203.0.113.77", "203.0.113.0/24"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1::/48"),
        ("::ffff:203.0.113.77", "203.0.113.0/24"),
        ("rubbish", ""),
        ("", ""),
    ],
)
def test_of_an_address_the_network_is_told(address: str, network: str) -> None:
    assert around(address) == network


def access(lines: Lines) -> list[dict[str, Any]]:
    """The lines of the access log, without what differs from run to run."""
    found = []
    for line in lines.of("access"):
        assert line.pop("duration_ms") >= 0
        assert line.pop("time").endswith("+00:00")
        found.append(line)
    return found


@pytest.mark.django_db
class TestRequests:
    def test_a_request_is_a_line(self, client: Client, lines: Lines) -> None:
        request_id = "cc42deb682904f0e9a510242ac120002"
        address = "/api/v1/products?search=ada@example.com&token=abc"
        answer = client.get(address, headers={"X-Request-ID": request_id}, REMOTE_ADDR="203.0.113.77")
        assert access(lines) == [
            {
                "level": "info", "logger": "access", "message": "GET /api/v1/products 200", "request_id": request_id,
                "method": "GET", "path": "/api/v1/products", "route": "/api/v1/products", "status": 200,
                "bytes": len(answer.content), "network": "203.0.113.0/24",
            }
        ]  # fmt: skip

    def test_who_watches_over_the_process_is_not_in_it(self, client: Client, lines: Lines) -> None:
        for path in ("/health", "/ready", "/accepting", "/metrics"):
            assert client.get(path).status_code == 200
        assert access(lines) == []

    def test_it_names_who_asked_and_the_next_line_does_not(
        self, client: Client, log_in: Callable[..., LoggedIn], lines: Lines
    ) -> None:
        customer: Any = log_in(Role.USER)
        staff = UserFactory(role=Role.ADMIN)
        assert customer.get("/api/v1/users/profile").status_code == 200
        assert client.get("/api/v1/products").status_code == 200
        client.force_login(staff)
        assert client.get("/admin/").status_code == 200
        users = [(line["path"], line.get("user_id")) for line in access(lines)]
        assert users == [
            ("/api/v1/users/profile", str(customer.user.pk)),
            ("/api/v1/products", None),
            ("/admin/", str(staff.pk)),
        ]

    @pytest.mark.parametrize("headers", [{}, {"HTTP_IDEMPOTENCY_KEY": "a"}])
    def test_it_names_the_order(self, log_in: Callable[..., LoggedIn], lines: Lines, headers: dict[str, str]) -> None:
        customer: Any = log_in(Role.USER)
        body = {"items": [{"product_id": str(make_product().id), "quantity": 1}]}
        order = customer.post("/api/v1/orders", body, format="json", **headers).json()
        assert customer.get(f"/api/v1/orders/{order['id']}/status").status_code == 200
        assert [(line["route"], line["order_id"]) for line in access(lines)] == [
            ("/api/v1/orders", order["id"]),
            ("/api/v1/orders/<uuid:order_id>/status", order["id"]),
        ]

    def test_what_is_refused_before_all_else_is_in_it(self, client: Client, lines: Lines) -> None:
        client.get("/a%0Ab/%41?password=x", headers={"Host": "elsewhere.example.com"})
        (line,) = access(lines)
        assert (line["message"], line["route"]) == ("GET /a%0Ab/A 400", "")

    def test_a_stream_is_a_line_when_it_has_ended(self, log_in: Callable[..., LoggedIn], lines: Lines) -> None:
        customer: Any = log_in(Role.USER)
        order = place(customer.user.pk, (make_product(), 1))
        stream = customer.get(f"/api/v1/orders/{order.id}/events")
        first = next(iter(stream.streaming_content))
        assert access(lines) == []
        hang_up(stream)
        (line,) = access(lines)
        assert (line["status"], line["bytes"], line["order_id"]) == (200, len(first), str(order.id))
        assert line["user_id"] == str(customer.user.pk)

    def test_lines_of_a_stream_are_its_requests(self, rf: RequestFactory, lines: Lines) -> None:
        def parts() -> Iterator[bytes]:
            logger.warning("on the way")
            yield b"one"

        def view(request: HttpRequest) -> HttpResponse:
            logs.bind(order_id="a")
            return StreamingHttpResponse(parts())  # type: ignore[return-value]

        response: Any = AccessLog(view)(rf.get("/x"))
        logger.warning("meanwhile")
        assert b"".join(response.streaming_content) == b"one"
        response.close()
        assert [(line["message"], line.get("order_id")) for line in lines.all()] == [
            ("meanwhile", None),
            ("on the way", "a"),
            ("GET /x 200", "a"),
        ]


@pytest.mark.django_db(transaction=True)
def test_a_call_is_a_line(lines: Lines) -> None:
    user_id, token = person()
    order_id = place(user_id, (make_product(), 1)).id
    lines.texts.clear()
    with serving(hosted(services.orders())) as address, channel_to(address) as channel:
        orders = OrderServiceStub(channel)
        request_id = ("x-request-id", "cc42deb682904f0e9a510242ac120002")
        orders.GetOrder(order_pb2.GetOrderRequest(order_id=str(order_id)), metadata=(*bearer(token), request_id))
        refusal(lambda: orders.GetOrder(order_pb2.GetOrderRequest(order_id=str(user_id)), metadata=bearer(token)))
        refusal(lambda: orders.GetOrder(order_pb2.GetOrderRequest(order_id=str(order_id))))
    first, second, third = access(lines)
    assert first == {
        "level": "info", "logger": "access", "message": "order.OrderService/GetOrder OK", "request_id": request_id[1],
        "user_id": str(user_id), "order_id": str(order_id), "method": "order.OrderService/GetOrder", "status": "OK",
        "network": "127.0.0.0/24",
    }  # fmt: skip
    assert (second["status"], second["order_id"]) == ("NOT_FOUND", str(user_id))
    assert (third["status"], "user_id" in third) == ("UNAUTHENTICATED", False)


@pytest.mark.django_db
def test_a_worker_names_its_task_and_what_the_event_is_about(monkeypatch: pytest.MonkeyPatch, lines: Lines) -> None:
    user = UserFactory()
    set_guid("cc42deb682904f0e9a510242ac120002")
    order = pay(place(user.pk, (make_product(), 1)))
    clear_guid()

    def mail(*_: object, **__: object) -> None:
        raise RuntimeError("no mail today")

    monkeypatch.setattr("apps.orders.tasks.order_mail", mail)
    deliver_events()
    line, *_ = lines.of("apps.events.consumer")
    assert line["message"].startswith("orders.mail_customer failed on event ")
    assert (line["task"], line["request_id"]) == ("orders.mail_customer", "cc42deb682904f0e9a510242ac120002")
    assert (line["order_id"], line["user_id"]) == (str(order.id), str(user.pk))
    assert json.loads(lines.texts[-1])["level"] in {"info", "error"}
