"""When periodic tasks are due."""

from datetime import datetime
from typing import Any

from celery.schedules import schedstate, schedule


class Every(schedule):
    """Due so many seconds after the last run. A run from the future was noted by a clock that has been put right since:
    Celery's own schedule would wait until that time has come.
    """

    def __init__(self, seconds: float, **options: Any) -> None:  # noqa: ANN401 - Celery's own
        super().__init__(run_every=seconds, **options)

    def is_due(self, last_run_at: datetime) -> schedstate:
        if self.maybe_make_aware(last_run_at) > self.now():
            return schedstate(is_due=True, next=self.seconds)
        return super().is_due(last_run_at)

    def __reduce__(self) -> tuple[type["Every"], tuple[float]]:
        return type(self), (self.seconds,)
