"""From a committed event to somebody else's server."""

import base64
import hashlib
import hmac
import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from ipaddress import ip_network
from unittest.mock import patch
from uuid import UUID

import pytest
import time_machine
from cloudevents.core.formats.json import JSONFormat
from django.core import mail
from django.db import DatabaseError, connections
from django.db.models import F
from django.utils import timezone
from pytest_django.fixtures import Settings
from standardwebhooks import Webhook

from apps.common.databases import alias_of, all_aliases, atomic
from apps.events import audit, outlets
from apps.events.envelope import Fact
from apps.events.exporting import export_all
from apps.events.models import OutboxEvent, PendingExport, WebhookDelivery, WebhookEndpoint
from apps.events.outbox import publish
from apps.events.relay import relay_batch
from apps.events.tasks import clean_webhooks
from apps.events.tests.receiver import Message, Receiver, receiver
from apps.events.webhooks import endpoints, rows, sending
from apps.events.webhooks.interface import EndpointChange, EndpointStopped, EndpointWithSecret, InvalidEndpoint
from tests.flow import sends

pytestmark = pytest.mark.django_db

SUBJECT = UUID("01938d5e-0000-7000-8000-000000000009")
DAY = timedelta(days=1)


@pytest.fixture(autouse=True)
def _allowed(settings: Settings) -> None:
    settings.WEBHOOK_ALLOW_HTTP = True
    settings.WEBHOOK_ALLOWED_NETWORKS = [ip_network("127.0.0.0/8")]
    settings.EVENT_SUBSCRIBERS = {
        "test.one": [],
        "test.two": [],
        "import.requested": [],
        "webhook.stopped": ["orders.mail_webhook_owner"],
    }


@pytest.fixture
def server() -> Iterator[Receiver]:
    with receiver() as opened:
        yield opened


def register(server: Receiver, *types: str) -> EndpointWithSecret:
    return endpoints.create_endpoint(url=server.url, types=types, owner_email="owner@example.com")


def tell(kind: str, *sequences: int, service: str = "orders") -> None:
    """Publish facts about one subject, and relay them."""
    with atomic(service):
        publish(service, *(Fact(type=kind, subject=SUBJECT, sequence=each, data={"n": each}) for each in sequences))
    relay()


def relay() -> None:
    for alias in all_aliases():
        while relay_batch(alias):
            pass


def states() -> list[str]:
    return list(rows.deliveries().order_by("id").values_list("state", flat=True))


def numbers(server: Receiver) -> list[int]:
    return [json.loads(message.body)["data"]["n"] for message in server.messages]


def failing(_: Message) -> tuple[int, str]:
    return 503, "not now"


def verify_by_hand(message: Message, secret: str) -> bool:
    """The reference algorithm of Standard Webhooks."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = f"{message.headers['webhook-id']}.{message.headers['webhook-timestamp']}.".encode() + message.body
    expected = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    passed = [each.partition(",") for each in message.headers["webhook-signature"].split(" ")]
    return any(version == "v1" and hmac.compare_digest(given, expected) for version, _, given in passed)


def let_pass(time: timedelta) -> timedelta:
    """Let that much time pass for what waits: it goes by the database's clock, which no test can turn."""
    rows.deliveries().update(next_attempt_at=F("next_attempt_at") - time)
    rows.endpoints().update(available_at=F("available_at") - time, failing_since=F("failing_since") - time)
    for alias in all_aliases():
        PendingExport.objects.using(alias).update(available_at=F("available_at") - time)
    return time


def come_due() -> timedelta | None:
    """Let time pass until something is due again, for the endpoint as well as for the delivery."""
    first = rows.deliveries().filter(state="waiting").order_by("next_attempt_at").first()
    if first is None:
        return None
    due = max(first.next_attempt_at, rows.endpoints().get(pk=first.endpoint_id).available_at)
    return let_pass(due - timezone.now() + timedelta(milliseconds=10))


def test_an_event_arrives_signed_as_a_cloud_event(server: Receiver) -> None:
    endpoint = register(server)
    tell("test.one", 7)
    export_all()
    (message,) = server.messages
    event = OutboxEvent.objects.using(rows.home()).get()
    assert message.path == "/hooks"
    assert message.headers["content-type"] == "application/cloudevents+json"
    assert message.headers["webhook-id"] == str(event.id)
    assert Webhook(endpoint.secret).verify(message.body, message.headers)["data"] == {"n": 7}
    assert verify_by_hand(message, endpoint.secret)
    assert not verify_by_hand(message, "whsec_" + base64.b64encode(b"x" * 32).decode())
    arrived = JSONFormat().read(None, message.body)
    assert arrived.get_attributes() == {
        "specversion": "1.0",
        "id": str(event.id),
        "source": "/cartwright/orders",
        "type": "test.one",
        "subject": str(SUBJECT),
        "time": event.occurred_at,
        "datacontenttype": "application/json",
        "sequence": "0000000007",
        "dataversion": "1",
        "traceparent": event.traceparent,
    }
    delivery = rows.deliveries().get()
    assert (delivery.state, delivery.attempts, delivery.status_code, delivery.error) == ("delivered", 1, 204, "")
    assert delivery.body.encode() == message.body


def test_a_receiver_that_fails_five_times_gets_each_event_in_the_end(server: Receiver) -> None:
    endpoint = register(server)
    attempts: dict[str, int] = {}

    def answer(message: Message) -> tuple[int, str]:
        event_id = message.headers["webhook-id"]
        attempts[event_id] = attempts.get(event_id, 0) + 1
        return (204, "") if attempts[event_id] > 5 else failing(message)

    server.answer = answer
    tell("test.one", 1, 2, 3)
    export_all()
    while come_due() is not None:
        server.messages.clear()
        sending.send_due()
        for message in server.messages:
            assert Webhook(endpoint.secret).verify(message.body, message.headers)
            assert verify_by_hand(message, endpoint.secret)
    assert states() == ["delivered"] * 3
    assert attempts == {str(each.event_id): 6 for each in rows.deliveries()}
    assert set(rows.deliveries().values_list("attempts", "status_code", "response")) == {(6, 204, "")}
    assert rows.endpoints().get().failures == 0


def test_each_endpoint_gets_the_types_that_it_wants_once(server: Receiver) -> None:
    all_types, one_type = register(server), register(server, "test.two")
    tell("test.one", 1)
    tell("test.two", 2)
    tell("import.requested", 3)
    export_all()
    export_all()
    assert numbers(server) == [1, 2, 2] or sorted(numbers(server)) == [1, 2, 2]
    assert set(rows.deliveries().values_list("endpoint_id", "type")) == {
        (all_types.id, "test.one"),
        (all_types.id, "test.two"),
        (one_type.id, "test.two"),
    }


def test_events_of_every_service_arrive(server: Receiver) -> None:
    register(server)
    for number, service in enumerate(("users", "products", "orders")):
        tell("test.one", number, service=service)
    export_all()
    assert sorted(numbers(server)) == [0, 1, 2]
    assert not any(PendingExport.objects.using(alias).exists() for alias in all_aliases())


def test_what_was_relayed_twice_is_delivered_once(server: Receiver) -> None:
    register(server)
    tell("test.one", 1)
    export_all()
    OutboxEvent.objects.using(rows.home()).update(published_at=None, available_at=timezone.now())
    relay()
    export_all()
    assert numbers(server) == [1]
    assert states() == ["delivered"]


def test_a_process_that_dies_half_way_loses_nothing(server: Receiver) -> None:
    register(server)
    alias, outlet = rows.home(), outlets.make("webhooks")
    tell("test.one", 1)
    killed = pytest.raises(KeyboardInterrupt)
    with patch("django.db.models.query.QuerySet.delete", side_effect=KeyboardInterrupt), killed:
        outlets.export_batch(alias, "webhooks", outlet)
    # Its lease lasts a minute.
    assert outlets.export_batch(alias, "webhooks", outlet) == 0
    let_pass(timedelta(seconds=61))
    assert outlets.export_batch(alias, "webhooks", outlet) == 1
    with patch("apps.events.webhooks.sending._settle", side_effect=KeyboardInterrupt), killed:
        sending.send_due()
    sending.send_due()
    assert (numbers(server), states()) == ([1], ["waiting"])
    let_pass(timedelta(seconds=61))
    sending.send_due()
    assert (numbers(server), states()) == ([1, 1], ["delivered"])
    first, second = (message.headers["webhook-id"] for message in server.messages)
    assert first == second


@pytest.mark.parametrize("off", [timedelta(hours=1), timedelta(hours=-1)])
class TestAClockThatIsWrong:
    """Of one process at a time."""

    def test_of_the_relay(self, server: Receiver, off: timedelta) -> None:
        register(server)
        with time_machine.travel(timezone.now() + off):
            tell("test.one", 1)
        export_all()
        assert (numbers(server), states()) == ([1], ["delivered"])

    def test_of_who_sends(self, server: Receiver, off: timedelta) -> None:
        register(server)
        server.answer = failing
        tell("test.one", 1)
        with time_machine.travel(timezone.now() + off):
            export_all()
        assert numbers(server) == [1]
        server.answer = lambda _: (204, "")
        sending.send_due()
        assert numbers(server) == [1]
        let_pass(timedelta(seconds=6))
        sending.send_due()
        assert (numbers(server), states()) == ([1, 1], ["delivered"])

    def test_of_who_died_half_way(self, server: Receiver, off: timedelta) -> None:
        register(server)
        alias, outlet = rows.home(), outlets.make("webhooks")
        tell("test.one", 1)
        with (
            time_machine.travel(timezone.now() + off),
            patch("django.db.models.query.QuerySet.delete", side_effect=KeyboardInterrupt),
            pytest.raises(KeyboardInterrupt),
        ):
            outlets.export_batch(alias, "webhooks", outlet)
        assert outlets.export_batch(alias, "webhooks", outlet) == 0
        let_pass(timedelta(seconds=61))
        assert outlets.export_batch(alias, "webhooks", outlet) == 1
        with (
            time_machine.travel(timezone.now() + off),
            patch("apps.events.webhooks.sending._settle", side_effect=KeyboardInterrupt),
            pytest.raises(KeyboardInterrupt),
        ):
            sending.send_due()
        sending.send_due()
        assert numbers(server) == [1]
        let_pass(timedelta(seconds=61))
        sending.send_due()
        assert (numbers(server), states()) == ([1, 1], ["delivered"])


def test_who_registers_late_gets_what_comes_after(server: Receiver) -> None:
    tell("test.one", 1)
    register(server)
    tell("test.one", 2)
    export_all()
    assert numbers(server) == [2]


def test_in_order_and_a_failure_ends_the_turn(server: Receiver) -> None:
    register(server)
    server.answer = lambda message: failing(message) if b'"n": 3' in message.body else (204, "")
    tell("test.one", 1, 2, 3, 4, 5)
    export_all()
    assert numbers(server) == [1, 2, 3]
    assert states() == ["delivered", "delivered", "waiting", "waiting", "waiting"]
    failed = rows.deliveries().get(attempts=1, state="waiting")
    assert (failed.status_code, failed.response) == (503, "not now")
    assert list(rows.deliveries().order_by("id").values_list("attempts", flat=True)) == [1, 1, 1, 0, 0]
    # The endpoint is tried with one, and goes on when that works; what failed waits for its own time.
    let_pass(timedelta(seconds=3))
    sending.send_due()
    assert numbers(server) == [1, 2, 3, 4, 5]


def test_a_slow_endpoint_does_not_delay_another(server: Receiver) -> None:
    over = threading.Event()
    with receiver() as slow:
        slow.answer = lambda _: (204, "") if over.wait(10) else (500, "")
        register(slow)
        register(server)
        tell("test.one", 1, 2)
        while sum(outlets.export_batch(alias, "webhooks", outlets.make("webhooks")) for alias in all_aliases()):
            pass
        with sending.Sender() as sender:
            while len(server.messages) < 2 or rows.deliveries().filter(state="delivered").count() < 2:
                assert sender.work(patience=0.1)
            assert len(slow.messages) <= 1
            over.set()
            while sender.work(patience=1):
                pass
    assert states() == ["delivered"] * 4


def test_two_senders_never_send_the_same(server: Receiver) -> None:
    register(server)
    tell("test.one", *range(1, 6))
    outlets.export_batch(rows.home(), "webhooks", outlets.make("webhooks"))
    first, second = sending._claim(16), sending._claim(16)
    assert [len(turn.deliveries) for turn in first] == [5]
    assert second == []


@pytest.mark.django_db(transaction=True)
def test_two_senders_at_once_send_each_once(server: Receiver) -> None:
    for _ in range(5):
        register(server)
    tell("test.one", *range(1, 9))
    outlets.export_batch(rows.home(), "webhooks", outlets.make("webhooks"))

    def send(_: int) -> None:
        try:
            sending.send_due()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(send, range(3)))
    assert sorted(numbers(server)) == sorted([*range(1, 9)] * 5)
    assert set(states()) == {"delivered"}


def test_after_twenty_hours_of_failures_it_is_paused_and_its_owner_told(server: Receiver) -> None:
    endpoint = register(server)
    server.answer = failing
    tell("test.one", 1)
    export_all()
    waited = timedelta()
    while rows.endpoints().get().state == "active":
        waited += come_due() or DAY
        sending.send_due()
    assert timedelta(hours=20) < waited < timedelta(hours=29)
    assert len(server.messages) == 8
    tell("test.one", 2)
    export_all()
    assert mail.outbox[0].to == ["owner@example.com"]
    assert len(mail.outbox) == 1
    assert server.url in mail.outbox[0].body
    assert "It answers 503." in mail.outbox[0].body
    assert (len(server.messages), states()) == (8, ["waiting", "waiting"])
    server.answer = lambda _: (200, "")
    endpoints.change_endpoint(endpoint_id=endpoint.id, change=EndpointChange(active=True))
    sending.send_due()
    assert numbers(server)[8:] == [1, 2]
    assert states() == ["delivered", "delivered"]


def test_one_event_that_nobody_can_take_fails_alone(server: Receiver) -> None:
    register(server)
    server.answer = lambda message: failing(message) if b'"n": 1}' in message.body else (204, "")
    tell("test.one", 1)
    export_all()
    number = 1
    while come_due() is not None:
        sending.send_due()
        number += 1
        tell("test.one", number)
        export_all()
        # After the pause of the endpoint the others arrive.
        let_pass(timedelta(seconds=3))
        sending.send_due()
    assert states() == ["failed", *["delivered"] * (number - 1)]
    assert rows.endpoints().get().state == "active"
    assert mail.outbox == []


def test_gone_is_off_at_once(server: Receiver) -> None:
    register(server)
    server.answer = lambda _: (410, "")
    tell("test.one", 1, 2)
    export_all()
    relay()
    assert len(server.messages) == 1
    assert (rows.endpoints().get().state, states()) == ("off", ["failed", "failed"])
    assert "410" in mail.outbox[0].body
    tell("test.one", 3)
    export_all()
    assert len(states()) == 2


def test_a_paused_endpoint_that_nobody_resumes_is_turned_off(server: Receiver) -> None:
    register(server)
    tell("test.one", 1)
    outlets.export_batch(rows.home(), "webhooks", outlets.make("webhooks"))
    rows.endpoints().update(state="paused", stopped_at=timezone.now())
    for days, state, delivery in ((6, "paused", "waiting"), (8, "off", "failed")):
        with time_machine.travel(timezone.now() + timedelta(days=days), tick=False):
            clean_webhooks()
        assert (rows.endpoints().get().state, states()) == (state, [delivery])
    for days, left in ((29, 1), (31, 0)):
        with time_machine.travel(timezone.now() + timedelta(days=days), tick=False):
            clean_webhooks()
        assert len(states()) == left
    assert server.messages == []


def test_an_old_secret_signs_for_a_day(server: Receiver) -> None:
    old = register(server)
    new = endpoints.rotate_secret(endpoint_id=old.id)
    assert old.secret != new.secret
    for after, by_old in ((timedelta(hours=23), True), (timedelta(hours=25), False)):
        with time_machine.travel(timezone.now() + after, tick=False):
            endpoints.send_test(endpoint_id=old.id)
            sending.send_due()
            message = server.messages[-1]
            assert verify_by_hand(message, new.secret)
            assert Webhook(new.secret).verify(message.body, message.headers)["type"] == "webhook.ping"
            assert verify_by_hand(message, old.secret) == by_old


def test_secrets_are_kept_where_a_copy_of_the_database_is_of_no_use(
    server: Receiver, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    made = register(server)
    key = base64.b64decode(made.secret.removeprefix("whsec_"))
    row = rows.endpoints().get()
    assert 24 <= len(key) <= 64
    assert made.secret not in f"{row.secret}{row.old_secret}"
    assert not hasattr(endpoints.get_endpoint(endpoint_id=made.id), "secret")
    settings.SECRET_KEY = "another"
    tell("test.one", 1)
    export_all()
    assert server.messages == []
    assert rows.deliveries().get().error == "The secret was stored under another SECRET_KEY: rotate it."
    endpoints.rotate_secret(endpoint_id=made.id)
    assert made.secret not in caplog.text


def test_turned_off_while_it_was_being_sent(server: Receiver) -> None:
    endpoint = register(server)
    server.answer = failing
    tell("test.one", 1, 2)
    outlets.export_batch(rows.home(), "webhooks", outlets.make("webhooks"))
    (turn,) = sending._claim(1)
    attempts = sending._take(turn)
    endpoints.change_endpoint(endpoint_id=endpoint.id, change=EndpointChange(active=False))
    sending._settle(turn.endpoint, attempts)
    assert (rows.endpoints().get().state, states()) == ("off", ["failed", "failed"])
    sending.send_due()
    assert len(server.messages) == 1


def test_deleted_while_it_was_being_sent(server: Receiver) -> None:
    endpoint = register(server)
    tell("test.one", 1)
    outlets.export_batch(rows.home(), "webhooks", outlets.make("webhooks"))
    (turn,) = sending._claim(1)
    attempts = sending._take(turn)
    endpoints.delete_endpoint(endpoint_id=endpoint.id)
    sending._settle(turn.endpoint, attempts)
    assert (states(), rows.endpoints().count()) == ([], 0)


def test_a_replay_has_the_same_id_and_all_its_attempts(server: Receiver) -> None:
    endpoint = register(server)
    tell("test.one", 1)
    export_all()
    delivery = rows.deliveries().get()
    endpoints.replay_delivery(endpoint_id=endpoint.id, delivery_id=delivery.id)
    sending.send_due()
    assert [message.headers["webhook-id"] for message in server.messages] == [str(delivery.event_id)] * 2
    assert (rows.deliveries().get().attempts, states()) == (1, ["delivered"])
    endpoints.change_endpoint(endpoint_id=endpoint.id, change=EndpointChange(active=False))
    with pytest.raises(EndpointStopped):
        endpoints.replay_delivery(endpoint_id=endpoint.id, delivery_id=delivery.id)
    with pytest.raises(EndpointStopped):
        endpoints.send_test(endpoint_id=endpoint.id)
    assert states() == ["delivered"]


def test_a_refused_address_is_seen_in_the_delivery(server: Receiver, settings: Settings) -> None:
    register(server)
    settings.WEBHOOK_ALLOWED_NETWORKS = []
    tell("test.one", 1)
    export_all()
    assert server.messages == []
    assert rows.deliveries().get().error == "127.0.0.1 is not a public address."


def test_what_an_endpoint_must_be() -> None:
    with pytest.raises(InvalidEndpoint) as refusal:
        endpoints.create_endpoint(url="ftp://x", types=["test.three", "webhook.stopped"], owner_email="a@example.com")
    assert [(problem.attr, problem.detail) for problem in refusal.value.problems] == [
        ("url", "The URL must start with https://."),
        ("types", "There are no events test.three, webhook.stopped."),
    ]
    assert not rows.endpoints().exists()


def test_webhooks_whose_database_is_away_cost_the_relay_nothing(server: Receiver) -> None:
    register(server)
    with patch("apps.events.outlets.fan_out.wanting_endpoints", side_effect=DatabaseError("away")):
        tell("test.one", 1)
    assert OutboxEvent.objects.using(rows.home()).exclude(published_at=None).count() == 1
    assert PendingExport.objects.using(rows.home()).get().outlet == "webhooks"
    export_all()
    assert numbers(server) == [1]


def test_without_endpoints_nothing_is_noted() -> None:
    tell("test.one", 1)
    assert not PendingExport.objects.using(rows.home()).exists()


def _violations(rule: Callable[[], Iterator[str]]) -> list[str]:
    with time_machine.travel(timezone.now() + timedelta(hours=1), tick=False):
        return list(rule())


def test_the_audit_sees_what_was_not_noted_and_what_was_not_sent(server: Receiver) -> None:
    endpoint = register(server)
    rows.endpoints().update(wants_since=timezone.now() - timedelta(minutes=1))
    tell("test.one", 1)
    (event,) = OutboxEvent.objects.using(rows.home()).all()
    assert _violations(audit._exported) == [f"event {event.id} (test.one) has not reached webhooks"]
    assert _violations(audit._noted_for_webhooks) == [f"event {event.id} (test.one) was never noted for {endpoint.url}"]
    outlets.export_batch(rows.home(), "webhooks", outlets.make("webhooks"))
    assert _violations(audit._exported) == _violations(audit._noted_for_webhooks) == []
    (late,) = _violations(audit._sent)
    assert late.startswith(f"delivery {rows.deliveries().get().id} to {endpoint.url} should have been sent at ")
    sending.send_due()
    assert _violations(audit._sent) == []
    rows.endpoints().update(wants_since=timezone.now())
    rows.deliveries().delete()
    assert _violations(audit._noted_for_webhooks) == []


def test_rows_say_what_they_are(server: Receiver) -> None:
    register(server)
    tell("test.one", 1)
    (pending,) = PendingExport.objects.using(rows.home()).all()
    assert str(pending) == f"{pending.event_id} to webhooks"
    export_all()
    delivery = WebhookDelivery.objects.using(rows.home()).get()
    assert str(delivery) == f"test.one {delivery.event_id}"
    assert str(WebhookEndpoint.objects.using(rows.home()).get()) == server.url


@pytest.mark.parametrize("count", [1, 20])
def test_a_batch_is_relayed_and_handed_to_endpoints_by_as_many_statements_as_one_event(
    server: Receiver, count: int
) -> None:
    register(server)
    register(server, "test.one")
    with atomic("orders"):
        publish("orders", *(Fact(type="test.one", subject=SUBJECT, sequence=n, data={"n": n}) for n in range(count)))
    with sends(6):
        relay_batch(alias_of("orders"))
    with sends(6):
        outlets.export_batch(alias_of("orders"), outlets.WEBHOOKS, outlets.make(outlets.WEBHOOKS))
    assert rows.deliveries().count() == 2 * count
