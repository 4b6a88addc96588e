"""What stops together stops, whatever is in the way."""

import signal
import subprocess
from collections.abc import Sequence

import pytest

from apps.common import supervisor
from apps.common.supervisor import Process

pytestmark = pytest.mark.once


@pytest.mark.parametrize("farewell", [["/no/such/program"], ["sleep", "600"]])
def test_a_farewell_that_fails_or_hangs_keeps_nobody_from_stopping(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, farewell: Sequence[str]
) -> None:
    monkeypatch.setattr(supervisor, "_STOP_SECONDS", 1)
    both = [Process("first", ["sleep", "600"], farewell=farewell), Process("second", ["sleep", "600"])]
    for process in both:
        process.running = subprocess.Popen(process.command, start_new_session=True)  # noqa: S603
    supervisor._end(both)
    assert [process.running.poll() for process in both if process.running] == [-signal.SIGTERM, -signal.SIGTERM]
    (line,) = caplog.messages
    assert line.startswith("first stops without its farewell: ")
