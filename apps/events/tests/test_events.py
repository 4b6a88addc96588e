"""From a committed change to an effect that happens once."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import Any
from unittest.mock import patch
from uuid import UUID

import pytest
import time_machine
from celery import current_app
from celery.exceptions import SoftTimeLimitExceeded
from django.db import InterfaceError, OperationalError, connections, transaction
from django.db.models import F
from django.utils import timezone
from django_guid import clear_guid, get_guid, set_guid
from kombu.exceptions import OperationalError as BrokerError

from apps.common.databases import alias_of, atomic
from apps.common.ids import new_id
from apps.events import consumer
from apps.events.consumer import batch_subscriber, subscriber
from apps.events.envelope import Event, Fact
from apps.events.management.commands import relay as relay_command
from apps.events.models import FailedDelivery, InboxEntry, InboxPosition, OutboxEvent
from apps.events.outbox import NotInTransaction, publish
from apps.events.relay import relay_batch
from apps.events.tasks import clean, confirm_deliveries, replay, retry_failed_deliveries
from tests.flow import statements

pytestmark = pytest.mark.django_db

ALIAS = alias_of("orders")
SUBJECT = UUID("01938d5e-0000-7000-8000-000000000009")
seen: list[int] = []
trouble: list[Exception] = []


def _see(event: Event) -> None:
    seen.append(event.sequence)
    if trouble:
        raise trouble[0]


subscriber("orders.test_ordered", ordered=True)(_see)
subscriber("orders.test_any_order")(_see)
subscriber("orders.test_outside", transactional=False)(_see)
subscriber("orders.test_outside_in_order", ordered=True, transactional=False)(_see)


@pytest.fixture(autouse=True)
def _subscribers(settings: Any) -> Iterator[None]:  # noqa: ANN401 - pytest-django's own
    settings.EVENT_SUBSCRIBERS = {
        "test.ordered": ["orders.test_ordered"],
        "test.any": ["orders.test_any_order"],
        "test.both": ["orders.test_ordered", "orders.test_outside"],
        "test.outside": ["orders.test_outside_in_order"],
    }
    seen.clear()
    trouble.clear()
    yield
    for name in ("ordered", "any_order", "outside"):
        assert f"orders.test_{name}" in current_app.tasks


def tell(kind: str, *sequences: int) -> list[Event]:
    """Publish facts about one subject."""
    with atomic("orders"):
        publish("orders", *(Fact(type=kind, subject=SUBJECT, sequence=number, data={}) for number in sequences))
    return [row.to_event() for row in outbox().order_by("id")]


def outbox() -> Any:  # noqa: ANN401 - a queryset
    return OutboxEvent.objects.using(ALIAS)


def age(*, seconds: int) -> None:
    """Let that much time pass for the events: the relay goes by the database's clock, which no test can turn."""
    passed = timedelta(seconds=seconds)
    outbox().update(available_at=F("available_at") - passed)
    outbox().update(published_at=F("published_at") - passed)
    failures().update(next_attempt_at=F("next_attempt_at") - passed)


def failures() -> Any:  # noqa: ANN401 - a queryset
    return FailedDelivery.objects.using(ALIAS)


def deliver(consumer_name: str, *events: Event) -> None:
    current_app.tasks[consumer_name].apply_async(args=([event.to_message() for event in events],))


@pytest.mark.django_db(transaction=True)
def test_publishing_outside_of_a_transaction_is_refused() -> None:
    with pytest.raises(NotInTransaction):
        publish("orders", Fact(type="test.any", subject=SUBJECT, sequence=1, data={}))
    assert not outbox().exists()


def test_an_event_exists_only_if_its_change_committed() -> None:
    with atomic("orders"):
        publish("orders", Fact(type="test.any", subject=SUBJECT, sequence=1, data={}))
        transaction.set_rollback(True, using=ALIAS)
    assert not outbox().exists()


def test_the_envelope_is_complete_and_survives_the_wire() -> None:
    (event,) = tell("test.any", 1)
    message = event.to_message()
    assert set(message) == {
        "id", "type", "source", "subject", "sequence", "data", "timestamp", "version", "traceparent", "request_id",
    }  # fmt: skip
    assert (message["source"], message["version"]) == ("orders", 1)
    assert len(message["traceparent"]) == 55
    assert Event.from_message(message) == event


@pytest.mark.parametrize("form", ["{0}", "{{{0}}}", "urn:uuid:{0}", "CC42DEB682904F0E9A510242AC120002"])
def test_a_client_names_the_trace_by_its_request_id(form: str) -> None:
    set_guid(form.format("cc42deb6-8290-4f0e-9a51-0242ac120002"))
    (event,) = tell("test.any", 1)
    clear_guid()
    assert event.traceparent.split("-")[:2] == ["00", "cc42deb682904f0e9a510242ac120002"]
    assert len(event.traceparent) == 55
    assert event.request_id == form.format("cc42deb6-8290-4f0e-9a51-0242ac120002")


def test_a_request_id_that_no_column_takes_is_kept_in_short() -> None:
    set_guid("{" * 100 + "cc42deb6-8290-4f0e-9a51-0242ac120002")
    (event,) = tell("test.any", 1)
    clear_guid()
    assert event.request_id == "cc42deb682904f0e9a510242ac120002"


def test_what_an_older_version_has_published_carries_its_traces_id() -> None:
    (event,) = tell("test.any", 1)
    message = event.to_message()
    del message["request_id"]
    older = Event.from_message(message)
    with consumer._request_of(older):
        assert get_guid() == older.traceparent[3:35]
    with consumer._request_of(replace(older, request_id="given")):
        assert get_guid() == "given"
    assert get_guid() is None


def test_the_relay_delivers_in_order_and_marks_what_it_published() -> None:
    tell("test.ordered", 1, 2, 3)
    assert relay_batch(ALIAS) == 3
    assert seen == [1, 2, 3]
    assert not outbox().filter(published_at=None).exists()
    assert relay_batch(ALIAS) == 0


def test_a_failed_publication_is_put_off_and_comes_again() -> None:
    tell("test.any", 1)
    with patch("apps.events.relay.send", side_effect=ConnectionError("broker away")):
        assert relay_batch(ALIAS) == 1
    row = outbox().get()
    assert (row.published_at, row.attempts, row.last_error) == (None, 1, "ConnectionError: broker away")
    assert relay_batch(ALIAS) == 0
    age(seconds=3)
    assert relay_batch(ALIAS) == 1
    assert seen == [1]


def test_a_broker_that_is_away_is_mentioned_once_and_tried_again_soon(caplog: pytest.LogCaptureFixture) -> None:
    tell("test.any", 1)
    with patch("apps.events.relay.send", side_effect=BrokerError("refused")):
        for _ in range(60):
            assert relay_batch(ALIAS) == 1
            age(seconds=10)
        assert relay_batch(ALIAS) == 1
        assert relay_command._pass() == relay_command.TROUBLE_SECONDS
    # However long it was away, it is asked again after five seconds.
    age(seconds=6)
    assert relay_batch(ALIAS) == 1
    assert seen == [1]
    (gone, back) = [record.getMessage() for record in caplog.records]
    assert gone == "The broker does not answer (OperationalError: refused)"
    assert back.startswith("The broker answers again, after ")


@pytest.mark.parametrize("error", [OperationalError("gone"), InterfaceError("closed")])
def test_a_relay_without_its_database_waits_for_it(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    with (
        patch("apps.events.management.commands.relay.relay_batch", side_effect=error),
        patch.object(connections, "close_all"),  # the test's own
    ):
        assert [relay_command._pass() for _ in range(3)] == [relay_command.TROUBLE_SECONDS] * 3
    assert relay_command._pass() == relay_command.IDLE_SECONDS
    assert len(caplog.records) == 2


def test_the_events_of_a_relay_that_died_are_taken_over() -> None:
    tell("test.any", 1)
    with _dying(), pytest.raises(KeyboardInterrupt):
        relay_batch(ALIAS)
    assert relay_batch(ALIAS) == 0
    age(seconds=31)
    assert relay_batch(ALIAS) == 1
    assert seen == [1]


HOUR = timedelta(hours=1)


@pytest.mark.parametrize("off", [HOUR, -HOUR])
class TestAClockThatIsWrong:
    """Of one process at a time; the others, and the database, have the right one."""

    def test_of_who_publishes(self, off: timedelta) -> None:
        with time_machine.travel(timezone.now() + off):
            tell("test.any", 1)
        assert relay_batch(ALIAS) == 1
        assert seen == [1]

    def test_of_the_relay(self, off: timedelta) -> None:
        tell("test.any", 1)
        with time_machine.travel(timezone.now() + off):
            assert relay_batch(ALIAS) == 1
        assert seen == [1]
        assert abs(outbox().get().published_at - timezone.now()) < timedelta(minutes=1)

    def test_of_a_relay_that_died(self, off: timedelta) -> None:
        tell("test.any", 1)
        with time_machine.travel(timezone.now() + off), pytest.raises(KeyboardInterrupt), _dying():
            relay_batch(ALIAS)
        # Nobody else takes what it has, as long as it may live, and then somebody does.
        assert relay_batch(ALIAS) == 0
        age(seconds=31)
        assert relay_batch(ALIAS) == 1
        assert seen == [1]

    def test_of_a_relay_that_failed(self, off: timedelta) -> None:
        tell("test.any", 1)
        with (
            time_machine.travel(timezone.now() + off),
            patch("apps.events.relay.send", side_effect=BrokerError("gone")),
        ):
            assert relay_batch(ALIAS) == 1
        age(seconds=6)
        assert relay_batch(ALIAS) == 1
        assert seen == [1]

    def test_of_a_subscriber_that_failed(self, off: timedelta) -> None:
        (event,) = tell("test.any", 1)
        trouble.append(ValueError("no"))
        with time_machine.travel(timezone.now() + off):
            deliver("orders.test_any_order", event)
        trouble.clear()
        retry_failed_deliveries()
        assert seen == [1]
        age(seconds=3)
        retry_failed_deliveries()
        assert failures().get().state == FailedDelivery.State.RESOLVED
        assert seen == [1, 1]

    def test_of_who_tries_again(self, off: timedelta) -> None:
        (event,) = tell("test.any", 1)
        trouble.append(ValueError("no"))
        deliver("orders.test_any_order", event)
        with time_machine.travel(timezone.now() + off):
            retry_failed_deliveries()
            assert seen == [1]
            age(seconds=3)
            retry_failed_deliveries()
            assert seen == [1, 1]
        # What it has taken on hand is not lost with it.
        trouble.clear()
        with time_machine.travel(timezone.now() + off), patch("apps.events.tasks.send"):
            age(seconds=5)
            retry_failed_deliveries()
        retry_failed_deliveries()
        assert seen == [1, 1]
        age(seconds=301)
        retry_failed_deliveries()
        assert seen == [1, 1, 1]

    def test_of_who_confirms(self, settings: Any, off: timedelta) -> None:  # noqa: ANN401 - pytest-django's own
        settings.CELERY_TASK_ALWAYS_EAGER = False
        tell("test.any", 1)
        with patch("apps.events.relay.current_app.send_task"):
            assert relay_batch(ALIAS) == 1
        settings.CELERY_TASK_ALWAYS_EAGER = True
        with time_machine.travel(timezone.now() + off):
            confirm_deliveries()
            assert seen == []
            age(seconds=360)
            confirm_deliveries()
        assert seen == [1]


def _dying() -> Any:  # noqa: ANN401 - a patch
    return patch("apps.events.relay._dispatch", side_effect=KeyboardInterrupt)


@pytest.mark.parametrize("name", ["orders.test_ordered", "orders.test_any_order", "orders.test_outside"])
def test_twice_is_once(name: str) -> None:
    (event,) = tell("test.any", 1)
    deliver(name, event)
    deliver(name, event, event)
    assert seen == [1]
    assert InboxEntry.objects.using(ALIAS).get().applied


def test_late_is_ignored_when_order_matters_and_only_then() -> None:
    first, second = tell("test.any", 1, 2)
    deliver("orders.test_ordered", second, first)
    assert seen == [2]
    assert list(InboxEntry.objects.using(ALIAS).order_by("id").values_list("applied", flat=True)) == [True, False]
    deliver("orders.test_any_order", second, first)
    assert seen == [2, 2, 1]


def test_a_failing_handler_leaves_nothing_but_its_error_and_holds_nobody_up() -> None:
    first, second = tell("test.any", 1, 2)
    trouble.append(ValueError("no such thing"))
    deliver("orders.test_any_order", first)
    trouble.clear()
    deliver("orders.test_any_order", second)
    assert seen == [1, 2]
    failure = failures().get()
    assert (failure.event_id, failure.state, failure.attempts) == (first.id, "retrying", 1)
    assert failure.error == "ValueError: no such thing"
    assert list(InboxEntry.objects.using(ALIAS).values_list("event_id", flat=True)) == [second.id]


def test_a_failed_delivery_is_tried_again_until_it_works() -> None:
    (event,) = tell("test.any", 1)
    trouble.append(ValueError("not yet"))
    deliver("orders.test_any_order", event)
    retry_failed_deliveries()
    assert seen == [1]
    age(seconds=3)
    retry_failed_deliveries()
    assert (seen, failures().get().attempts) == ([1, 1], 2)
    trouble.clear()
    age(seconds=5)
    retry_failed_deliveries()
    retry_failed_deliveries()
    assert (seen, failures().get().state) == ([1, 1, 1], "resolved")


def test_after_ten_attempts_it_is_dead_until_somebody_replays_it() -> None:
    (event,) = tell("test.any", 1)
    trouble.append(ValueError("never"))
    for _ in range(consumer.MAX_ATTEMPTS):
        deliver("orders.test_any_order", event)
    assert failures().get().state == "dead"
    age(seconds=86_400)
    retry_failed_deliveries()
    assert len(seen) == 10
    trouble.clear()
    replay(failures().get())
    replay(failures().get())
    assert (len(seen), failures().get().state) == (11, "resolved")


def test_a_malformed_message_is_kept() -> None:
    event_id = str(new_id())
    current_app.tasks["orders.test_any_order"].apply_async(args=([{"id": event_id, "type": "test.any"}],))
    assert (str(failures().get().event_id), failures().get().error) == (event_id, "KeyError: 'source'")


def test_a_database_that_is_away_is_not_the_events_fault() -> None:
    tell("test.any", 1)
    trouble.append(OperationalError("gone"))
    assert relay_batch(ALIAS) == 1
    assert not failures().exists()
    assert outbox().get().published_at is None


def test_the_inbox_commits_with_the_effect() -> None:
    (event,) = tell("test.ordered", 5)
    trouble.append(ValueError("half way"))
    deliver("orders.test_ordered", event)
    assert not InboxEntry.objects.using(ALIAS).exists()
    assert not InboxPosition.objects.using(ALIAS).exists()


def test_what_a_broker_has_lost_is_sent_again(settings: Any) -> None:  # noqa: ANN401 - pytest-django's own
    settings.CELERY_TASK_ALWAYS_EAGER = False
    first, second = tell("test.any", 1, 2)
    with patch("apps.events.relay.current_app.send_task"):
        assert relay_batch(ALIAS) == 2
    settings.CELERY_TASK_ALWAYS_EAGER = True
    deliver("orders.test_any_order", first)
    confirm_deliveries()
    assert seen == [1]
    age(seconds=360)
    confirm_deliveries()
    assert seen == [1, 2]
    assert list(outbox().exclude(delivered_at=None).values_list("id", flat=True)) == [first.id]
    confirm_deliveries()
    assert outbox().filter(delivered_at=None).exists()
    age(seconds=360)
    confirm_deliveries()
    assert not outbox().filter(delivered_at=None).exists()
    assert seen == [1, 2]
    assert second.id != first.id


def test_a_time_limit_is_not_the_events_fault() -> None:
    tell("test.any", 1)
    trouble.append(SoftTimeLimitExceeded())
    assert relay_batch(ALIAS) == 1
    assert not failures().exists()
    assert outbox().get().published_at is None


@pytest.mark.django_db(transaction=True)
def test_a_task_survives_a_connection_that_has_broken() -> None:
    (event,) = tell("test.any", 1)
    if connections[ALIAS].vendor == "postgresql":
        # What a restart of the server does to it; a SQLite file has no server.
        connections[ALIAS].connection.close()
    deliver("orders.test_any_order", event)
    assert seen == [1]


def test_history_is_forgotten_when_nobody_can_ask_for_it() -> None:
    tell("test.ordered", 1)
    relay_batch(ALIAS)
    tell("test.ordered", 2)
    for days, left in ((6, (2, 1)), (8, (1, 1)), (91, (1, 0))):
        with time_machine.travel(timezone.now() + timedelta(days=days)):
            clean()
        assert (outbox().count(), InboxEntry.objects.using(ALIAS).count()) == left


@pytest.mark.django_db(transaction=True)
def test_two_relays_never_take_the_same_event() -> None:
    tell("test.any", *range(1, 401))

    def relay(_: int) -> int:
        try:
            taken = 0
            while batch := relay_batch(ALIAS):
                taken += batch
            return taken
        finally:
            connections.close_all()

    with ThreadPoolExecutor(4) as pool:
        taken = list(pool.map(relay, range(4)))
    assert sum(taken) == 400
    assert sorted(seen) == list(range(1, 401))


batches: list[list[int]] = []


def _see_together(events: Sequence[Event]) -> None:
    batches.append([event.sequence for event in events])
    if any(event.data.get("bad") for event in events):
        raise ValueError("bad")


batch_subscriber("orders.test_batch", ordered=True)(_see_together)
batch_subscriber("orders.test_batch_any")(_see_together)
batch_subscriber("orders.test_batch_outside", transactional=False)(_see_together)


def _tell_of(*subjects: UUID, sequence: int = 1, **data: bool) -> list[Event]:
    with atomic("orders"):
        publish("orders", *(Fact(type="test.batch", subject=key, sequence=sequence, data=data) for key in subjects))
    return [row.to_event() for row in outbox().filter(subject__in=subjects, sequence=sequence).order_by("id")]


@pytest.fixture(autouse=True)
def _no_batches() -> None:
    batches.clear()


@pytest.mark.parametrize("name", ["orders.test_batch", "orders.test_batch_any", "orders.test_batch_outside"])
def test_many_events_are_handled_together_in_statements_that_do_not_grow_with_them(name: str) -> None:
    few, many = _tell_of(new_id(), new_id()), _tell_of(*(new_id() for _ in range(50)))
    costs = []
    for events in (few, many):
        with statements() as sent:
            deliver(name, *events)
        costs.append(len(sent))
    assert [len(batch) for batch in batches] == [2, 50]
    assert costs[0] == costs[1] <= 3
    deliver(name, *many)
    assert len(batches) == 2


def test_events_of_one_subject_are_never_handled_together_by_an_ordered_consumer() -> None:
    one, other = new_id(), new_id()
    events = [*_tell_of(one, sequence=1), *_tell_of(one, sequence=3), *_tell_of(one, sequence=2), *_tell_of(other)]
    deliver("orders.test_batch", *events)
    assert batches == [[1, 1], [3]]
    applied = InboxEntry.objects.using(ALIAS).filter(consumer="orders.test_batch").values_list("applied", flat=True)
    assert sorted(applied) == [False, True, True, True]


def test_one_that_fails_takes_none_of_its_batch_with_it() -> None:
    events = [*_tell_of(new_id()), *_tell_of(new_id(), bad=True), *_tell_of(new_id())]
    deliver("orders.test_batch", *events)
    assert batches == [[1, 1, 1], [1], [1], [1]]
    assert failures().get().event_id == events[1].id
    assert InboxEntry.objects.using(ALIAS).filter(consumer="orders.test_batch").count() == 2


def test_a_batch_that_cannot_be_handled_just_now_leaves_nothing_behind() -> None:
    trouble.append(OperationalError("deadlock detected"))
    with pytest.raises(OperationalError):
        deliver("orders.test_any_order", *_tell_of(new_id(), new_id()))
    assert not InboxEntry.objects.using(ALIAS).exists()
    assert not failures().exists()


def test_an_effect_outside_of_the_database_is_in_order_too() -> None:
    first, second, third = tell("test.outside", 1, 2, 3)
    name = "orders.test_outside_in_order"
    deliver(name, second)
    deliver(name, first, second)
    assert seen == [2]
    trouble.append(ValueError("no mail server"))
    deliver(name, third)
    trouble.clear()
    (failure,) = failures()
    assert failure.event_id == third.id
    replay(failure)
    replay(failure)
    assert seen == [2, 3, 3]
    entries = (
        InboxEntry.objects.using(ALIAS).filter(consumer=name).order_by("event_id").values_list("applied", flat=True)
    )
    assert list(entries) == [False, True, True]
