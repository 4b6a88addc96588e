"""What the relay does for the ways out of the shop, each in a thread of its own."""

import logging
import threading
from contextlib import closing, nullcontext

from django.db import connections

from apps.common.databases import all_aliases
from apps.common.outages import Outage
from apps.events import outlets
from apps.events.webhooks import rows
from apps.events.webhooks.sending import Sender, send_due

logger = logging.getLogger(__name__)

_IDLE_SECONDS = 0.3
# An outlet that is away is asked again after this.
_TROUBLE_SECONDS = 2.0


def keep_exporting(name: str, stop: threading.Event) -> None:
    """Hand the outlet what it has yet to get until told to stop, and send webhooks."""
    outage = Outage(f"The outlet of events {name!r}")
    sending = Sender() if name == outlets.WEBHOOKS and rows.are_here() else nullcontext()
    with closing(outlets.make(name)) as outlet, sending as sender:
        while not stop.is_set():
            try:
                taken = sum(outlets.export_batch(alias, name, outlet) for alias in all_aliases())
                is_busy = sender is not None and sender.work(patience=_IDLE_SECONDS)
            except Exception as error:  # noqa: BLE001 - drivers have no error in common, and the thread must live on
                outage.began(error)
                connections.close_all()
                stop.wait(_TROUBLE_SECONDS)
            else:
                outage.ended()
                stop.wait(0 if taken or is_busy else _IDLE_SECONDS)
    connections.close_all()


def export_all() -> None:
    """Hand every outlet what it has yet to get, once; one that is away keeps nobody else waiting."""
    for name in outlets.configured():
        try:
            with closing(outlets.make(name)) as outlet:
                while sum(outlets.export_batch(alias, name, outlet) for alias in all_aliases()):
                    pass
        except Exception as error:  # noqa: BLE001 - as above
            logger.warning("The outlet of events %r does not answer (%s: %s)", name, type(error).__name__, error)
    if rows.are_here():
        send_due()
