"""Everything in one process: the default."""

from config.settings.base import *  # noqa: F403 - a profile is the base with what differs
