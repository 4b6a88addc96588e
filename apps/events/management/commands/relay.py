"""`manage.py relay`: publish committed events until told to stop."""

import signal
import threading
from argparse import ArgumentParser
from collections.abc import Sequence

from django.core.management.base import BaseCommand
from django.db import Error as DatabaseTrouble
from django.db import connections

from apps.common.databases import all_aliases
from apps.common.outages import Outage
from apps.events import exporting, outlets
from apps.events.relay import broker_outage, relay_batch
from config import telemetry

IDLE_SECONDS = 0.2
TROUBLE_SECONDS = 2.0
_STOP_SECONDS = 12

_database_outage = Outage("The relay's database")


class Command(BaseCommand):
    help = "Publish events from the outboxes to their subscribers."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--once", action="store_true", help="publish what is there, then exit")

    def handle(self, *args: object, once: bool, **options: object) -> None:
        telemetry.start()
        stop = threading.Event()
        if not once:
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, lambda *_: stop.set())
        ways_out = [] if once else _start_exporting(stop)
        while not stop.is_set():
            pause = _pass()
            if once and pause:
                break
            stop.wait(pause)
        if once:
            exporting.export_all()
        for thread in ways_out:
            thread.join(_STOP_SECONDS)


def _start_exporting(stop: threading.Event) -> Sequence[threading.Thread]:
    """A thread for each way out of the shop: one that hangs keeps neither the relay nor another waiting."""
    threads = [
        threading.Thread(target=exporting.keep_exporting, args=(name, stop), name=f"outlet-{name}", daemon=True)
        for name in outlets.configured()
    ]
    for thread in threads:
        thread.start()
    return threads


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
