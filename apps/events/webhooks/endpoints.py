"""What staff do with webhooks: for REST and the staff pages."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.db.models.functions import Now
from django.utils import timezone

from apps.common.errors import Conflict, InvalidInput, NotFound, Problem
from apps.common.ids import new_id
from apps.events.cloudevent import to_json
from apps.events.envelope import Event
from apps.events.models import WebhookDelivery, WebhookEndpoint
from apps.events.webhooks import signing
from apps.events.webhooks.egress import RefusedAddress, check_url
from apps.events.webhooks.rows import atomic_home, deliveries, endpoints
from apps.events.webhooks.sending import give_up

PING = "webhook.ping"
MOST_ENDPOINTS = 100
OLD_SECRET_LIVES = timedelta(hours=24)
_MESSAGE_VERSION = 1


@dataclass(frozen=True)
class Endpoint:
    """An address that wants to hear of events; `types` empty is all of them."""

    id: UUID
    url: str
    types: Sequence[str]
    description: str
    owner_email: str
    state: str
    reason: str
    failing_since: datetime | None
    created_at: datetime


@dataclass(frozen=True)
class EndpointWithSecret(Endpoint):
    """The one answer in which the secret is seen."""

    secret: str


@dataclass(frozen=True)
class Delivery:
    """An event on its way to an endpoint. `body` is what is sent, `response` how the last answer begins."""

    id: UUID
    event_id: UUID
    type: str
    state: str
    attempts: int
    next_attempt_at: datetime | None
    attempted_at: datetime | None
    status_code: int | None
    response: str
    error: str
    duration_ms: int | None
    body: str
    created_at: datetime


@dataclass(frozen=True)
class EndpointChange:
    """The parts of an endpoint that staff edit; None leaves a part as it is."""

    url: str | None = None
    types: Sequence[str] | None = None
    description: str | None = None
    owner_email: str | None = None
    active: bool | None = None


class EndpointNotFound(NotFound):
    code = "endpoint_not_found"


class DeliveryNotFound(NotFound):
    code = "delivery_not_found"


class InvalidEndpoint(InvalidInput):
    code = "invalid_endpoint"


class EndpointStopped(Conflict):
    """It is paused or off, so that nothing would be sent."""

    code = "endpoint_stopped"


class TooManyEndpoints(Conflict):
    code = "too_many_endpoints"


def public_types() -> Collection[str]:
    """The events that leave the shop."""
    return [each for each in settings.EVENT_SUBSCRIBERS if each not in settings.INTERNAL_EVENTS]


def create_endpoint(
    *, url: str, owner_email: str, types: Sequence[str] = (), description: str = "", active: bool = True
) -> EndpointWithSecret:
    """Register an address, and make its secret, which is not shown again.

    Raises:
        InvalidEndpoint: names each part that is wrong.
        TooManyEndpoints: the shop has as many as it serves.
    """
    _check(url, types)
    if endpoints().count() >= MOST_ENDPOINTS:
        raise TooManyEndpoints(f"There are {MOST_ENDPOINTS} endpoints already.")
    secret = signing.new_secret()
    state = WebhookEndpoint.State.ACTIVE if active else WebhookEndpoint.State.OFF
    row = endpoints().create(
        url=url,
        types=sorted(set(types)),
        description=description,
        owner_email=owner_email,
        state=state,
        secret=signing.encrypt(secret),
    )
    return EndpointWithSecret(**vars(to_endpoint(row)), secret=secret)


def get_endpoint(*, endpoint_id: UUID) -> Endpoint:
    """
    Raises:
        EndpointNotFound: there is no such endpoint.
    """
    return to_endpoint(_find(endpoint_id))


def change_endpoint(*, endpoint_id: UUID, change: EndpointChange) -> Endpoint:
    """Change parts of an endpoint. Turned on, it gets all that waits for it; turned off, none of it.

    Raises:
        EndpointNotFound: there is no such endpoint.
        InvalidEndpoint: names each part that is wrong.
    """
    _check(change.url, change.types)
    with atomic_home():
        row = _find(endpoint_id, lock=True)
        for name in ("url", "description", "owner_email"):
            if (value := getattr(change, name)) is not None:
                setattr(row, name, value)
        if change.types is not None and sorted(set(change.types)) != row.types:
            row.types, row.wants_since = sorted(set(change.types)), timezone.now()
        if change.active is not None:
            _switch(row, is_on=change.active)
        row.save()
    return to_endpoint(row)


def rotate_secret(*, endpoint_id: UUID) -> EndpointWithSecret:
    """Make a new secret; for a day messages are signed by the old one, too.

    Raises:
        EndpointNotFound: there is no such endpoint.
    """
    secret = signing.new_secret()
    with atomic_home():
        row = _find(endpoint_id, lock=True)
        row.old_secret, row.old_secret_until = row.secret, timezone.now() + OLD_SECRET_LIVES
        row.secret = signing.encrypt(secret)
        row.save()
    return EndpointWithSecret(**vars(to_endpoint(row)), secret=secret)


def delete_endpoint(*, endpoint_id: UUID) -> None:
    """Forget an endpoint and its deliveries.

    Raises:
        EndpointNotFound: there is no such endpoint.
    """
    with atomic_home():
        _find(endpoint_id, lock=True).delete()


def send_test(*, endpoint_id: UUID) -> Delivery:
    """Send a `webhook.ping`, with the next of what is due.

    Raises:
        EndpointNotFound: there is no such endpoint.
        EndpointStopped: it is paused or off.
    """
    event_id = new_id()
    with atomic_home():
        endpoint = _find(endpoint_id, lock=True)
        if endpoint.state != WebhookEndpoint.State.ACTIVE:
            raise EndpointStopped("Nothing is sent to an endpoint that is paused or off. Turn it on first.")
        ping = Event(
            id=event_id,
            type=PING,
            source="webhooks",
            subject=endpoint.pk,
            sequence=1,
            data={"endpoint_id": str(endpoint.pk)},
            timestamp=timezone.now(),
            version=_MESSAGE_VERSION,
            traceparent="",
        )
        row = deliveries().create(endpoint=endpoint, event_id=event_id, type=PING, body=to_json(ping))
    return to_delivery(row)


def replay_delivery(*, endpoint_id: UUID, delivery_id: UUID) -> Delivery:
    """Send a delivery again, with the same `webhook-id` and all its attempts.

    Raises:
        EndpointNotFound, DeliveryNotFound: there is no such thing.
        EndpointStopped: the endpoint is off. (One that is paused gets it when it is resumed.)
    """
    with atomic_home():
        endpoint = _find(endpoint_id, lock=True)
        if endpoint.state == WebhookEndpoint.State.OFF:
            raise EndpointStopped("The endpoint is off. Turn it on first.")
        wanted = deliveries().filter(endpoint=endpoint, pk=delivery_id)
        if not wanted.update(state=WebhookDelivery.State.WAITING, attempts=0, next_attempt_at=Now()):
            raise DeliveryNotFound("There is no such delivery.")
        row = wanted.get()
    return to_delivery(row)


def to_endpoint(row: WebhookEndpoint) -> Endpoint:
    return Endpoint(
        id=row.id,
        url=row.url,
        types=row.types,
        description=row.description,
        owner_email=row.owner_email,
        state=row.state,
        reason=row.reason,
        failing_since=row.failing_since,
        created_at=row.created_at,
    )


def to_delivery(row: WebhookDelivery) -> Delivery:
    is_waiting = row.state == WebhookDelivery.State.WAITING
    return Delivery(
        id=row.id,
        event_id=row.event_id,
        type=row.type,
        state=row.state,
        attempts=row.attempts,
        next_attempt_at=row.next_attempt_at if is_waiting else None,
        attempted_at=row.attempted_at,
        status_code=row.status_code,
        response=row.response,
        error=row.error,
        duration_ms=row.duration_ms,
        body=row.body,
        created_at=row.created_at,
    )


def _check(url: str | None, types: Sequence[str] | None) -> None:
    problems = []
    if url is not None:
        try:
            check_url(url)
        except RefusedAddress as error:
            problems.append(Problem(str(error), "url"))
    if unknown := sorted(set(types or ()) - set(public_types())):
        problems.append(Problem(f"There are no events {', '.join(unknown)}.", "types"))
    if problems:
        raise InvalidEndpoint(*problems)


def _switch(row: WebhookEndpoint, *, is_on: bool) -> None:
    """On: a fresh start for the endpoint and for what waits. Off: nothing waits any more."""
    now, was_off = timezone.now(), row.state == WebhookEndpoint.State.OFF
    if is_on and row.state != WebhookEndpoint.State.ACTIVE:
        row.state, row.reason, row.stopped_at = WebhookEndpoint.State.ACTIVE, "", None
        row.failures, row.failing_since, row.available_at = 0, None, Now()
        row.wants_since = now if was_off else row.wants_since
        waiting = deliveries().filter(endpoint=row, state=WebhookDelivery.State.WAITING)
        waiting.update(attempts=0, next_attempt_at=Now())
    elif not is_on and not was_off:
        row.state, row.reason, row.stopped_at = WebhookEndpoint.State.OFF, "", now
        give_up(row, "The endpoint was turned off.")


def _find(endpoint_id: UUID, *, lock: bool = False) -> WebhookEndpoint:
    rows = endpoints().select_for_update() if lock else endpoints()
    row = rows.filter(pk=endpoint_id).first()
    if row is None:
        raise EndpointNotFound("There is no such endpoint.")
    return row
