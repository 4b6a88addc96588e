"""`/metrics` of a whole shop: whichever process answers, it tells of all, and nothing is forgotten when one dies."""

import secrets
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import grpc
import psutil
import pytest

from grpc_api.gen import user_pb2, user_pb2_grpc
from tests.outage import remove_queues
from tests.scrape import Scrape, scrape
from tests.services import needs_redis
from tests.shop import Client, Shop, open_shop

pytestmark = [pytest.mark.e2e, pytest.mark.once]

PROMISED = {
    "http_requests_total": {"method", "endpoint", "status"},
    "http_request_duration_seconds_bucket": {"method", "endpoint", "le"},
    "http_request_duration_seconds_sum": {"method", "endpoint"},
    "http_request_duration_seconds_count": {"method", "endpoint"},
    "user_registrations_total": set(),
    "orders_total": set(),
    "db_connections_active": set(),
    "redis_commands_total": {"command"},
    "django_http_requests_before_middlewares_total": set(),
    "django_http_responses_before_middlewares_total": set(),
    "django_http_requests_latency_including_middlewares_seconds_count": set(),
    "grpc_server_handled_total": {"grpc_service", "grpc_method", "grpc_code"},
    "celery_tasks_total": {"task", "outcome"},
    "celery_task_duration_seconds_bucket": {"task", "le"},
    "outbox_depth": {"service"},
    "outbox_oldest_age_seconds": {"service"},
    "events_failed_deliveries": {"consumer", "state"},
    "broker_queue_messages": {"queue"},
    "reservations_total": {"outcome"},
    "payments_total": {"outcome"},
    "orders_refused_total": {"code"},
}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    redis_url, queues = needs_redis(), f"metrics-{secrets.token_hex(4)}-"
    servers = {"REDIS_URL": redis_url, "BROKER_URL": redis_url, "QUEUE_PREFIX": queues}
    try:
        with open_shop(tmp_path_factory.mktemp("shop"), **servers, WEB_WORKERS="2") as running:
            running.eventually(lambda: _has_begun(running))
            yield running
    finally:
        remove_queues(redis_url, queues)


@pytest.fixture(scope="module")
def admin(shop: Shop) -> Client:
    return shop.admin()


def test_whatever_is_promised_is_there_before_anything_has_happened(shop: Shop) -> None:
    found = scrape(shop.url)
    labels = {name: set(found.of(name)[0].labels) for name in PROMISED}
    assert labels == PROMISED
    for name in ("user_registrations_total", "orders_total", "reservations_total", "payments_total"):
        assert found.value(name) == 0
    assert found.value("orders_refused_total", code="out_of_stock") == 0


def test_each_web_process_tells_what_all_have_counted(shop: Shop, admin: Client) -> None:
    before = scrape(shop.url)
    lamp, customers = admin.product(stock=9), [shop.customer() for _ in range(6)]
    for number in range(12):
        # A connection each, so that both processes get some.
        customer = Client(shop.url)
        customer._session.headers["Authorization"] = f"Bearer {customers[number % 6].access_token}"
        assert customer.order(lamp).status_code == (201 if number < 9 else 409)
    expected = {
        ("user_registrations_total", ""): 6.0,
        ("orders_total", ""): 9.0,
        ("orders_refused_total", "out_of_stock"): 3.0,
        ("reservations_total", "held"): 9.0,
        ("reservations_total", "refused"): 3.0,
        ("http_requests_total", "201"): 9.0,
        ("http_requests_total", "409"): 3.0,
    }
    for _ in range(20):
        assert _gained(before, scrape(shop.url), expected) == expected
    assert len(_counting(shop)) == 2
    shop.eventually(lambda: scrape(shop.url).value("events_handled_total", consumer="orders.count_sales") >= 9)
    found = scrape(shop.url)
    # The relay and the workers have counted these.
    assert found.value("events_published_total", type="order.created") == 9
    assert found.value("celery_tasks_total", task="orders.count_sales", outcome="succeeded") >= 1


def test_grpc_counts_in_the_same_place(shop: Shop) -> None:
    token = shop.manage("issue_service_token", "crm", "--scope", "users:read").strip()
    with grpc.insecure_channel(f"127.0.0.1:{shop.environment['GRPC_PORT']}") as channel:
        stub = user_pb2_grpc.UserServiceStub(channel)
        with pytest.raises(grpc.RpcError, match="NOT_FOUND"):
            stub.GetUserByEmail(
                user_pb2.GetUserByEmailRequest(email="nobody@example.com"),
                metadata=(("authorization", f"Bearer {token}"),),
                timeout=20,
            )
    call = {"grpc_service": "user.UserService", "grpc_method": "GetUserByEmail"}
    shop.eventually(lambda: bool(scrape(shop.url).of("grpc_server_handled_total", **call, grpc_code="NOT_FOUND")))
    assert scrape(shop.url).value("grpc_server_handled_total", **call) == 1


def test_what_a_process_has_counted_outlives_it(shop: Shop) -> None:
    customer = shop.customer()
    before = scrape(shop.url)
    dead = _counting(shop)
    for process in dead:
        process.send_signal(signal.SIGKILL)
    psutil.wait_procs(dead, timeout=20)
    shop.eventually(lambda: _answers(customer))
    after = scrape(shop.url)
    counted = {
        (sample.name, *sample.labels.values()): sample.value
        for sample in before.samples
        if sample.name.endswith(("_total", "_count", "_sum", "_bucket"))
    }
    now = {(sample.name, *sample.labels.values()): sample.value for sample in after.samples}
    assert [key for key, value in counted.items() if now.get(key, 0) < value] == []
    assert after.value("user_registrations_total") == before.value("user_registrations_total") > 0


def _gained(before: Scrape, after: Scrape, keys: dict[tuple[str, str], float]) -> dict[tuple[str, str], float]:
    """How far counters have moved, by name and one of their labels."""
    labels = {
        "http_requests_total": ("status", {"endpoint": "/api/v1/orders", "method": "POST"}),
        "orders_refused_total": ("code", {}),
        "reservations_total": ("outcome", {}),
    }

    def value(found: Scrape, name: str, which: str) -> float:
        label, more = labels.get(name, ("", {}))
        wanted = {**more, label: which} if label else {}
        return sum(sample.value for sample in found.of(name, **wanted))

    return {key: value(after, *key) - value(before, *key) for key in keys}


def _has_begun(shop: Shop) -> bool:
    """The gRPC server, which is the last to start, has said what it offers."""
    return bool(scrape(shop.url).of("grpc_server_handled_total"))


def _counting(shop: Shop) -> list[psutil.Process]:
    """The web processes that have answered somebody: each has a file that says so."""
    found = []
    folder = Path(shop.environment["DATA_DIR"]) / "metrics" / "monolith"
    for process in shop.processes():
        with suppress(psutil.NoSuchProcess, FileNotFoundError):
            is_web = any("granian" in part for parent in process.parents() for part in parent.cmdline())
            if is_web and b"http_requests_total" in (folder / f"counter_{process.pid}.db").read_bytes():
                found.append(process)
    return found


def _answers(customer: Client) -> bool:
    with suppress(OSError):
        return customer.get("/users/profile").status_code == 200
    return False
