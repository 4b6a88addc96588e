"""`manage.py relay`: publish committed events until told to stop."""

import logging
import signal
import threading
from argparse import ArgumentParser

from django.core.management.base import BaseCommand
from django.db import DatabaseError, connections

from apps.common.databases import all_aliases
from apps.events.relay import relay_batch

logger = logging.getLogger(__name__)

IDLE_SECONDS = 0.2
TROUBLE_SECONDS = 2.0


class Command(BaseCommand):
    help = "Publish events from the outboxes to their subscribers."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--once", action="store_true", help="publish what is there, then exit")

    def handle(self, *args: object, once: bool, **options: object) -> None:
        stop = threading.Event()
        if not once:
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, lambda *_: stop.set())
        while not stop.is_set():
            pause = _pass()
            if once and pause:
                break
            stop.wait(pause)


def _pass() -> float:
    """One batch from each database; returns how many seconds to rest: none while there is work."""
    try:
        taken = sum(relay_batch(alias) for alias in all_aliases())
    except DatabaseError:
        logger.exception("The relay lost its database; it tries again in %s s", TROUBLE_SECONDS)
        connections.close_all()
        return TROUBLE_SECONDS
    return 0 if taken else IDLE_SECONDS
