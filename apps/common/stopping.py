"""Whether this process has been told to stop: for what would otherwise go on and on, and keep it from stopping."""

import os
import signal
import threading

_ENDINGS = frozenset({signal.SIGTERM, signal.SIGINT})
_told = threading.Event()


def listen() -> None:
    """Hear of it. Call it while the process starts; outside of the main thread, where nobody may, it does nothing.

    The server has handlers of its own for these signals, which stay: Python also wakes the thread that reads from here.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    threading.Thread(target=_read, args=(reader,), name="stopping", daemon=True).start()


def is_on() -> bool:
    return _told.is_set()


def _read(reader: int) -> None:
    while not _ENDINGS.intersection(os.read(reader, 64)):
        pass
    _told.set()
