"""What services ask each other about events, in one process and over gRPC: no difference."""

from collections.abc import Iterator
from uuid import uuid4

import pytest
from django.utils import timezone

from apps.common.databases import alias_of
from apps.common.errors import InvalidInput
from apps.events.envelope import Event
from apps.events.interface import EventService
from apps.events.models import FailedDelivery, InboxEntry
from apps.events.services import LocalEventService
from apps.events.webhooks.rows import deliveries, endpoints
from grpc_api.clients.events import RemoteEventService
from grpc_api.servers.events import hosted
from grpc_api.tests.running import peer, serving

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(params=["local", "grpc"])
def of_orders(request: pytest.FixtureRequest, transactional_db: None) -> Iterator[EventService]:
    """The orders service's, in each of the two ways."""
    if request.param == "local":
        yield LocalEventService("orders")
        return
    with serving(hosted(LocalEventService, webhooks="orders")) as address:
        yield RemoteEventService(peer("orders", address))


def event(number: float = 1.5) -> Event:
    data = {"total": "9.99", "count": 60, "ratio": number, "name": "手机", "nothing": None}
    trace = f"00-{uuid4().hex}-{uuid4().hex[:16]}-00"
    return Event(uuid4(), "order.paid", "orders", uuid4(), 3, data, timezone.now(), 1, trace)


def test_what_a_consumer_has_not_heard_of(of_orders: EventService) -> None:
    heard, failed, unheard, other = (uuid4() for _ in range(4))
    alias, consumer = alias_of("orders"), "orders.count_sales"
    InboxEntry.objects.using(alias).create(consumer=consumer, event_id=heard, applied=True)
    InboxEntry.objects.using(alias).create(consumer="orders.mail_customer", event_id=other, applied=True)
    FailedDelivery.objects.using(alias).create(
        consumer=consumer, event_id=failed, type="order.paid", message={}, error="", next_attempt_at=timezone.now()
    )
    answer = of_orders.list_unheard(consumer=consumer, event_ids=[heard, unheard, failed, other])
    assert list(answer) == [unheard, other]
    assert list(of_orders.list_unheard(consumer=consumer, event_ids=[])) == []


def test_a_consumer_of_another_service_is_refused() -> None:
    with pytest.raises(InvalidInput):
        LocalEventService("orders").list_unheard(consumer="users.log_activity", event_ids=[uuid4()])


def test_events_are_noted_once_for_the_webhooks_that_want_them(of_orders: EventService) -> None:
    wanting, other = (
        endpoints().create(url=f"https://example.com/{types[0]}", types=types, owner_email="a@example.com", secret="s")
        for types in (["order.paid"], ["order.created"])
    )
    paid = event()
    for _ in range(2):
        of_orders.note_for_webhooks(events=[paid])
    delivery = deliveries().get()
    assert (delivery.endpoint_id, delivery.event_id, delivery.type) == (wanting.pk, paid.id, "order.paid")
    assert '"count":60' in delivery.body.replace(" ", "")
    assert deliveries().filter(endpoint=other).count() == 0
    assert endpoints().count() == 2
