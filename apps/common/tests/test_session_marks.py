"""Marks of sessions, as every process that shares the Redis sees them."""

from uuid import uuid4

import pytest
from django.core.cache import cache
from pytest_django import Settings

from apps.common import session_marks

pytestmark = pytest.mark.once


@pytest.mark.usefixtures("shared_cache")
def test_a_mark_says_whether_a_session_lives() -> None:
    live, ended, other = uuid4(), uuid4(), uuid4()
    session_marks.mark_live(live)
    session_marks.mark_ended([ended, other])
    assert [session_marks.says_live(each) for each in (live, ended, other, uuid4())] == [True, False, False, None]


@pytest.mark.usefixtures("shared_cache")
def test_an_end_is_final_and_outlives_every_token(settings: Settings) -> None:
    session_id = uuid4()
    session_marks.mark_live(session_id)
    assert cache.ttl(f"users:session:{session_id}") == 60  # type: ignore[attr-defined] # django-redis
    session_marks.mark_ended([session_id])
    session_marks.mark_live(session_id)
    assert session_marks.says_live(session_id) is False
    lifetime = settings.SIMPLE_JWT["ACCESS_TOKEN_LIFETIME"].total_seconds()
    assert cache.ttl(f"users:session:{session_id}") == lifetime  # type: ignore[attr-defined]


@pytest.mark.usefixtures("shared_cache")
def test_nothing_is_known_while_redis_is_away(settings: Settings) -> None:
    settings.CACHES = {
        "default": {
            **settings.CACHES["default"],
            "LOCATION": "redis://127.0.0.1:1",
            "OPTIONS": {"IGNORE_EXCEPTIONS": True},
        }
    }
    session_id = uuid4()
    session_marks.mark_live(session_id)
    session_marks.mark_ended([session_id])
    assert session_marks.says_live(session_id) is None


def test_nothing_is_marked_in_a_cache_of_one_process() -> None:
    session_id = uuid4()
    session_marks.mark_live(session_id)
    assert session_marks.says_live(session_id) is None
    session_marks.mark_ended([session_id])
    assert session_marks.says_live(session_id) is None
    assert cache.get(f"users:session:{session_id}") is None
