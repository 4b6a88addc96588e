"""Each feature of the gateway, driven through the real Envoy."""

import pytest

from tests.gateway.features import FEATURES, Check
from tests.gateway.gateway import Running

pytestmark = pytest.mark.once


@pytest.mark.parametrize(
    "check", dict.fromkeys(feature.check for feature in FEATURES.values()), ids=lambda check: check.__name__
)
def test_the_gateway(gateway: Running, check: Check) -> None:
    check(gateway)
