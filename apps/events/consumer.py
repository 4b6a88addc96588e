"""Subscribers: Celery tasks that take a batch of events and let each have its effect once."""

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import timedelta
from types import MappingProxyType
from typing import Any
from uuid import UUID

from celery import Task, shared_task
from celery.exceptions import SoftTimeLimitExceeded
from django.db import InterfaceError, OperationalError
from django.db.models import QuerySet
from django_guid import get_guid, set_guid

from apps.common import logs, tracing
from apps.common.databases import alias_of, atomic, later
from apps.common.errors import ServiceUnavailable
from apps.common.tracing import NO_SPAN, Kind, Span
from apps.events import inbox, metrics
from apps.events.envelope import Event
from apps.events.models import FailedDelivery

logger = logging.getLogger(__name__)

Handler = Callable[[Event], None]
BatchHandler = Callable[[Sequence[Event]], None]
Message = dict[str, Any]

MAX_ATTEMPTS = 10
# A worker on Redis keeps what waits here, and must be done with it before its visibility time-out is over.
MAX_PAUSE = 15
# What a subscriber itself raises is about a message that nobody can read: it is put aside, not acknowledged.
_PUT_ASIDE: Any = {"acks_on_failure": False}
# Not the event's fault: what is left of the batch is tried again.
LATER = (OperationalError, InterfaceError, SoftTimeLimitExceeded, ServiceUnavailable)


def subscriber(
    name: str, *, ordered: bool = False, transactional: bool = True
) -> "Callable[[Handler], Task[..., None]]":
    """Make a handler of one event into the Celery task `name`, written `service.what_it_does`.

    Args:
        ordered: events of one subject take effect in order; one that was overtaken is ignored.
        transactional: the effect is in the service's database and commits with the inbox entry. Give False for an
            effect outside of it (a mail), which happens before the entry is written: at least once, and in order as far
            as nobody else is at it at that moment.

    A handler that raises delays nothing else: its event is kept as a `FailedDelivery`, tried again with back-off, and
    dead after `MAX_ATTEMPTS`.
    """

    def decorate(handle: Handler) -> "Task[..., None]":
        def handle_each(events: Sequence[Event]) -> None:
            for event in events:
                with _request_of(event):
                    handle(event)

        return _to_task(
            _Consumer(name, handle_each, ordered=ordered, transactional=transactional, takes_batches=transactional)
        )

    return decorate


def batch_subscriber(
    name: str, *, ordered: bool = False, transactional: bool = True
) -> "Callable[[BatchHandler], Task[..., None]]":
    """Like `subscriber`, for a handler that takes many events at once, which costs a fraction of one after the other.

    If `ordered`, no two events that it is given together have one subject. Should it raise, it is given each event by
    itself, so that only what cannot be handled fails.
    """

    def decorate(handle: BatchHandler) -> "Task[..., None]":
        return _to_task(_Consumer(name, handle, ordered=ordered, transactional=transactional, takes_batches=True))

    return decorate


def _to_task(consumer: "_Consumer") -> "Task[..., None]":
    @shared_task(name=consumer.name, bind=True, max_retries=None, **_PUT_ASIDE)
    def deliver(task: "Task[..., None]", messages: Sequence[Message]) -> None:
        try:
            consumer.take(messages)
        except LATER as error:
            # Nowhere to note it: the broker, or the outbox, keeps the whole batch.
            if task.request.is_eager:
                raise
            raise task.retry(exc=error, countdown=min(MAX_PAUSE, 2**task.request.retries)) from error

    task: Task[..., None] = deliver
    return task


@contextmanager
def _request_of(event: Event) -> Iterator[None]:
    """What follows from an event carries the id of the request that caused it, and is in its trace."""
    before = get_guid()
    # An event of a version before this one has no other than its trace's.
    set_guid(event.request_id or event.traceparent[3:35])
    try:
        with logs.saying(logs.told(event.data)), _spans.get().get(event.id, NO_SPAN).active():
            yield
    finally:
        set_guid(before)


@contextmanager
def _consuming(consumer: str, events: Sequence[Event]) -> Iterator[None]:
    """A span for each event, in the event's own trace. If that is one for all, the work that is done for them together
    is below the first; otherwise it is the task's, to which they all refer.
    """
    task = [tracing.traceparent()]
    spans = {
        event.id: tracing.start(f"process {consumer}", Kind.CONSUMER, parent=event.traceparent, links=task)
        for event in events
    }
    for event in events:
        spans[event.id].set({"messaging.destination.name": event.type, "messaging.message.id": str(event.id)})
    is_one_trace = len({event.traceparent[:_TRACE_ID_ENDS] for event in events}) == 1
    token = _spans.set(spans)
    failure: BaseException | None = None
    try:
        with spans[events[0].id].active() if is_one_trace else nullcontext():
            yield
    except BaseException as error:
        failure = error
        raise
    finally:
        _spans.reset(token)
        for span in spans.values():
            span.end(failure)


# Of the events that are being handled.
_spans: ContextVar[Mapping[UUID, Span]] = ContextVar("spans", default=MappingProxyType({}))
_TRACE_ID_ENDS = 35


@dataclass(frozen=True)
class _Consumer:
    """A handler with the rules by which events reach it."""

    name: str
    handle: BatchHandler
    ordered: bool
    transactional: bool
    takes_batches: bool

    @property
    def service(self) -> str:
        return self.name.partition(".")[0]

    def take(self, messages: Sequence[Message]) -> None:
        """Let each event have its effect, or note why it could not."""
        batch = self._failures().filter(event_id__in=[message["id"] for message in messages])
        failed_before = {str(event_id) for event_id in batch.values_list("event_id", flat=True)}
        if self.takes_batches and not failed_before and len(messages) > 1 and self._took_together(messages):
            metrics.HANDLED.labels(self.name, metrics.SUCCEEDED).inc(len(messages))
            return
        for message in messages:
            if self._took(message) and message["id"] in failed_before:
                batch.filter(event_id=message["id"]).update(state=FailedDelivery.State.RESOLVED)

    def _took(self, message: Message) -> bool:
        """Let the event have its effect; False if it was noted that it could not."""
        try:
            event = Event.from_message(message)
        except Exception as error:  # noqa: BLE001 - whatever it is that we cannot read
            self._failed(message, error)
            return False
        with _request_of(event):
            try:
                self._handle([event])
            except LATER:
                raise
            except Exception as error:  # noqa: BLE001 - it is logged there
                self._failed(message, error)
                return False
        metrics.HANDLED.labels(self.name, metrics.SUCCEEDED).inc()
        return True

    def _failed(self, message: Message, error: Exception) -> None:
        logger.error("%s failed on event %s", self.name, message["id"], exc_info=error)
        self._keep(message, f"{type(error).__name__}: {error}")
        metrics.HANDLED.labels(self.name, metrics.FAILED).inc()

    def _took_together(self, messages: Sequence[Message]) -> bool:
        """Let all of them have their effect; False if that failed. What it was that failed is found out, and said, when
        each is tried by itself.
        """
        try:
            self._handle([Event.from_message(message) for message in messages])
        except LATER:
            raise
        except Exception as error:  # noqa: BLE001 - see above
            logger.info("%s tries %d events one by one (%r)", self.name, len(messages), error)
            return False
        return True

    def _handle(self, events: Sequence[Event]) -> None:
        # Each turn by itself: one after the other in one transaction could lock rows in no order at all.
        for turn in _in_turns(events, ordered=self.ordered):
            with _consuming(self.name, turn):
                if self.transactional:
                    self._handle_inside(turn)
                else:
                    self._handle_outside(turn)

    def _handle_inside(self, events: Sequence[Event]) -> None:
        with atomic(self.service):
            if accepted := inbox.accept(self.service, self.name, events, ordered=self.ordered):
                self.handle(accepted)

    def _handle_outside(self, events: Sequence[Event]) -> None:
        """The effect first, and then the inbox: a crash in between repeats it."""
        fresh = inbox.unseen(self.service, self.name, events)
        if due := inbox.not_overtaken(self.service, self.name, fresh) if self.ordered else fresh:
            self.handle(due)
        if fresh:
            with atomic(self.service):
                inbox.accept(self.service, self.name, fresh, ordered=self.ordered)

    def _keep(self, message: Message, error: str) -> None:
        """Note the failure, and when to try again: after 2, 4, 8 … seconds, and in the end never."""
        with atomic(self.service):
            failure, _ = (
                self._failures()
                .select_for_update()
                .get_or_create(
                    consumer=self.name,
                    event_id=message["id"],
                    defaults={"type": message["type"], "message": message, "error": error, "attempts": 0},
                )
            )
            failure.attempts += 1
            failure.error = error
            is_dead = failure.attempts >= MAX_ATTEMPTS
            failure.state = FailedDelivery.State.DEAD if is_dead else FailedDelivery.State.RETRYING
            failure.next_attempt_at = later(timedelta(seconds=2**failure.attempts))
            failure.save()

    def _failures(self) -> QuerySet[FailedDelivery]:
        return FailedDelivery.objects.using(alias_of(self.service)).filter(consumer=self.name)


def _in_turns(events: Sequence[Event], *, ordered: bool) -> Iterable[Sequence[Event]]:
    """The events in groups; if `ordered`, the first event of each subject, then the second of each, and so on."""
    if not ordered:
        return [events]
    turns: list[list[Event]] = []
    seen: Counter[UUID] = Counter()
    for event in events:
        if seen[event.subject] == len(turns):
            turns.append([])
        turns[seen[event.subject]].append(event)
        seen[event.subject] += 1
    return turns
