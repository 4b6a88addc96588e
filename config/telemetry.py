"""Traces in this process: `start()` once, after whatever fork has made the process, as what sends spans is a thread.

Without OTEL_EXPORTER_OTLP_ENDPOINT it does nothing, and nothing of OpenTelemetry is loaded.
"""

import atexit
from importlib import import_module
from multiprocessing import util

from django.conf import settings

# How long a process that stops waits for a collector that is slow, or away.
_FLUSH_SECONDS = 3.0
# Before other things that a process does when it ends.
_EARLY = 100


def start() -> None:
    """Send spans of what this process does to the collector, from now until the process ends."""
    if not settings.OTLP_ENDPOINT:
        return
    spans = import_module("config.spans")
    spans.start()
    atexit.register(stop)
    # A child of multiprocessing's, such as a web worker, ends without the above.
    util.Finalize(None, stop, exitpriority=_EARLY)


def stop() -> None:
    """Send what there is, within a few seconds."""
    if settings.OTLP_ENDPOINT:
        import_module("config.spans").stop(_FLUSH_SECONDS)
