"""`manage.py relay`: publish committed events until told to stop."""

import signal
import threading
from argparse import ArgumentParser

from django.core.management.base import BaseCommand
from django.db import Error as DatabaseTrouble
from django.db import connections

from apps.common.databases import all_aliases
from apps.common.outages import Outage
from apps.events.relay import broker_outage, relay_batch

IDLE_SECONDS = 0.2
TROUBLE_SECONDS = 2.0

_database_outage = Outage("The relay's database")


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
    """One batch from each database; returns how many seconds to rest: none while there is work, and it can be done."""
    try:
        taken = sum(relay_batch(alias) for alias in all_aliases())
    except DatabaseTrouble as error:
        _database_outage.began(error)
        connections.close_all()
        return TROUBLE_SECONDS
    _database_outage.ended()
    if broker_outage.is_on:
        return TROUBLE_SECONDS
    return 0 if taken else IDLE_SECONDS
