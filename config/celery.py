"""The Celery application: `celery -A config worker` or, with no BROKER_URL, tasks that run where they are sent."""

import os
from typing import Any

from celery import Celery, Task
from django.db import connections

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings.monolith")


class FreshConnections(Task):  # type: ignore[type-arg]  # generic in the stubs only
    """A task that starts and ends with connections that work.

    Celery sees to that in a worker. Tasks that run in the relay or in beat would keep a connection that has broken.
    """

    abstract = True

    def __call__(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - whatever the task takes
        _drop_broken()
        try:
            return super().__call__(*args, **kwargs)
        finally:
            _drop_broken()


def _drop_broken() -> None:
    for connection in connections.all(initialized_only=True):
        if not connection.in_atomic_block:
            connection.close_if_unusable_or_obsolete()


app = Celery("cartwright", task_cls=FreshConnections)
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
