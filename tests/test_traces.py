"""Traces as a collector gets them: of a whole shop, from the gateway's first span to the stock that is deducted."""

import json
import secrets
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.otlp import Receiver, Span, Trace, receiving
from tests.outage import remove_queues
from tests.services import needs_redis, new_postgres_database
from tests.shop import PASSWORD, ROOT, Shop, open_shop
from tests.split import SplitShop, open_split

pytestmark = [pytest.mark.e2e, pytest.mark.once]

PAY = "POST /api/v1/orders/<uuid:order_id>/pay"
SETTLE = "process products.settle_reservation"
ALONE = (f"cartwright SERVER {PAY}", "cartwright PRODUCER publish order.paid", f"cartwright CONSUMER {SETTLE}")
GATEWAY = ("cartwright-gateway SERVER ingress", "cartwright-gateway CLIENT router orders egress")
PLACED = (
    "cartwright-orders SERVER POST /api/v1/orders",
    "cartwright-orders CLIENT product.ProductService/ReserveStock",
    "cartwright-products SERVER product.ProductService/ReserveStock",
)
PAID = (
    f"cartwright-orders SERVER {PAY}",
    "cartwright-orders PRODUCER publish order.paid",
    f"cartwright-products CONSUMER {SETTLE}",
)
EXTENDED = "cartwright-products SERVER product.ProductService/ExtendReservation"
# What the worker that writes mail asks of users.
ASKED = (
    "cartwright-orders CONSUMER process orders.mail_customer",
    "cartwright-orders CLIENT user.UserService/GetUser",
    "cartwright-users SERVER user.UserService/GetUser",
)


@pytest.fixture
def collector() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


@pytest.fixture
def queues() -> Iterator[Mapping[str, str]]:
    """A broker with queues of this test's own."""
    broker, prefix = needs_redis(), f"traces-{secrets.token_hex(4)}-"
    try:
        yield {"REDIS_URL": broker, "BROKER_URL": broker, "QUEUE_PREFIX": prefix}
    finally:
        remove_queues(broker, prefix)


def sending_to(url: str, protocol: str = "grpc") -> dict[str, str]:
    """What has a shop send its spans there, soon."""
    endpoint = {"OTEL_EXPORTER_OTLP_ENDPOINT": url, "OTEL_EXPORTER_OTLP_PROTOCOL": protocol}
    return {**endpoint, "OTEL_BSP_SCHEDULE_DELAY": "100", "LOG_FORMAT": "json"}


def trace_of(shop: Shop, collector: Receiver, *needed: str) -> Trace:
    """The trace of the first of these spans, once it has all of them: processes send theirs one after the other."""

    def found() -> Trace:
        (trace_id,) = {span.trace_id for span in collector.spans() if str(span) == needed[0]} or {""}
        return collector.trace(trace_id)

    shop.eventually(lambda: set(needed) <= {str(span) for span in found().spans}, seconds=60)
    return found()


def statements(trace: Trace, parent: Span) -> Sequence[str]:
    """What PostgreSQL was told for it."""
    below = [span for span in trace.below(parent) if span.attributes.get("db.system") == "postgresql"]
    assert {(span.service, span.kind) for span in below} <= {(parent.service, "CLIENT")}
    return [span.attributes["db.statement"] for span in below]


def log_of(shop: Shop) -> Sequence[dict[str, Any]]:
    """Lines of JSON in the log, without the name of the process before them."""
    texts = (line[line.find("{") :] for line in shop.log.read_text().splitlines() if '{"time"' in line)
    return [json.loads(text) for text in texts]


def test_one_order_through_envoy_is_one_trace_from_the_request_to_the_deduction(
    tmp_path: Path, collector: Receiver, queues: Mapping[str, str]
) -> None:
    with ExitStack() as stack:
        databases = {
            f"{service}_DATABASE_URL": stack.enter_context(new_postgres_database())
            for service in ("PRODUCTS", "ORDERS")
        }
        shop = stack.enter_context(open_split(tmp_path, **databases, **queues, **sending_to(collector.grpc_url)))
        admin = shop.admin()
        lamp, customer = admin.product(stock=5), shop.customer()
        placed = customer.order(lamp)
        paid = customer.pay(placed.json()["id"])
        assert (placed.status_code, paid.status_code) == (201, 200)
        shop.eventually(lambda: admin.stock(lamp) == (4, 0), seconds=60)

        check_placing(trace_of(shop, collector, *PLACED, *GATEWAY))
        trace = trace_of(shop, collector, *PAID, *GATEWAY, *ASKED, EXTENDED)
        check_paying(trace)
        check_lines(shop, trace, paid.headers["X-Request-ID"], placed.json()["id"])
        check_discretion(shop, collector, customer.access_token)


def check_placing(trace: Trace) -> None:
    request = trace.one("POST /api/v1/orders", "cartwright-orders")
    (server,) = [span for span in trace.spans if str(span) == PLACED[-1]]
    assert trace.path_to(server) == [*GATEWAY, *PLACED]
    assert trace.one("ingress", "cartwright-gateway").parent_id == ""
    assert not any(span.is_error for span in trace.spans)
    reserving = [text for text in statements(trace, server) if "products_reservation" in text]
    assert len(reserving) == 1
    recording = [text for text in statements(trace, request) if "orders_order" in text]
    assert len(recording) == 1
    assert "events_outboxevent" in recording[0]


def check_paying(trace: Trace) -> None:
    settled = trace.one(SETTLE, "cartwright-products")
    assert trace.path_to(settled) == [*GATEWAY, *PAID]
    assert trace.one("ingress", "cartwright-gateway").parent_id == ""
    assert any("UPDATE products_stocklevel" in text for text in statements(trace, settled))
    asked = trace.one("user.UserService/GetUser", "cartwright-users")
    assert trace.path_to(asked) == [*GATEWAY, *PAID[:2], *ASKED]


def check_lines(shop: SplitShop, trace: Trace, request_id: str, order_id: str) -> None:
    """Lines about a request say the id that the client was told, and the trace's: of workers too."""
    spans = {span.span_id: str(span) for span in trace.spans}
    lines = [line for line in log_of(shop) if line["request_id"] == request_id]
    assert {line["trace_id"] for line in lines} == {trace.spans[0].trace_id}
    assert request_id != trace.spans[0].trace_id
    said = {spans.get(line["span_id"], ""): line.get("order_id") for line in lines}
    assert (said[PAID[0]], said[EXTENDED]) == (order_id, order_id)
    assert ASKED[-1] in said


def check_discretion(shop: SplitShop, collector: Receiver, access_token: str) -> None:
    """Neither spans nor lines have anything of the customer's, nor any key."""
    sent = b"".join(collector.raw)
    assert b"cartwright-orders" in sent
    log = shop.log.read_bytes()
    for secret in (PASSWORD, access_token, access_token.rpartition(".")[2], "@example.com", "tok_visa", "eyJ"):
        assert secret.encode() not in sent
        assert secret.encode() not in log


def test_a_shop_in_one_process_tree_with_a_broker_and_what_it_does_when_the_collector_goes(
    tmp_path: Path, queues: Mapping[str, str]
) -> None:
    with ExitStack() as stack:
        going = stack.enter_context(ExitStack())
        collector = going.enter_context(receiving())
        sending = {**sending_to(collector.http_url, "http/protobuf"), "OTEL_EXPORTER_OTLP_TIMEOUT": "1"}
        shop = stack.enter_context(open_shop(tmp_path, **queues, **sending))
        admin = shop.admin()
        lamp, customer = admin.product(stock=5), shop.customer()
        assert customer.pay(customer.order(lamp).json()["id"]).status_code == 200
        trace = trace_of(shop, collector, *ALONE)
        assert trace.path_to(trace.one(SETTLE, "cartwright")) == list(ALONE)
        going.close()
        processes = len(shop.processes())
        for _ in range(3):
            assert customer.pay(customer.order(lamp).json()["id"]).status_code == 200
        shop.eventually(lambda: admin.stock(lamp) == (1, 0), seconds=60)
        gone = "The collector of traces does not answer"
        shop.eventually(lambda: gone in shop.log.read_text(), seconds=60)
        assert shop.stop() == 0
        lines = [line["message"] for line in log_of(shop) if line["level"] != "info"]
        # Once for each process, however often it has tried, and nothing besides.
        assert 0 < len([line for line in lines if line.startswith(gone)]) <= processes
        assert [line for line in lines if not line.startswith("The collector of traces")] == []


def test_a_shop_without_a_broker_sends_what_it_has_when_it_stops(tmp_path: Path, collector: Receiver) -> None:
    sending = {**sending_to(collector.grpc_url), "OTEL_BSP_SCHEDULE_DELAY": "3600000"}
    with open_shop(tmp_path, DATABASE_URL="", **sending) as shop:
        admin = shop.admin()
        lamp, customer = admin.product(stock=5), shop.customer()
        assert customer.pay(customer.order(lamp).json()["id"]).status_code == 200
        shop.eventually(lambda: admin.stock(lamp) == (4, 0), seconds=60)
        assert collector.spans() == []
        assert shop.stop() == 0
        trace = trace_of(shop, collector, *ALONE)
        assert trace.path_to(trace.one(SETTLE, "cartwright")) == list(ALONE)


LOADED = ("opentelemetry.sdk.trace", "opentelemetry.exporter", "opentelemetry.instrumentation")
PROGRAM = """
import sys
import django
django.setup()
from config import telemetry
from apps.common import tracing
from apps.common.tracing import Kind
telemetry.start()
with tracing.span("work", Kind.SERVER):
    print(tracing.traceparent()[-2:] or "none")
telemetry.stop()
print(*(part for part in sys.argv[1:] if part in sys.modules))
"""


def run(tmp_path: Path, **environment: str) -> Sequence[str]:
    """What the program prints, in an environment of its own."""
    shop = Shop(tmp_path, {"DJANGO_SETTINGS_MODULE": "config.settings.monolith", **environment})
    command = [sys.executable, "-c", PROGRAM, *LOADED]
    done = subprocess.run(
        command, cwd=ROOT, env=shop.environment, capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.split()


def test_without_a_collector_nothing_of_opentelemetry_is_loaded(tmp_path: Path) -> None:
    # (redis-py loads the SDK's metrics wherever it is installed; it does nothing with them.)
    assert run(tmp_path) == ["none"]


@pytest.mark.parametrize(("ratio", "flags", "sent"), [("0", "02", []), ("1", "03", ["work"])])
def test_the_share_that_is_recorded_is_a_setting(
    tmp_path: Path, collector: Receiver, ratio: str, flags: str, sent: list[str]
) -> None:
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.http_url, "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}
    assert run(tmp_path, OTEL_TRACES_SAMPLER_ARG=ratio, **environment) == [flags, *LOADED]
    assert [span.name for span in collector.spans()] == sent


def test_a_collector_that_hangs_keeps_no_process_from_stopping(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as hanging:
        url = f"http://127.0.0.1:{hanging.getsockname()[1]}"
        environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": url, "OTEL_EXPORTER_OTLP_TIMEOUT": "3600"}
        assert run(tmp_path, **environment, OTEL_SERVICE_NAME="any") == ["03", *LOADED]
