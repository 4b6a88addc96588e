"""Events for other systems: over RabbitMQ and Redis, with the consumers that the documentation shows."""

import json
import re
import secrets
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any
from unittest.mock import patch
from uuid import UUID

import pytest
import redis
from cloudevents.core.formats.json import JSONFormat
from django.conf import settings as shop_settings
from kombu import Connection, Exchange, Queue
from pytest_django.fixtures import Settings

from apps.common.databases import all_aliases, atomic
from apps.common.errors import PaymentRefused
from apps.events import exporting, outlets
from apps.events.envelope import Event, Fact
from apps.events.models import OutboxEvent, PendingExport
from apps.events.outbox import publish
from apps.events.targets import RedisStream
from apps.orders.interface import SYSTEM, Actor, OrderChange
from apps.orders.tests import factories
from apps.products.interface import ProductChange, StockLine
from apps.users.interface import Profile, Role
from apps.users.tests.factories import UserFactory
from config import services
from tests.flow import deliver_events
from tests.outage import door
from tests.services import needs_rabbitmq, needs_redis
from tests.shop import ROOT, open_shop

SUBJECT = UUID("01938d5e-0000-7000-8000-000000000009")
EXAMPLES = ROOT / "docs" / "examples"


@pytest.fixture
def exchange(settings: Settings) -> Iterator[str]:
    """The name of an exchange of our own."""
    name = settings.EVENTS_AMQP_EXCHANGE = f"test-{secrets.token_hex(4)}"
    settings.EVENTS_AMQP_URL = needs_rabbitmq()
    yield name
    with Connection(needs_rabbitmq()) as connection, connection.channel() as channel:
        Exchange(name)(channel).delete()


@pytest.fixture
def stream(settings: Settings) -> Iterator[str]:
    """The name of a stream of our own."""
    name = settings.EVENTS_REDIS_STREAM = f"test-{secrets.token_hex(4)}"
    settings.EVENTS_REDIS_URL = needs_redis()
    yield name
    with redis.Redis.from_url(needs_redis()) as server:
        server.delete(name)


def tell(kind: str, *sequences: int) -> None:
    with atomic("orders"):
        publish("orders", *(Fact(type=kind, subject=SUBJECT, sequence=each, data={"n": each}) for each in sequences))
    deliver_events()


@contextmanager
def bound(exchange: str, routing_key: str) -> Iterator[Callable[[], list[Any]]]:
    """A queue for these events; call what it gives to take what is there."""
    with Connection(needs_rabbitmq()) as connection, connection.channel() as channel:
        queue = Queue("", Exchange(exchange, "topic"), routing_key=routing_key, exclusive=True)(channel)
        queue.declare()
        yield lambda: list(iter(lambda: queue.get(no_ack=True), None))


def added(stream: str) -> list[dict[str, str]]:
    with redis.Redis.from_url(needs_redis(), decode_responses=True) as server:
        return [fields for _, fields in server.xrange(stream)]


def numbers(texts: Sequence[str]) -> list[int]:
    return [json.loads(text)["data"]["n"] for text in texts]


@pytest.mark.django_db
def test_an_exchange_gets_every_event_as_a_cloud_event(exchange: str) -> None:
    with bound(exchange, "test.*") as take, bound(exchange, "test.two") as take_two:
        tell("test.one", 1, 2)
        tell("test.two", 3)
        tell("import.requested", 4)
        exporting.export_all()
        messages, of_two = take(), take_two()
    assert numbers([message.body for message in messages]) == [1, 2, 3]
    assert numbers([message.body for message in of_two]) == [3]
    message = messages[0]
    arrived = JSONFormat().read(None, message.body)
    assert (arrived.get_type(), arrived.get_source(), arrived.get_subject()) == (
        "test.one", "/cartwright/orders", str(SUBJECT),
    )  # fmt: skip
    assert message.content_type == "application/cloudevents+json"
    assert message.properties["message_id"] == arrived.get_id()
    assert message.properties["delivery_mode"] == 2
    assert not any(PendingExport.objects.using(alias).exists() for alias in all_aliases())


@pytest.mark.django_db
def test_a_stream_gets_every_event_as_a_cloud_event(stream: str) -> None:
    tell("test.one", 1, 2)
    tell("import.requested", 3)
    exporting.export_all()
    entries = added(stream)
    assert numbers([entry["event"] for entry in entries]) == [1, 2]
    assert {entry["type"] for entry in entries} == {"test.one"}
    assert JSONFormat().read(None, entries[0]["event"]).get_extension("sequence") == "0000000001"


@pytest.mark.django_db
def test_a_stream_does_not_grow_for_ever(stream: str, settings: Settings) -> None:
    settings.EVENTS_REDIS_LENGTH = 10
    target = RedisStream()
    event = Event.from_message(
        {
            "id": str(SUBJECT),
            "type": "test.one",
            "source": "orders",
            "subject": str(SUBJECT),
            "sequence": 1,
            "data": {"n": 1},
            "timestamp": "2026-01-01T00:00:00+00:00",
            "version": 1,
            "traceparent": "",
        }
    )
    with closing(target):
        target.publish([event] * 1000)
    assert len(added(stream)) < 500


@pytest.mark.django_db
def test_a_target_that_is_away_delays_nobody_and_gets_all_in_order(
    exchange: str, stream: str, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    with ExitStack() as stack, bound(exchange, "#") as take, door(needs_rabbitmq(), default_port=5672) as way:
        settings.EVENTS_AMQP_URL = way.url
        outlet = stack.enter_context(closing(outlets.make("amqp")))
        tell("test.one", 1)
        assert _export("amqp", outlet) == 1
        way.down()
        tell("test.one", 2, 3)
        assert not OutboxEvent.objects.using(all_aliases()[-1]).filter(published_at=None).exists()
        for _ in range(3):
            with pytest.raises(Exception, match=r"refused|closed|reset|unreachable"):
                _export("amqp", outlet)
        exporting.export_all()
        assert numbers([entry["event"] for entry in added(stream)]) == [1, 2, 3]
        tell("test.one", 4)
        way.up()
        assert _export("amqp", outlet) == 3
        assert numbers([message.body for message in take()]) == [1, 2, 3, 4]


@pytest.mark.django_db
def test_what_was_half_published_is_published_again(stream: str) -> None:
    tell("test.one", 1, 2)
    outlet = RedisStream()
    with patch.object(outlet, "publish", side_effect=ConnectionError("half way")), pytest.raises(ConnectionError):
        _export("redis", outlet)
    assert _export("redis", outlet) == 2
    assert _export("redis", outlet) == 0
    outlet.close()
    assert numbers([entry["event"] for entry in added(stream)]) == [1, 2]


@pytest.mark.django_db
def test_without_targets_nothing_is_noted() -> None:
    tell("test.one", 1)
    assert outlets.configured() == ["webhooks"]
    assert not any(PendingExport.objects.using(alias).exists() for alias in all_aliases())


@pytest.mark.django_db(transaction=True)
def test_the_relays_thread_goes_on_after_an_outage(stream: str, caplog: pytest.LogCaptureFixture) -> None:
    tell("test.one", 1)
    stop, failed = threading.Event(), threading.Event()
    publish_really = RedisStream.publish

    def publish_or_fail(self: RedisStream, events: Sequence[Event]) -> None:
        if not failed.is_set():
            failed.set()
            raise redis.ConnectionError("away")
        publish_really(self, events)
        stop.set()

    with (
        patch.object(RedisStream, "publish", publish_or_fail),
        patch.object(exporting, "_TROUBLE_SECONDS", 0.01),
    ):
        thread = threading.Thread(target=exporting.keep_exporting, args=("redis", stop))
        thread.start()
        thread.join(30)
    assert not thread.is_alive()
    assert numbers([entry["event"] for entry in added(stream)]) == [1]
    gone, back = [record.getMessage() for record in caplog.records]
    assert gone == "The outlet of events 'redis' does not answer (ConnectionError: away)"
    assert back.startswith("The outlet of events 'redis' answers again")


def _export(name: str, outlet: Any) -> int:  # noqa: ANN401 - an outlet, or one that is patched
    return sum(outlets.export_batch(alias, name, outlet) for alias in all_aliases())


def documented() -> Mapping[str, set[str]]:
    """Event type → the fields of its data, as the documentation's table has them."""
    text = (ROOT / "docs" / "events.md").read_text()
    found = {}
    for line in text.splitlines():
        if match := re.fullmatch(r"\| (`[a-z.`, ]+`) \|.*\| (.*) \|", line):
            fields = set(re.findall(r"`(\w+)`", re.sub(r"\([^)]*\)", "", match[2])))
            found.update(dict.fromkeys(re.findall(r"`([a-z.]+)`", match[1]), fields))
    return found


@pytest.mark.once
def test_every_event_that_leaves_is_documented() -> None:
    public = {each for each in shop_settings.EVENT_SUBSCRIBERS if each not in shop_settings.INTERNAL_EVENTS}
    assert set(documented()) == public | {"webhook.ping"}


@pytest.mark.once
@pytest.mark.parametrize("example", ["consume_rabbitmq.py", "consume_redis.py"])
def test_the_examples_are_shown_as_they_are(example: str) -> None:
    assert (EXAMPLES / example).read_text() in (ROOT / "docs" / "events.md").read_text()


@pytest.mark.django_db
def test_events_have_the_data_that_is_documented() -> None:
    _do_everything()
    told: dict[str, set[str]] = {}
    for alias in all_aliases():
        for kind, data in OutboxEvent.objects.using(alias).values_list("type", "data"):
            told.setdefault(kind, set()).update(data)
    table = documented()
    assert told == {kind: table[kind] for kind in told}
    # What is left takes a crash, or a provider that fails.
    assert set(table) - set(told) == {"reservation.lost", "refund.failed", "order.expired", "webhook.ping"}


def _do_everything() -> None:
    """Something of everything that makes an event."""
    users, products, orders = services.users(), services.products(), services.orders()
    admin = UserFactory(role=Role.ADMIN)
    ada = users.register(username="ada", email="ada@example.com", password="correct horse 9", profile=Profile())
    users.update_profile(user_id=ada.id, profile=Profile(phone="1"))
    users.manage_user(actor_id=admin.pk, user_id=ada.id, active=False)
    lamp = factories.make_product(stock=6)
    products.update_product(product_id=lamp.id, change=ProductChange(name="Brass lamp"))
    shipped = factories.ship(factories.pay(factories.place(ada.id, (lamp, 1))))
    orders.deliver_order(order_id=shipped.id, actor=SYSTEM)
    for amount in (Decimal(1), None):
        orders.refund_order(order_id=shipped.id, actor=SYSTEM, amount=amount)
    orders.cancel_order(order_id=factories.pay(factories.place(ada.id, (lamp, 1))).id, actor=SYSTEM)
    pending = factories.place(ada.id, (lamp, 1))
    change = OrderChange(lines=[StockLine(product_id=lamp.id, quantity=2)])
    orders.change_order(order_id=pending.id, change=change, actor=Actor(user_id=ada.id))
    with pytest.raises(PaymentRefused):
        factories.pay(pending, "tok_chargeDeclined")
    orders.cancel_order(order_id=pending.id, actor=SYSTEM)
    products.delete_product(product_id=lamp.id)
    eve = users.register(username="eve", email="eve@example.com", password="correct horse 9", profile=Profile())
    users.erase_user(user_id=eve.id, password="correct horse 9")
    deliver_events()


@pytest.fixture(scope="module")
def names() -> Iterator[tuple[str, str]]:
    """Names of our own for an exchange's queue and a stream."""
    name = f"test-{secrets.token_hex(4)}"
    yield name, f"{name}-stream"
    with Connection(needs_rabbitmq()) as connection, connection.channel() as channel:
        Queue(name)(channel).delete()
    with redis.Redis.from_url(needs_redis()) as server:
        server.delete(f"{name}-stream")


@contextmanager
def running(example: str, *arguments: str, output: Path) -> Iterator[Callable[[], list[list[str]]]]:
    """An example of the documentation; call what it gives for the words of each line that it has printed."""
    with output.open("wb") as lines:
        process = subprocess.Popen([sys.executable, EXAMPLES / example, *arguments], stdout=lines, stderr=lines)
    try:
        yield lambda: [line.split() for line in output.read_text().splitlines()]
    finally:
        process.terminate()
        process.wait(10)


@pytest.mark.e2e
@pytest.mark.once
def test_the_documented_consumers_hear_of_orders(tmp_path: Path, names: tuple[str, str]) -> None:
    queue, stream = names
    amqp, server = needs_rabbitmq(), needs_redis()
    targets = {"EVENTS_AMQP_URL": amqp, "EVENTS_REDIS_URL": server, "EVENTS_REDIS_STREAM": stream}
    with (
        running("consume_rabbitmq.py", amqp, queue, output=tmp_path / "amqp.txt") as by_amqp,
        running("consume_redis.py", server, stream, output=tmp_path / "redis.txt") as by_redis,
        open_shop(tmp_path, **targets) as shop,
    ):
        customer, lamp = shop.customer(), shop.admin().product(10)
        order = customer.order(lamp).json()
        assert customer.pay(order["id"]).status_code == 200
        wanted = [["order.created", order["number"]], ["order.paid", order["number"]]]

        def have_arrived() -> bool:
            return all(
                [line[:2] for line in lines() if line[1:2] == [order["number"]]] == wanted
                for lines in (by_amqp, by_redis)
            )

        shop.eventually(have_arrived)
        shop.manage("audit")
