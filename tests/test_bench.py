"""The benchmarks run, and check what they have measured. How fast is not for a test to say."""

import subprocess
import sys

import pytest

from tests.shop import ROOT

pytestmark = [pytest.mark.e2e, pytest.mark.once]


def test_a_short_run() -> None:
    command = [sys.executable, "-m", "bench", "--on", "sqlite", "--rounds", "1", "--seconds", "0.1"]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "each with its stock reserved; the audit is clean." in done.stdout
