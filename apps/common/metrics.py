"""Counting for Prometheus, as far as it belongs to no app: `docs/metrics.md` lists every metric.

Each app counts in a `metrics.py` of its own. Where labels have a known set of values, each exists from the start, with
0: who looks at a rate must not miss the first event.
"""

from collections.abc import Callable

from django.conf import settings
from django.db import transaction
from prometheus_client import Counter, Histogram, disable_created_metrics

from apps.common.databases import alias_of

# They say when a process began to count, and `orders_created` would say so, too.
disable_created_metrics()  # type: ignore[no-untyped-call]

REDIS_COMMANDS = Counter("redis_commands_total", "Commands that were sent to the Redis of REDIS_URL.", ("command",))
for _command in ("get", "set", "mget", "del", "evalsha", "zincrby", "zrange"):
    REDIS_COMMANDS.labels(_command)

TASKS = Counter("celery_tasks_total", "Runs of tasks, by how they ended.", ("task", "outcome"))
TASK_SECONDS = Histogram(
    "celery_task_duration_seconds",
    "How long a run of a task took, however it ended.",
    ("task",),
    buckets=(0.005, 0.025, 0.1, 0.5, 2.5, 10, 45),
)
SUCCEEDED, FAILED, RETRIED = "succeeded", "failed", "retried"


def tasks() -> frozenset[str]:
    """The tasks that run here: those that hear of events, and periodic ones."""
    subscribers = {task for tasks in settings.EVENT_SUBSCRIBERS.values() for task in tasks}
    ours = {task for task in subscribers if settings.PROFILE.runs(task.partition(".")[0])}
    return frozenset(ours | {entry["task"] for entry in settings.CELERY_BEAT_SCHEDULE.values()})


for _task in sorted(tasks()) if settings.PROFILE.does_work else ():
    TASK_SECONDS.labels(_task)
    for _outcome in (SUCCEEDED, FAILED, RETRIED):
        TASKS.labels(_task, _outcome)


def once_committed(service: str, count: Callable[[], None]) -> None:
    """Count when the transaction on the service's database has committed, or at once if there is none. Counting never
    fails what is counted.
    """
    transaction.on_commit(count, using=alias_of(service), robust=True)
