"""Periodic tasks run, whatever a clock has said."""

import pickle
from datetime import timedelta

import pytest
from celery.beat import ScheduleEntry
from django.conf import settings
from django.utils import timezone

from apps.common.schedules import Every


@pytest.mark.parametrize(("seconds_ago", "is_due"), [(4, False), (11, True), (-3600, True)])
def test_every_ten_seconds(seconds_ago: int, is_due: bool) -> None:
    every = pickle.loads(pickle.dumps(Every(10)))  # noqa: S301 - beat keeps its entries so
    found = every.is_due(timezone.now() - timedelta(seconds=seconds_ago))
    assert found.is_due == is_due
    assert 0 < found.next <= 10


def test_beat_makes_good_for_a_clock_that_was_ahead() -> None:
    (entry,) = (each for each in settings.CELERY_BEAT_SCHEDULE.values() if each["task"] == "orders.settle_open_orders")
    ahead = timezone.now() + timedelta(hours=1)
    is_due, _ = ScheduleEntry(**entry, name="settle", last_run_at=ahead).is_due()
    assert is_due


def test_a_run_is_not_too_old_for_a_worker_whose_clock_is_an_hour_ahead() -> None:
    expiries = [each["options"]["expires"] for each in settings.CELERY_BEAT_SCHEDULE.values() if "options" in each]
    assert expiries
    assert min(expiries) > timedelta(hours=1).total_seconds()
