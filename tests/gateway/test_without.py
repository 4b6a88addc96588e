"""Each check of a feature fails when that is taken away: it is not satisfied by something else."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.gateway.features import FAILURES, FEATURES, Feature
from tests.gateway.gateway import Backend, running

pytestmark = pytest.mark.once


@pytest.mark.parametrize("feature", FEATURES.values(), ids=FEATURES)
def test_a_check_fails_without_its_feature(backend: Backend, tmp_path: Path, feature: Feature) -> None:
    with running(backend, tmp_path, feature.without) as started:
        damaged = replace(started, timeout=2, patience=1.5)
        with pytest.raises(FAILURES):
            feature.check(damaged)
