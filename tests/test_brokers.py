"""Events on a real broker with a real worker: nothing is lost, and nothing happens twice."""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import psutil
import psycopg
import pytest
import redis
from celery import Celery
from kombu import Connection, Producer, Queue

from tests.outage import World, five_minutes_later, open_world
from tests.shop import ROOT, Client

pytestmark = [pytest.mark.e2e, pytest.mark.once]

Message = dict[str, Any]


@pytest.fixture(scope="module", params=["redis", "rabbitmq"])
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with open_world(tmp_path_factory.mktemp("shop"), request.param) as opened:
        yield opened


def test_what_arrives_twice_or_late_has_one_effect(world: World) -> None:
    customer = world.shop.customer()
    order_id = _buy(world, customer)
    assert customer.post(f"/orders/{order_id}/cancel").status_code == 200
    world.shop.eventually(lambda: _actions(customer) == ["order.created", "order.paid", "order.cancelled"])
    world.shop.eventually(world.is_settled)
    created, paid, cancelled = _messages(world, order_id)
    # A batch is dealt with in its order: once the new event at its end has arrived, all before it have.
    news = {**cancelled, "id": str(uuid4())}
    again = [cancelled, paid, paid, created, news]
    _send(world, "products.settle_reservation", again)
    _send(world, "users.log_activity", again)
    both = [("products.settle_reservation", False), ("users.log_activity", True)]
    world.shop.eventually(lambda: _handled(world, news) == both)
    assert world.is_settled()
    assert _actions(customer) == ["order.created", "order.paid", "order.cancelled", "order.cancelled"]
    world.shop.manage("audit")


def test_a_handler_that_fails_is_noted_and_can_be_replayed(world: World) -> None:
    customer = world.shop.customer()
    world.shop.eventually(lambda: _has_been_welcomed(world, customer))
    with _no_mail(world):
        order_id = customer.order(world.lamp).json()["id"]
        world.shop.eventually(lambda: bool(_failures(world, order_id)))
        # Ten attempts take seventeen minutes.
        world.rows("UPDATE events_faileddelivery SET state = 'dead' WHERE state = 'retrying' RETURNING id")
        assert _failures(world, order_id) == [("orders.mail_customer", "dead")]
    code = "from apps.events.models import *; from apps.events.tasks import replay; "
    world.shop.manage("shell", "-v0", "-c", code + "replay(FailedDelivery.objects.get(state='dead'))")
    world.shop.eventually(lambda: _failures(world, order_id) == [("orders.mail_customer", "resolved")])
    (number,) = world.rows("SELECT number FROM orders_order WHERE id = %s", order_id)[0]
    assert sum(number in mail.read_text() for mail in _mail_folder(world).iterdir()) == 1
    world.shop.manage("audit")


def test_what_a_worker_was_doing_when_it_was_killed_is_done_again(world: World) -> None:
    customer = world.shop.customer()
    (worker,) = _workers(world)
    with _nothing_can_be_handled(world):
        order_id = _buy(world, customer)
        world.shop.eventually(lambda: _waiting(world) >= 2)
        for process in [worker, *worker.children(recursive=True)]:
            with suppress(psutil.NoSuchProcess):
                process.kill()
    _age_messages(world)
    with five_minutes_later(world):
        world.shop.eventually(world.is_settled, seconds=100)
        world.shop.eventually(lambda: _actions(customer) == ["order.created", "order.paid"], seconds=100)
    assert _workers(world) != [worker]
    assert _failures(world, order_id) == []
    world.shop.manage("audit")


def test_a_broker_that_hangs_keeps_nobody_waiting_for_ever(world: World) -> None:
    customer, begin = world.shop.customer(), len(world.shop.log.read_text())
    world.doors["BROKER_URL"].silence()
    _buy(world, customer)
    world.shop.eventually(lambda: "The broker does not answer" in world.shop.log.read_text()[begin:], seconds=40)
    world.doors["BROKER_URL"].up()
    with five_minutes_later(world):
        world.shop.eventually(world.is_settled, seconds=100)
        world.shop.eventually(lambda: _actions(customer) == ["order.created", "order.paid"], seconds=100)
    world.shop.manage("audit")


def test_what_nobody_can_read_is_put_aside_and_seen(world: World) -> None:
    event = {"task": "users.log_activity", "id": str(uuid4())}
    _publish(world, "orders", b"[[], {}, {}]", {"task": "orders.no_such_task", "id": str(uuid4())})
    _publish(world, "users", b"[[[", event)
    _publish(world, "users", b"[[[7]], {}, {}]", {**event, "id": str(uuid4())})
    _publish(world, "housekeeping", b"\xff", {})
    world.shop.eventually(lambda: _put_aside(world) == 4)
    with pytest.raises(AssertionError, match=r"for orders\.no_such_task was put aside") as report:
        world.shop.manage("audit")
    assert str(report.value).count("was put aside") == 4
    assert _put_aside(world) == 4
    command = ["celery", "--app", "config", "purge", "--force", "--queues", f"{world.queues}dead-letters"]
    subprocess.run([sys.executable, "-m", *command], cwd=ROOT, env=world.shop.environment, check=True, timeout=60)
    assert _put_aside(world) == 0
    world.shop.manage("audit")


def _buy(world: World, customer: Client) -> str:
    order_id: str = customer.order(world.lamp).json()["id"]
    assert customer.pay(order_id).json()["status"] == "paid"
    return order_id


def _actions(customer: Client) -> list[str]:
    """What the customer's activity log says of orders, oldest first."""
    lines = sorted(customer.get("/users/activity").json()["results"], key=lambda line: line["happened_at"])
    return [line["action"] for line in lines if line["action"].startswith("order.")]


def _messages(world: World, subject: str) -> list[Message]:
    """The events of an order, as the relay sends them."""
    columns = "id, type, source, subject, sequence, data, occurred_at, version, traceparent"
    rows = world.rows(f"SELECT {columns} FROM events_outboxevent WHERE subject = %s ORDER BY sequence", subject)
    names = columns.replace("occurred_at", "timestamp").split(", ")
    return [json.loads(json.dumps(dict(zip(names, row, strict=True)), default=_plain)) for row in rows]


def _plain(value: Any) -> str:  # noqa: ANN401 - a time or an id
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def _send(world: World, task: str, messages: Sequence[Message]) -> None:
    queue = world.queues + task.partition(".")[0]
    app = Celery(broker=world.broker, set_as_current=False)
    with app.connection_for_write() as connection:
        app.send_task(task, args=(messages,), exchange=queue, routing_key=queue, connection=connection)


def _publish(world: World, service: str, body: bytes, headers: Mapping[str, str]) -> None:
    """A message as it comes, good or not."""
    queue = world.queues + service
    with Connection(world.broker) as connection, connection.channel() as channel:
        Producer(channel).publish(
            body,
            exchange=queue,
            routing_key=queue,
            headers=dict(headers),
            content_type="application/json",
            content_encoding="utf-8",
        )


def _handled(world: World, message: Message) -> list[tuple[Any, ...]]:
    """Which consumers have dealt with the event, and whether it had an effect."""
    return world.rows(
        "SELECT consumer, applied FROM events_inboxentry WHERE event_id = %s ORDER BY consumer", message["id"]
    )


def _failures(world: World, subject: str) -> list[tuple[Any, ...]]:
    return world.rows(
        "SELECT consumer, state FROM events_faileddelivery WHERE message ->> 'subject' = %s ORDER BY consumer", subject
    )


def _has_been_welcomed(world: World, customer: Client) -> bool:
    """Whether the mail that verifies a new account's address has gone out."""
    query = """
        SELECT count(*) FROM events_inboxentry JOIN events_outboxevent ON event_id = events_outboxevent.id
        WHERE consumer = 'users.mail_owner' AND data ->> 'user_id' = %s
    """
    ((count,),) = world.rows(query, customer.get("/users/profile").json()["id"])
    return bool(count)


def _mail_folder(world: World) -> Path:
    return world.shop.log.parent / "mail"


@contextmanager
def _no_mail(world: World) -> Iterator[None]:
    """A file where the folder for mail should be: no mail can be sent."""
    folder = _mail_folder(world)
    folder.mkdir(exist_ok=True)
    aside = folder.rename(folder.with_name("mail-aside"))
    folder.write_text("")
    try:
        yield
    finally:
        folder.unlink()
        aside.rename(folder)


@contextmanager
def _nothing_can_be_handled(world: World) -> Iterator[None]:
    """Every handler gets as far as its inbox, and waits there."""
    with psycopg.connect(world.database) as connection:
        connection.execute("LOCK TABLE events_inboxentry IN EXCLUSIVE MODE")
        yield


def _waiting(world: World) -> int:
    query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    ((count,),) = world.rows(query)
    return int(count)


def _workers(world: World) -> list[psutil.Process]:
    """The supervisor's own, but for the slow one; their children are the pool."""
    commands = ((child, child.cmdline()) for child in world.shop.processes()[0].children())
    return [child for child, command in commands if "worker" in command and "--hostname=slow@%h" not in command]


def _age_messages(world: World) -> None:
    """RabbitMQ sees that the worker is gone. Redis does not, and waits; the test does not wait with it."""
    if not world.broker.startswith("redis"):
        return
    with redis.Redis.from_url(world.broker) as server:
        for tag, message in server.hgetall("unacked").items():
            if world.queues.encode() in message:
                server.zadd("unacked_index", {tag: 1})


def _put_aside(world: World) -> int:
    with Connection(world.broker) as connection, connection.channel() as channel:
        answer: Any = Queue(f"{world.queues}dead-letters")(channel).queue_declare()
        return int(answer.message_count)
