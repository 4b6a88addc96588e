"""The Celery application: `celery -A config worker` or, with no BROKER_URL, tasks that run where they are sent."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import Any

from celery import Celery, Task
from celery.exceptions import Retry
from celery.signals import beat_init, worker_process_init, worker_process_shutdown
from django.db import connections

from apps.common import logs, tracing
from apps.common.tracing import Kind
from config import telemetry

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings.monolith")


class FreshConnections(Task):  # type: ignore[type-arg]  # generic in the stubs only
    """A task that starts and ends with connections that work, is counted, and can be followed.

    Celery sees to connections in a worker. Tasks that run in the relay or in beat would keep one that has broken.
    """

    abstract = True

    def __call__(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - whatever the task takes
        # Not above: settings are not there yet when the application is made.
        from apps.common import metrics  # noqa: PLC0415

        _drop_broken()
        outcome, began = metrics.FAILED, perf_counter()
        try:
            with _observed(self):
                answer = super().__call__(*args, **kwargs)
        except Retry:
            outcome = metrics.RETRIED
            raise
        else:
            outcome = metrics.SUCCEEDED
            return answer
        finally:
            metrics.TASKS.labels(self.name, outcome).inc()
            metrics.TASK_SECONDS.labels(self.name).observe(perf_counter() - began)
            _drop_broken()


@contextmanager
def _observed(task: Task) -> Iterator[None]:  # type: ignore[type-arg]  # as above
    """A span around the task, below that of its sender; and lines that name the task."""
    parent = (task.request.headers or {}).get("traceparent", "")
    with tracing.span(f"run {task.name}", Kind.CONSUMER, parent=parent), logs.apart():
        logs.bind(task=task.name)
        yield


def _drop_broken() -> None:
    for connection in connections.all(initialized_only=True):
        if not connection.in_atomic_block:
            connection.close_if_unusable_or_obsolete()


app = Celery("cartwright", task_cls=FreshConnections)
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


# In each process of a worker after it was forked, and in beat, which runs tasks where there is no broker.
@worker_process_init.connect
@beat_init.connect
def _start(**_: object) -> None:
    telemetry.start()


# Such a process ends without what others do in the end.
@worker_process_shutdown.connect
def _stop(**_: object) -> None:
    telemetry.stop()
