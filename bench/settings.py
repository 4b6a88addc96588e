"""The shop as by default, with the bare views that it is compared with beside it."""

import os

from config.settings.monolith import *  # noqa: F403 - as any profile

ROOT_URLCONF = "bench.urls"
# Shops of one Redis, each with what it remembers.
CACHES["default"]["KEY_PREFIX"] = os.environ["BENCH_SHOP"]  # noqa: F405 - of the base
