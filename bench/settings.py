"""The shop as by default, with a prefix of its own for what it remembers in Redis."""

import os

from config.settings.monolith import *  # noqa: F403 - as any profile

CACHES["default"]["KEY_PREFIX"] = os.environ["BENCH_SHOP"]  # noqa: F405 - of the base
