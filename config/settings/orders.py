"""The orders service alone: the others are reached over gRPC."""

from config.settings.base import *  # noqa: F403 - a profile is the base with what differs
