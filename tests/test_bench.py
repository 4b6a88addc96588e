"""The benchmarks run, and check what they have measured. How fast is not for a test to say."""

import subprocess
import sys

import pytest

from tests.services import needs_postgres, needs_redis
from tests.shop import ROOT

pytestmark = [pytest.mark.e2e, pytest.mark.once]


def test_a_short_run() -> None:
    assert "each with its stock reserved; the audit is clean." in _run("--on", "sqlite")


def test_a_short_run_of_the_catalogue() -> None:
    needs_postgres()
    needs_redis()
    said = _run("--on", "catalogue", "--products", "60")
    assert "Checked: the bare views answer what the shops answer." in said
    assert "SQL depends on the page size: nowhere: reached" in said


def _run(*arguments: str) -> str:
    command = [sys.executable, "-m", "bench", *arguments, "--rounds", "1", "--seconds", "0.1"]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
