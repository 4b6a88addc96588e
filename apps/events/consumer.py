"""Subscribers: Celery tasks that take a batch of events and let each have its effect once."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from celery import Task, shared_task
from celery.exceptions import SoftTimeLimitExceeded
from django.db import InterfaceError, OperationalError
from django.db.models import QuerySet
from django.utils import timezone
from django_guid import clear_guid, set_guid

from apps.common.databases import alias_of, atomic
from apps.events import inbox
from apps.events.envelope import Event
from apps.events.models import FailedDelivery

logger = logging.getLogger(__name__)

Handler = Callable[[Event], None]
Message = dict[str, Any]

MAX_ATTEMPTS = 10
# A worker on Redis keeps what waits here, and must be done with it before its visibility time-out is over.
MAX_PAUSE = 15
# What a subscriber itself raises is about a message that nobody can read: it is put aside, not acknowledged.
_PUT_ASIDE: Any = {"acks_on_failure": False}
# Not the event's fault: what is left of the batch is tried again.
LATER = (OperationalError, InterfaceError, SoftTimeLimitExceeded)


def subscriber(
    name: str, *, ordered: bool = False, transactional: bool = True
) -> "Callable[[Handler], Task[..., None]]":
    """Make a handler of one event into the Celery task `name`, written `service.what_it_does`.

    Args:
        ordered: events of one subject take effect in order; one that was overtaken is ignored.
        transactional: the effect is in the service's database and commits with the inbox entry. Give False for an
            effect outside of it (a mail), which happens before the entry is written: at least once.

    A handler that raises delays nothing else: its event is kept as a `FailedDelivery`, tried again with back-off, and
    dead after `MAX_ATTEMPTS`.
    """

    def decorate(handle: Handler) -> "Task[..., None]":
        consumer = _Consumer(name, name.partition(".")[0], handle, ordered, transactional)

        @shared_task(name=name, bind=True, max_retries=None, **_PUT_ASIDE)
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

    return decorate


@dataclass(frozen=True)
class _Consumer:
    """A handler with the rules by which events reach it."""

    name: str
    service: str
    handle: Handler
    ordered: bool
    transactional: bool

    def take(self, messages: Sequence[Message]) -> None:
        """Let each event have its effect, or note why it could not."""
        batch = self._failures().filter(event_id__in=[message["id"] for message in messages])
        failed_before = {str(event_id) for event_id in batch.values_list("event_id", flat=True)}
        for message in messages:
            try:
                self._run(Event.from_message(message))
            except LATER:
                raise
            except Exception as error:
                logger.exception("%s failed on event %s", self.name, message["id"])
                self._keep(message, f"{type(error).__name__}: {error}")
            else:
                if message["id"] in failed_before:
                    batch.filter(event_id=message["id"]).update(state=FailedDelivery.State.RESOLVED)

    def _run(self, event: Event) -> None:
        # What follows from an event carries the id of the request that caused it.
        set_guid(event.traceparent[3:35])
        try:
            self._let_happen(event)
        finally:
            clear_guid()

    def _let_happen(self, event: Event) -> None:
        if self.transactional:
            with atomic(self.service):
                if inbox.accept(self.service, self.name, event, ordered=self.ordered):
                    self.handle(event)
        elif not inbox.has(self.service, self.name, event):
            self.handle(event)
            inbox.record(self.service, self.name, event)

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
            failure.next_attempt_at = timezone.now() + timedelta(seconds=2**failure.attempts)
            failure.save()

    def _failures(self) -> QuerySet[FailedDelivery]:
        return FailedDelivery.objects.using(alias_of(self.service)).filter(consumer=self.name)
