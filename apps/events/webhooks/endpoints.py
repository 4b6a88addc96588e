"""What staff do with webhooks: for REST and the staff pages."""

import logging
from collections.abc import Collection, Sequence
from datetime import timedelta
from uuid import UUID

from django.conf import settings
from django.db.models.functions import Now
from django.utils import timezone

from apps.common.errors import Problem
from apps.common.ids import new_id
from apps.events.cloudevent import to_json
from apps.events.envelope import Event
from apps.events.models import WebhookDelivery, WebhookEndpoint
from apps.events.webhooks import signing
from apps.events.webhooks.egress import RefusedAddress, check_url
from apps.events.webhooks.interface import (
    Delivery,
    DeliveryNotFound,
    Endpoint,
    EndpointChange,
    EndpointNotFound,
    EndpointStopped,
    EndpointWithSecret,
    InvalidEndpoint,
    TooManyEndpoints,
)
from apps.events.webhooks.rows import atomic_home, deliveries, endpoints, lock_out_others, to_delivery, to_endpoint
from apps.events.webhooks.sending import give_up

logger = logging.getLogger(__name__)

PING = "webhook.ping"
MOST_ENDPOINTS = 100
OLD_SECRET_LIVES = timedelta(hours=24)
_MESSAGE_VERSION = 1


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
    secret = signing.new_secret()
    with atomic_home():
        lock_out_others()
        if endpoints().count() >= MOST_ENDPOINTS:
            raise TooManyEndpoints(f"There are {MOST_ENDPOINTS} endpoints already.")
        row = endpoints().create(
            url=url,
            types=sorted(set(types)),
            description=description,
            owner_email=owner_email,
            state=WebhookEndpoint.State.ACTIVE if active else WebhookEndpoint.State.OFF,
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


def reencrypt() -> int:
    """Encrypt every secret anew, under the present SECRET_KEY; returns how many endpoints have one that can be read."""
    done = 0
    for endpoint_id in endpoints().values_list("pk", flat=True):
        with atomic_home():
            row = endpoints().select_for_update().filter(pk=endpoint_id).first()
            if row is None:
                continue
            try:
                row.secret = signing.reencrypt(row.secret)
                row.old_secret = signing.reencrypt(row.old_secret) if row.old_secret else ""
            except signing.UnreadableSecret as error:
                logger.warning("%s: %s", row.url, error)
                continue
            row.save(update_fields=["secret", "old_secret"])
            done += 1
    return done


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
