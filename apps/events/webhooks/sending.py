"""Sending what is due. Endpoints take turns: each has a thread for a few deliveries, one after another, in order.

A turn ends at the first failure, and a failing endpoint gets one delivery a turn, after a pause. So an endpoint that is
slow or away costs the others nothing, and what waits for it does not wear out its attempts.
"""

import secrets
from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import datetime, timedelta
from time import monotonic
from types import TracebackType
from typing import Self

from django.conf import settings
from django.db.models import Exists, F, OuterRef, Q, QuerySet, Window
from django.db.models.functions import RowNumber
from django.utils import timezone

from apps.common.databases import skips_locked
from apps.events.cloudevent import CONTENT_TYPE
from apps.events.envelope import Fact
from apps.events.models import WebhookDelivery, WebhookEndpoint
from apps.events.outbox import publish
from apps.events.webhooks import egress, signing
from apps.events.webhooks.egress import Answer
from apps.events.webhooks.rows import atomic_home, deliveries, endpoints, home

STOPPED = "webhook.stopped"
# After the first attempt; together a day and a bit.
PAUSES = tuple(timedelta(seconds=seconds) for seconds in (5, 300, 1800, 2 * 3600, 5 * 3600, 8 * 3600, 10 * 3600))
# Of each pause, so that what failed together does not come back together.
_JITTER = 0.1
# With nothing but failures for so long an endpoint is paused.
PATIENCE = timedelta(hours=20)
_LONGEST_BACK_OFF = 300
_ENDPOINTS_AT_ONCE = 16
_DELIVERIES_PER_TURN = 20
_TURN_SECONDS = 15
# A sender that died is replaced after this: longer than a turn and its last attempt take.
_LEASE = timedelta(seconds=60)
_COLUMNS = ["state", "attempts", "next_attempt_at", "attempted_at", "status_code", "response", "error", "duration_ms"]


@dataclass(frozen=True)
class _Turn:
    """Some deliveries to an endpoint that is leased to us."""

    endpoint: WebhookEndpoint
    deliveries: Sequence[WebhookDelivery]


@dataclass(frozen=True)
class _Attempt:
    delivery: WebhookDelivery
    at: datetime
    answer: Answer


class Sender:
    """Sends from one process. Its threads only post: the one that calls `work` reads and writes the database."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(_ENDPOINTS_AT_ONCE, thread_name_prefix="webhook")
        self._turns: dict[Future[Sequence[_Attempt]], WebhookEndpoint] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def work(self, *, patience: float) -> bool:
        """Begin what is due, and note what has ended; waits up to `patience` seconds for something to end. Returns
        whether anything is still under way or was done.
        """
        for turn in _claim(_ENDPOINTS_AT_ONCE - len(self._turns)):
            self._turns[self._pool.submit(_take, turn)] = turn.endpoint
        if not self._turns:
            return False
        ended, _ = wait(self._turns, timeout=patience, return_when=FIRST_COMPLETED)
        for future in ended:
            _settle(self._turns.pop(future), future.result())
        return True


def send_due() -> None:
    """Send until nothing is due any more."""
    with Sender() as sender:
        while sender.work(patience=egress.TOTAL_SECONDS):
            pass


def headers_of(delivery: WebhookDelivery, endpoint: WebhookEndpoint, at: datetime) -> Mapping[str, str]:
    """What an attempt at that time is sent with.

    Raises:
        UnreadableSecret: SECRET_KEY has changed since the secret was stored.
    """
    stored = [endpoint.secret]
    if endpoint.old_secret_until and endpoint.old_secret_until > at:
        stored.append(endpoint.old_secret)
    return {
        "Content-Type": CONTENT_TYPE,
        "User-Agent": "Cartwright",
        **signing.headers(message_id=str(delivery.event_id), at=at, body=delivery.body, stored_secrets=stored),
    }


def stop(endpoint: WebhookEndpoint, state: WebhookEndpoint.State, reason: str) -> None:
    """Stop the endpoint and have its owner told. Call it in a transaction; the caller saves."""
    endpoint.state, endpoint.reason, endpoint.stopped_at = state, reason, timezone.now()
    endpoint.stops += 1
    publish(
        settings.WEBHOOKS_SERVICE,
        Fact(
            type=STOPPED,
            subject=endpoint.pk,
            sequence=endpoint.stops,
            data={"endpoint_id": str(endpoint.pk), "state": str(state), "reason": reason},
        ),
    )


def _claim(limit: int) -> Sequence[_Turn]:
    """Lease the endpoints that have waited longest. Looks before it opens a transaction, as the relay does."""
    now = timezone.now()
    due = deliveries().filter(state=WebhookDelivery.State.WAITING, next_attempt_at__lte=now)
    # Nobody has to wait for longer: a time further ahead was written by a clock that is wrong.
    is_free = Q(available_at__lte=now) | Q(available_at__gt=now + timedelta(seconds=2 * _LONGEST_BACK_OFF))
    ready = endpoints().filter(is_free, Exists(due.filter(endpoint=OuterRef("pk"))), state=WebhookEndpoint.State.ACTIVE)
    if limit == 0 or not ready.exists():
        return []
    with atomic_home():
        locked = ready.select_for_update(skip_locked=skips_locked(home()), of=("self",))
        leased = list(locked.order_by("available_at")[:limit])
        endpoints().filter(pk__in=[each.pk for each in leased]).update(available_at=now + _LEASE)
    waiting = _first_of_each(due.filter(endpoint__in=leased))
    return [
        _Turn(endpoint, waiting[endpoint.pk][: 1 if endpoint.failures else None])
        for endpoint in leased
        if waiting[endpoint.pk]
    ]


def _first_of_each(due: QuerySet[WebhookDelivery]) -> Mapping[object, list[WebhookDelivery]]:
    place = Window(RowNumber(), partition_by=[F("endpoint_id")], order_by="id")
    found: dict[object, list[WebhookDelivery]] = defaultdict(list)
    for delivery in due.annotate(place=place).filter(place__lte=_DELIVERIES_PER_TURN).order_by("id"):
        found[delivery.endpoint_id].append(delivery)
    return found


def _take(turn: _Turn) -> Sequence[_Attempt]:
    """Post one after another, until one fails or the turn has taken long enough."""
    attempts = []
    end = monotonic() + _TURN_SECONDS
    for delivery in turn.deliveries:
        attempt = _attempt(delivery, turn.endpoint)
        attempts.append(attempt)
        if not attempt.answer.is_success or monotonic() > end:
            break
    return attempts


def _attempt(delivery: WebhookDelivery, endpoint: WebhookEndpoint) -> _Attempt:
    now = timezone.now()
    try:
        headers = headers_of(delivery, endpoint, now)
    except signing.UnreadableSecret as error:
        return _Attempt(delivery, now, Answer(None, "", str(error), 0))
    return _Attempt(delivery, now, egress.post(endpoint.url, headers=headers, body=delivery.body.encode()))


def _settle(leased: WebhookEndpoint, attempts: Sequence[_Attempt]) -> None:
    """Note what became of a turn: in the deliveries, and in what is expected of the endpoint."""
    with atomic_home():
        endpoint = endpoints().select_for_update().filter(pk=leased.pk).first()
        if endpoint is None:
            return
        for attempt in attempts:
            _note(attempt)
            _judge(endpoint, attempt)
        deliveries().bulk_update([attempt.delivery for attempt in attempts], _COLUMNS)
        endpoint.save()


def _note(attempt: _Attempt) -> None:
    delivery, answer = attempt.delivery, attempt.answer
    delivery.attempts += 1
    delivery.attempted_at = attempt.at
    delivery.status_code, delivery.response, delivery.error = answer.status, answer.text, answer.error
    delivery.duration_ms = answer.duration_ms
    if answer.is_success:
        delivery.state = WebhookDelivery.State.DELIVERED
    elif delivery.attempts > len(PAUSES):
        delivery.state = WebhookDelivery.State.FAILED
    else:
        pause = PAUSES[delivery.attempts - 1] * (1 - _JITTER + 2 * _JITTER * secrets.SystemRandom().random())
        delivery.next_attempt_at = timezone.now() + pause


def _judge(endpoint: WebhookEndpoint, attempt: _Attempt) -> None:
    now = timezone.now()
    if attempt.answer.is_success:
        endpoint.failures, endpoint.failing_since, endpoint.available_at = 0, None, now
        return
    endpoint.failures += 1
    endpoint.failing_since = endpoint.failing_since or now
    endpoint.available_at = now + timedelta(seconds=min(_LONGEST_BACK_OFF, 2 ** min(endpoint.failures, 10)))
    if endpoint.state == WebhookEndpoint.State.OFF:
        # Somebody has turned it off meanwhile.
        attempt.delivery.state = WebhookDelivery.State.FAILED
    elif endpoint.state == WebhookEndpoint.State.PAUSED:
        attempt.delivery.state = WebhookDelivery.State.WAITING
    elif attempt.answer.is_gone:
        stop(endpoint, WebhookEndpoint.State.OFF, "It answered 410 Gone.")
        attempt.delivery.state = WebhookDelivery.State.FAILED
        give_up(endpoint, "The endpoint answered 410 Gone.")
    elif now - endpoint.failing_since >= PATIENCE:
        stop(endpoint, WebhookEndpoint.State.PAUSED, attempt.answer.error or f"It answers {attempt.answer.status}.")
        # It is sent with all that waits when somebody resumes the endpoint.
        attempt.delivery.state = WebhookDelivery.State.WAITING


def give_up(endpoint: WebhookEndpoint, reason: str) -> None:
    """Nothing waits for the endpoint any more."""
    waiting = deliveries().filter(endpoint=endpoint, state=WebhookDelivery.State.WAITING)
    waiting.update(state=WebhookDelivery.State.FAILED, error=reason)
