"""The short form of `make chaos`: a few attacks on the shop with everything, under load."""

from pathlib import Path

import pytest

from tests.chaos.campaign import Plan, carry_out
from tests.services import needs_redis

pytestmark = [pytest.mark.e2e, pytest.mark.once]

_ATTACKS = ["kill relay", "clock of relay -1 h", "kill worker", "kill database", "kill a web worker"]


def test_what_customers_were_told_is_so_whatever_dies(tmp_path: Path) -> None:
    needs_redis()
    plan = Plan(kills=len(_ATTACKS), seed=1, database="postgresql", broker="redis", only=_ATTACKS, seconds_between=2)
    report = carry_out(plan, tmp_path)
    assert report.violations == [], str(report)
    assert [name for name, _ in report.done] == _ATTACKS
    assert report.answers["place", "201"] > 0
    assert report.answers["pay", "200"] > 0
