"""What the users service does in the background."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from django.conf import settings
from django.contrib.sessions.models import Session as DjangoSession
from django.utils import timezone

from apps.common.ids import new_id
from apps.events.envelope import Event
from apps.events.models import FailedDelivery, InboxEntry, OutboxEvent
from apps.events.relay import relay_batch
from apps.users.interface import Profile
from apps.users.models import Activity, Session, User
from apps.users.tasks import clean_sessions, log_activity
from apps.users.tests.factories import UserFactory
from config import services

pytestmark = pytest.mark.django_db

HAPPENED_AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
ORDER = {
    "order_id": "019aa9c2",
    "number": "CW-1001",
    "status": "paid",
    "total": "99.99",
    "currency": "USD",
    "items": [],
    "refund": {"amount": "5.00"},
}


def _event(kind: str, user_id: UUID, **data: Any) -> Event:  # noqa: ANN401 - JSON
    return Event(
        id=new_id(),
        type=kind,
        source="orders",
        subject=new_id(),
        sequence=1,
        data={**data, "user_id": str(user_id)},
        timestamp=HAPPENED_AT,
        version=1,
        traceparent="",
    )


def _deliver(*events: Event) -> None:
    log_activity.delay([event.to_message() for event in events])


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        ("order.created", "Placed order CW-1001 over 99.99 USD."),
        ("order.updated", "Changed order CW-1001."),
        ("order.paid", "Paid order CW-1001: 99.99 USD."),
        ("order.shipped", "Order CW-1001 was shipped."),
        ("order.delivered", "Order CW-1001 was delivered."),
        ("order.cancelled", "Order CW-1001 was cancelled."),
        ("order.expired", "Order CW-1001 expired unpaid."),
        ("order.refunded", "Order CW-1001 was refunded."),
        ("payment.failed", "A payment of order CW-1001 failed."),
        ("refund.completed", "5.00 USD of order CW-1001 were refunded."),
        ("refund.failed", "The refund of order CW-1001 was refused."),
        ("user.registered", "Opened the account."),
        ("user.updated", "The account was changed."),
        ("user.deactivated", "The account was deactivated."),
    ],
)
def test_an_event_becomes_a_line(kind: str, sentence: str) -> None:
    user = UserFactory()
    event = _event(kind, user.pk, **ORDER)
    _deliver(event)
    line = Activity.objects.get()
    assert (line.user_id, line.action, line.details) == (user.pk, kind, sentence)
    assert (line.happened_at, line.event_id) == (HAPPENED_AT, event.id)


def test_every_event_that_it_subscribes_to_has_a_sentence() -> None:
    user = UserFactory()
    kinds = [kind for kind, tasks in settings.EVENT_SUBSCRIBERS.items() if "users.log_activity" in tasks]
    _deliver(*(_event(kind, user.pk, **ORDER) for kind in kinds))
    assert Activity.objects.count() == len(kinds) == 14
    assert not FailedDelivery.objects.exists()


def test_an_event_delivered_twice_is_one_line() -> None:
    event = _event("order.paid", UserFactory().pk, **ORDER)
    _deliver(event, event)
    _deliver(event)
    InboxEntry.objects.all().delete()  # forgotten, and replayed all the same
    _deliver(event)
    assert Activity.objects.count() == 1


def test_late_events_are_lines_too() -> None:
    paid = _event("order.paid", UserFactory().pk, **ORDER)
    created = replace(_event("order.created", UserFactory().pk, **ORDER), subject=paid.subject, sequence=0)
    _deliver(paid)
    _deliver(created)
    assert Activity.objects.count() == 2


def test_an_unknown_user_has_no_log() -> None:
    _deliver(_event("order.paid", new_id(), **ORDER))
    assert not Activity.objects.exists()
    assert not FailedDelivery.objects.exists()
    assert InboxEntry.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_a_registration_arrives_in_the_log() -> None:
    user = services.users().register(
        username="testuser", email="test@example.com", password="password123", profile=Profile()
    )
    relay_batch("default")
    assert OutboxEvent.objects.get().published_at is not None
    assert set(Activity.objects.values_list("user_id", "action")) == {
        (user.id, "user.registered"),
        (user.id, "user.verification_mailed"),
    }


def _session(user: User, *, expires_in: timedelta, revoked_in: timedelta | None = None) -> Session:
    now = timezone.now()
    revoked_at = None if revoked_in is None else now + revoked_in
    return Session.objects.create(user=user, expires_at=now + expires_in, revoked_at=revoked_at)


def test_sessions_that_ended_long_ago_are_forgotten() -> None:
    user, day = UserFactory(), timedelta(days=1)
    kept = [
        _session(user, expires_in=day),
        _session(user, expires_in=-29 * day),
        _session(user, expires_in=day, revoked_in=-29 * day),
    ]
    _session(user, expires_in=-31 * day)
    _session(user, expires_in=-day, revoked_in=-31 * day)
    clean_sessions()
    assert set(Session.objects.all()) == set(kept)


def test_sessions_of_browsers_are_forgotten_when_they_have_expired() -> None:
    for key, days in (("live", 1), ("over", -1)):
        DjangoSession.objects.create(
            session_key=key, session_data="", expire_date=timezone.now() + timedelta(days=days)
        )
    clean_sessions()
    assert list(DjangoSession.objects.values_list("session_key", flat=True)) == ["live"]


def test_what_was_told_of_an_erased_account_too_late_is_forgotten() -> None:
    user, erased = UserFactory(), UserFactory(erased_at=timezone.now(), active=False)
    for each in (user, erased):
        Activity.objects.create(user=each, action="order.paid", details="Paid order 1.")
    clean_sessions()
    assert [line.user for line in Activity.objects.all()] == [user]
