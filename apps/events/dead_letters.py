"""Messages that no task can read: kept in a queue of their own, for a person to look at.

RabbitMQ moves there what a worker rejects, because the queues say so. Redis would forget it, so the worker keeps a copy
first. An event among them is not lost in either case: its outbox has it.
"""

import logging
from collections.abc import Callable
from functools import partial
from itertools import islice
from typing import Any

from celery import current_app
from celery.utils.log import get_task_logger
from celery.worker.consumer import Consumer as CeleryConsumer
from django.conf import settings
from kombu import Connection, Message, Producer, Queue
from kombu.exceptions import KombuError

logger = get_task_logger(__name__)

_MOST = 100
_BEGINNING = 200


class Consumer(CeleryConsumer):
    """Celery's own, which rejects what it cannot read and lets nothing that was rejected vanish."""

    def connect(self) -> Connection:
        connection = super().connect()
        with connection.channel() as channel:
            _queue()(channel).declare()
        return connection

    def create_task_handler(self, *arguments: Any) -> Callable[[Message], Any]:  # noqa: ANN401 - Celery's own
        handle = super().create_task_handler(*arguments)
        if self.connection and self.connection.transport.driver_type == "amqp":
            return handle

        def handle_with_care(message: Message) -> Any:  # noqa: ANN401 - whatever Celery's own returns
            # Whoever rejects it, here or after a task has failed on it, asks the message to.
            message.reject = partial(_keep_and_reject, message)  # type: ignore[method-assign]
            message.ack_log_error = partial(_acknowledge, message)  # type: ignore[method-assign]
            return handle(message)

        return handle_with_care

    def on_decode_error(self, message: Message, exc: Exception) -> None:
        """Celery's own would acknowledge it, and it would be gone."""
        logger.error("A message cannot be decoded and is put aside: %s", exc)
        message.reject_log_error(logger, self.connection_errors)  # type: ignore[attr-defined]


def _acknowledge(message: Message, log: logging.Logger, errors: tuple[type[Exception], ...]) -> None:
    """Celery's own keeps it to itself that Redis is away, and the worker then waits on a dead connection for ever."""
    try:
        message.ack()
    except errors:
        log.warning("A message cannot be acknowledged, as Redis does not answer; the worker connects anew")
        raise


def _keep_and_reject(message: Message, requeue: bool = False) -> None:  # noqa: FBT001, FBT002 - kombu's signature
    if not requeue and message.channel:
        Producer(message.channel).publish(
            message.body,
            routing_key=settings.DEAD_LETTERS,
            content_type=message.content_type,
            content_encoding=message.content_encoding,
            headers=message.headers,
            correlation_id=message.properties.get("correlation_id"),
        )
    type(message).reject(message, requeue=requeue)


def dead_letters() -> list[str]:
    """A line about each message that was put aside; none is taken away."""
    if settings.CELERY_TASK_ALWAYS_EAGER:
        return []
    with current_app.connection_for_read() as connection:
        try:
            return _look(connection)
        except (OSError, KombuError) as error:
            return [f"broker dead-letters: nobody knows what is there ({type(error).__name__})"]


def _look(connection: Connection) -> list[str]:
    with connection.channel() as channel:
        queue = _queue()(channel)
        queue.declare()
        messages = list(islice(iter(queue.get, None), _MOST))
        try:
            return [_line(message) for message in messages]
        finally:
            for message in messages:
                message.requeue()


def _line(message: Message) -> str:
    headers = message.headers or {}
    beginning = repr(message.body)[:_BEGINNING]
    return f"message {headers.get('id')} for {headers.get('task', 'no task')} was put aside: {beginning}"


def _queue() -> Queue:
    return Queue(settings.DEAD_LETTERS, routing_key=settings.DEAD_LETTERS)
