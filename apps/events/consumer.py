"""Subscribers: Celery tasks that take a batch of events and let each have its effect once."""

import logging
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

from celery import Task, shared_task
from django.db import InterfaceError, OperationalError
from django.utils import timezone

from apps.common.databases import alias_of, atomic
from apps.events import inbox
from apps.events.envelope import Event
from apps.events.models import FailedDelivery

logger = logging.getLogger(__name__)

Handler = Callable[[Event], None]
Message = dict[str, Any]

MAX_ATTEMPTS = 10
_DATABASE_AWAY = (OperationalError, InterfaceError)


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
    service = name.partition(".")[0]

    def decorate(handle: Handler) -> "Task[..., None]":
        def run(event: Event) -> None:
            if transactional:
                with atomic(service):
                    if inbox.accept(service, name, event, ordered=ordered):
                        handle(event)
            elif not inbox.has(service, name, event):
                handle(event)
                inbox.record(service, name, event)

        @shared_task(name=name, bind=True, max_retries=None)
        def deliver(task: "Task[..., None]", messages: Sequence[Message]) -> None:
            try:
                failing = _failing(service, name, messages)
                for message in messages:
                    if _attempt(service, name, message, run) and message["id"] in failing:
                        _resolve(service, name, message)
            except _DATABASE_AWAY as error:
                # Not the event's fault, and nowhere to note it: the broker, or the outbox, keeps the whole batch.
                if task.request.is_eager:
                    raise
                raise task.retry(exc=error, countdown=min(60, 2**task.request.retries)) from error

        return deliver

    return decorate


def _attempt(service: str, consumer: str, message: Message, run: Handler) -> bool:
    """Let the event have its effect; False when the handler failed, which is noted."""
    try:
        run(Event.from_message(message))
    except _DATABASE_AWAY:
        raise
    except Exception as error:
        logger.exception("%s failed on event %s", consumer, message.get("id"))
        _keep(service, consumer, message, f"{type(error).__name__}: {error}")
        return False
    return True


def _failing(service: str, consumer: str, messages: Sequence[Message]) -> set[str]:
    """Which of the events failed before, in one query for the batch."""
    known = FailedDelivery.objects.using(alias_of(service)).filter(
        consumer=consumer, event_id__in=[message["id"] for message in messages]
    )
    return {str(event_id) for event_id in known.values_list("event_id", flat=True)}


def _keep(service: str, consumer: str, message: Message, error: str) -> None:
    """Note the failure, and when to try again: after 2, 4, 8 … seconds, and in the end never."""
    with atomic(service):
        failure, _ = (
            FailedDelivery.objects.using(alias_of(service))
            .select_for_update()
            .get_or_create(
                consumer=consumer,
                event_id=message["id"],
                defaults={"type": message["type"], "message": message, "error": error, "attempts": 0},
            )
        )
        failure.attempts += 1
        failure.error = error
        failure.state = FailedDelivery.State.RETRYING if failure.attempts < MAX_ATTEMPTS else FailedDelivery.State.DEAD
        failure.next_attempt_at = timezone.now() + timedelta(seconds=2**failure.attempts)
        failure.save()


def _resolve(service: str, consumer: str, message: Message) -> None:
    failures = FailedDelivery.objects.using(alias_of(service)).filter(consumer=consumer, event_id=message["id"])
    failures.update(state=FailedDelivery.State.RESOLVED)
