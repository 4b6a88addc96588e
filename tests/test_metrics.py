"""What is counted, exactly: what has committed, once, under as many labels as there are and no more."""

import os
import secrets
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest
import redis
from django.db import connections, transaction
from django.test import Client
from django.utils import timezone
from prometheus_client import REGISTRY
from pytest_django import Settings

from apps.common.databases import alias_of, atomic, connection_of
from apps.common.errors import DomainError
from apps.common.ids import new_id
from apps.common.readings import Gauge, Reading, Sample
from apps.common.redis_pool import CautiousPool
from apps.events import readings as event_readings
from apps.events.models import FailedDelivery, OutboxEvent, PendingExport, WebhookDelivery, WebhookEndpoint
from apps.orders import readings as order_readings
from apps.orders.interface import SYSTEM, Actor, NewOrder, PaymentStatus
from apps.orders.models import Order, Payment
from apps.orders.tests.factories import confirm, make_product, pay, place
from apps.products import readings as product_readings
from apps.products.interface import StockLine
from apps.users.interface import Profile
from apps.users.interface import Role as UserRole
from config import connections as connection_readings
from config import metrics, services
from tests.flow import LoggedIn, deliver_events, let_pass
from tests.monitoring import RUNBOOKS, blocks
from tests.scrape import Scrape
from tests.services import needs_redis

USER = UUID("01938d5e-0000-7000-8000-000000000001")
committed = pytest.mark.django_db(transaction=True)


class Counts:
    """How far counters have moved since it was made."""

    def __init__(self) -> None:
        self._before = self._now()

    def moved(self, name: str) -> dict[str, float]:
        """By the values of their labels, those that have."""
        now = self._now()
        gone = {key: value - self._before.get(key, 0) for key, value in now.items() if key[0] == name}
        return {" ".join(labels): difference for (_, *labels), difference in gone.items() if difference}

    @staticmethod
    def _now() -> dict[tuple[str, ...], float]:
        return {
            (sample.name, *(sample.labels[label] for label in sorted(sample.labels))): sample.value
            for family in REGISTRY.collect()
            for sample in family.samples
        }


@pytest.fixture
def counts() -> Counts:
    return Counts()


def read(*readings: Reading) -> dict[str, dict[str, float]]:
    """Gauges by their names, then by the values of their labels."""
    found: dict[str, dict[str, float]] = {}
    for reading in readings:
        for sample in reading.read():
            found.setdefault(sample.gauge.name, {})[" ".join(sample.labels)] = sample.value
    return found


class TestRequests:
    @pytest.mark.once
    @pytest.mark.parametrize(
        ("method", "path", "status", "counted"),
        [
            ("GET", "/health", 200, "/health GET 200"),
            ("GET", "/", 200, "/ GET 200"),
            ("POST", "/health", 405, "/health POST 405"),
            ("BREW", "/health", 405, "/health OTHER 405"),
            ("GET", f"/api/v1/orders/{USER}", 401, "/api/v1/orders/<uuid:order_id> GET 401"),
            ("GET", "/media/no/such/file.png", 404, "/media/<path> GET 404"),
            ("GET", "/static/cartwright/site.css", 200, "/static/<path> GET 200"),
            ("GET", "/nothing/here", 404, "unknown GET 404"),
            ("GET", "/api/v1/nothing", 404, "unknown GET 404"),
            ("GET", "/health?%00", 400, "unrouted GET 400"),
        ],
    )
    def test_each_is_counted_under_the_template_of_its_address(
        self, client: Client, counts: Counts, method: str, path: str, status: int, counted: str
    ) -> None:
        response = client.generic(method, path)
        response.close()
        assert response.status_code == status
        assert counts.moved("http_requests_total") == {counted: 1}
        assert counts.moved("http_request_duration_seconds_count") == {counted.rpartition(" ")[0]: 1}

    @pytest.mark.once
    def test_a_thousand_addresses_that_nobody_has_are_one_label(self, client: Client, counts: Counts) -> None:
        for number in range(1000):
            kind = ("/{}", "/api/v1/{}", "/api/v1/products/{}/x", "/admin-{}")[number % 4]
            client.generic("GET" if number % 2 else secrets.token_hex(4).upper(), kind.format(secrets.token_hex(8)))
        assert counts.moved("http_requests_total") == {"unknown GET 404": 500, "unknown OTHER 404": 500}

    @pytest.mark.once
    def test_prometheus_may_ask_by_any_host_and_nobody_else(
        self, client: Client, settings: Settings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        settings.ALLOWED_HOSTS = ["shop.example.com"]
        monkeypatch.setattr(metrics, "_HOST", "shop.example.com")
        answers = {path: client.get(path, HTTP_HOST="10.1.2.3:8084") for path in ("/metrics", "/metrics/", "/health")}
        statuses = {path: answer.status_code for path, answer in answers.items()}
        assert statuses == {"/metrics": 200, "/metrics/": 400, "/health": 400}

    @pytest.mark.django_db
    def test_errors_of_ours_are_counted(self, client: Client, counts: Counts, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(**_: object) -> None:
            raise RuntimeError("of no interest")

        monkeypatch.setattr(services.products(), "get_product", fail)
        client.raise_request_exception = False
        assert client.get(f"/api/v1/products/{USER}").status_code == 500
        assert counts.moved("http_requests_total") == {"/api/v1/products/<uuid:product_id> GET 500": 1}


class TestOrders:
    @committed
    def test_an_order_counts_once_however_often_it_is_sent(
        self, log_in: Callable[..., LoggedIn], counts: Counts
    ) -> None:
        lamp, customer = make_product(stock=10), log_in(UserRole.USER)
        body = {"items": [{"product_id": str(lamp.id), "quantity": 1}]}
        for _ in range(3):
            assert customer.post("/api/v1/orders", body, HTTP_IDEMPOTENCY_KEY="one").status_code == 201
        assert counts.moved("orders_total") == {"": 1}
        # Past REST framework.
        assert customer.post("/api/v1/orders", body).status_code == 201
        assert counts.moved("orders_total") == {"": 2}
        assert counts.moved("reservations_total") == {"held": 2}
        assert counts.moved("http_requests_total")["/api/v1/orders POST 201"] == 4

    @committed
    def test_an_order_that_is_placed_again_under_its_id_counts_once(self, counts: Counts) -> None:
        lamp, order_id = make_product(stock=10), new_id()
        new = NewOrder(lines=[StockLine(product_id=lamp.id, quantity=1)])
        for _ in range(2):
            services.orders().place_order(order_id=order_id, user_id=USER, new=new)
        assert counts.moved("orders_total") == {"": 1}

    @committed
    def test_what_is_rolled_back_does_not_count(self, counts: Counts) -> None:
        lamp = make_product(stock=10)
        with atomic("orders"), atomic("products"):
            place(USER, (lamp, 1))
            for service in ("orders", "products"):
                transaction.set_rollback(True, using=alias_of(service))
        assert Order.objects.count() == 0
        assert [counts.moved(name) for name in ("orders_total", "reservations_total")] == [{}, {}]

    @committed
    def test_an_order_for_which_there_is_too_little_is_refused(self, counts: Counts) -> None:
        lamp = make_product(stock=1)
        with pytest.raises(DomainError):
            place(USER, (lamp, 2))
        assert counts.moved("orders_total") == {}
        assert counts.moved("orders_refused_total") == {"out_of_stock": 1}
        assert counts.moved("reservations_total") == {"refused": 1}

    @committed
    def test_what_becomes_of_orders_payments_and_stock(self, counts: Counts) -> None:
        lamp = make_product(stock=50)
        orders = [place(USER, (lamp, 1)) for _ in range(7)]
        pay(orders[0])
        for order, token in zip(orders[1:4], ("tok_declined", "tok_timeout", "tok_insufficient_funds"), strict=True):
            with pytest.raises(DomainError):
                pay(order, token)
        pay(orders[4], "tok_3ds")
        confirm(Payment.objects.get(order_id=orders[4].id).pk, "declined")
        services.orders().cancel_order(order_id=orders[5].id, actor=SYSTEM)
        services.orders().refund_order(order_id=orders[0].id, actor=Actor(user_id=USER, is_staff=True))
        let_pass(timedelta(minutes=5))
        services.orders().settle_open_orders()
        deliver_events()
        assert counts.moved("payments_total") == {
            "succeeded": 2,  # one of them late
            "declined": 2,
            "unknown": 1,
            "requires_action": 1,
            "not_confirmed": 1,
        }
        assert counts.moved("refunds_total") == {"succeeded": 1}
        assert counts.moved("order_transitions_total") == {"pay": 2, "fail_payment": 3, "cancel": 1, "refund": 1}
        assert counts.moved("reservations_total") == {
            "held": 7,
            "committed": 2,
            "released": 1,
            "returned": 1,
        }
        assert counts.moved("events_published_total")["order.created"] == 7
        handled = counts.moved("events_handled_total")
        # Placed, paid, cancelled, refunded; whose order it is hears of payments that failed, too.
        assert handled["orders.count_sales succeeded"] == 7 + 2 + 1 + 1
        assert handled["users.log_activity succeeded"] == 7 + 2 + 1 + 1 + 3
        assert counts.moved("celery_tasks_total")["succeeded orders.count_sales"] >= 1

    @committed
    def test_stock_that_is_held_past_its_time_has_expired(self, counts: Counts) -> None:
        lamp = make_product(stock=5)
        services.products().reserve_stock(
            order_id=new_id(), lines=[StockLine(product_id=lamp.id, quantity=1)], hold_for=timedelta(minutes=1)
        )
        let_pass(timedelta(minutes=2))
        assert services.products().release_expired_reservations() == 1
        assert counts.moved("reservations_total") == {"held": 1, "expired": 1}


@committed
def test_an_account_counts_when_it_is_there(counts: Counts) -> None:
    account = {"username": "ada", "email": "ada@example.com", "password": "correct horse 9"}
    services.users().register(**account, profile=Profile(first_name="Ada"))
    with pytest.raises(DomainError):
        services.users().register(**account, profile=Profile(first_name="Ada"))
    assert counts.moved("user_registrations_total") == {"": 1}


@pytest.mark.once
def test_commands_for_redis_are_counted_one_by_one_and_in_pipelines(counts: Counts) -> None:
    with redis.Redis(connection_pool=CautiousPool.from_url(needs_redis())) as client:
        client.get("nobody")
        with client.pipeline(transaction=False) as pipeline:
            pipeline.get("nobody").mget(["nobody", "at home"])
            pipeline.execute()
    moved = counts.moved("redis_commands_total")
    assert (moved["get"], moved["mget"]) == (2, 1)


class TestReadings:
    @pytest.mark.django_db
    def test_events_that_wait(self) -> None:
        alias = alias_of("orders")
        (outbox, failed, ways_out, *_) = (each for each in event_readings.READINGS if each.store == alias)
        (webhooks,) = (each for each in event_readings.READINGS if event_readings.WAITING in each.gauges)
        nothing = read(outbox, failed, ways_out, webhooks)
        assert nothing["outbox_depth"]["orders"] == nothing["outbox_oldest_age_seconds"]["orders"] == 0
        assert nothing["events_failed_deliveries"]["orders.mail_customer dead"] == 0
        assert nothing["webhook_endpoints"] == {"active": 0, "paused": 0, "off": 0}
        hour = timezone.now() - timedelta(hours=1)
        fields = {"type": "order.created", "source": "orders", "subject": new_id(), "sequence": 1, "data": {}}
        OutboxEvent.objects.using(alias).create(**fields, occurred_at=hour)
        OutboxEvent.objects.using(alias).create(**fields)
        event = OutboxEvent.objects.using(alias).create(**fields, published_at=hour)
        PendingExport.objects.using(alias).create(outlet="webhooks", event=event)
        kept = {"consumer": "orders.mail_customer", "type": "order.created", "message": {}, "error": "no"}
        for state in ("dead", "dead", "retrying", "resolved"):
            FailedDelivery.objects.using(alias).create(**kept, event_id=new_id(), state=state)
        endpoint = WebhookEndpoint.objects.using(alias).create(url="https://example.com", state="paused")
        WebhookDelivery.objects.using(alias).create(endpoint=endpoint, event_id=new_id(), type="order.created", body="")
        found = read(outbox, failed, ways_out, webhooks)
        assert found["outbox_depth"]["orders"] == 2
        assert 3600 <= found["outbox_oldest_age_seconds"]["orders"] < 3700
        assert 3600 <= found["events_unconfirmed_oldest_age_seconds"][alias] < 3700
        dead, retrying = (f"orders.mail_customer {state}" for state in ("dead", "retrying"))
        assert (found["events_failed_deliveries"][dead], found["events_failed_deliveries"][retrying]) == (2, 1)
        assert found["events_pending_exports"][f"{alias} webhooks"] == 1
        assert found["webhook_endpoints"] == {"active": 0, "paused": 1, "off": 0}
        assert found["webhook_deliveries_waiting"] == {"": 1}

    @pytest.mark.django_db
    def test_what_orders_and_stock_have_left_open(self) -> None:
        lamp = make_product(stock=10)
        late, waiting = place(USER, (lamp, 1)), place(USER, (lamp, 1))
        pay(waiting, "tok_3ds")
        with pytest.raises(DomainError):
            pay(place(USER, (lamp, 1)), "tok_timeout")
        hour = timezone.now() - timedelta(hours=1)
        Order.objects.filter(pk=late.id).update(expires_at=hour)
        Payment.objects.filter(status=PaymentStatus.UNKNOWN).update(created_at=hour)
        found = read(*order_readings.READINGS, *product_readings.READINGS)
        assert found["orders_overdue"] == {"": 1}
        assert 3600 <= found["orders_overdue_oldest_age_seconds"][""] < 3700
        assert found["payments_open"] == {"processing": 0, "unknown": 1, "requires_action": 1}
        assert found["payments_open_oldest_age_seconds"]["processing"] == 0
        assert 3600 <= found["payments_open_oldest_age_seconds"]["unknown"] < 3700
        assert found["refunds_open"] == {"processing": 0, "unknown": 0}
        assert (found["reservations_active"], found["reservations_overdue"]) == ({"": 3}, {"": 0})
        let_pass(timedelta(hours=2))
        found = read(*product_readings.READINGS)
        # What is being paid for is held for longer.
        assert found["reservations_overdue"] == {"": 1}
        assert found["reservations_overdue_oldest_age_seconds"][""] > 3600

    @committed
    def test_connections(self) -> None:
        (reading,) = (each for each in connection_readings.READINGS if each.store == alias_of("orders"))
        connection = connections[reading.store]
        connection.ensure_connection()
        before = read(reading)["db_connections_active"][""]
        opened, done = threading.Event(), threading.Event()

        def connect() -> None:
            connections[reading.store].ensure_connection()
            opened.set()
            done.wait(20)
            connections.close_all()

        thread = threading.Thread(target=connect)
        thread.start()
        assert opened.wait(20)
        try:
            if connection.vendor == "postgresql":
                # Others come and go on this server, but not in this database.
                assert read(reading)["db_server_connections"][reading.store] >= before + 1
            assert read(reading)["db_connections_active"][""] == before + 1
        finally:
            done.set()
            thread.join()


@pytest.mark.postgresql
@pytest.mark.django_db
def test_what_runbooks_ask_a_database_can_be_asked() -> None:
    statements = [statement for file in sorted(RUNBOOKS.glob("*.md")) for statement in blocks(file, "sql")]
    assert len(statements) > 5
    for statement in statements:
        service = "products" if "products_" in statement else "orders"
        with connection_of(service).cursor() as cursor:
            cursor.execute(statement)


class TestStores:
    """Whatever a store does, `/metrics` answers."""

    GAUGE = Gauge("lamps", "Lamps.", ("colour",))

    @pytest.fixture
    def gate(self) -> Iterator[threading.Event]:
        opened = threading.Event()
        yield opened
        opened.set()

    @staticmethod
    def collected(stores: metrics.Stores) -> dict[str, float]:
        return {
            " ".join((sample.name, *sample.labels.values())): sample.value
            for family in stores.collect()
            for sample in family.samples
        }

    @pytest.mark.once
    def test_one_that_is_away_or_hangs_is_said_to_be_down_and_the_others_are_read(self, gate: threading.Event) -> None:
        def hang() -> list[Sample]:
            gate.wait(60)
            return [self.GAUGE.of(9, "blue")]

        def fail() -> list[Sample]:
            raise OSError("away")

        stores = metrics.Stores(
            [
                Reading("good", [self.GAUGE], lambda: [self.GAUGE.of(2, "red")]),
                Reading("also good", [self.GAUGE], lambda: [self.GAUGE.of(3, "red")]),
                Reading("hanging", [self.GAUGE], hang),
                Reading("away", [self.GAUGE], fail),
            ]
        )
        up = {"store_up good": 1, "store_up also good": 1, "store_up hanging": 0, "store_up away": 0}
        assert self.collected(stores) == {**up, "lamps red": 5}
        assert self.collected(stores) == {**up, "lamps red": 5}

    @pytest.mark.once
    def test_what_was_read_is_remembered_for_a_while(self) -> None:
        calls: list[int] = []

        def count() -> list[Sample]:
            calls.append(1)
            return [self.GAUGE.of(len(calls), "red")]

        stores = metrics.Stores([Reading("good", [self.GAUGE], count)])
        assert [self.collected(stores)["lamps red"] for _ in range(3)] == [1, 1, 1]


@pytest.mark.once
def test_gauges_of_processes_that_are_gone_are_forgotten_and_their_counts_are_not(tmp_path: Path) -> None:
    count = (
        "from grpc_api.metrics import BREAKER_STATE, CALLED; "
        "BREAKER_STATE.labels('products').set(2); CALLED.labels('product.ProductService', 'GetProduct', 'OK').inc()"
    )
    show = (
        "import django; django.setup(); from django.test import Client; "
        "print(Client(HTTP_HOST='localhost').get('/metrics').content.decode())"
    )
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path), "DATA_DIR": str(tmp_path)}

    def run(program: str) -> str:
        command = [sys.executable, "-c", program]
        return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout

    for _ in range(2):
        run(count)
    found = Scrape([run(show)])
    assert found.of("circuit_breaker_state") == []
    assert found.value("grpc_client_handled_total", grpc_method="GetProduct") == 2
