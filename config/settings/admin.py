"""Staff pages over the databases of all services; what happens there is relayed and worked on by the services."""

from config.settings.base import *  # noqa: F403 - a profile is the base with what differs
