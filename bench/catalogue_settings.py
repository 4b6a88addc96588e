"""The shop as by default, with the bare views that its catalogue is compared with beside it."""

from bench.settings import *  # noqa: F403 - as any profile

ROOT_URLCONF = "bench.urls"
