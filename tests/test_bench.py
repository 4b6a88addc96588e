"""The benchmarks run, and check what they have measured. How fast is not for a test to say."""

import subprocess
import sys

import pytest

from bench import pgbench
from tests.services import needs_postgres, needs_redis
from tests.shop import ROOT

pytestmark = [pytest.mark.e2e, pytest.mark.once]

_AUDITED = "each with its stock reserved; the audit is clean."


def test_a_short_run() -> None:
    assert _AUDITED in _run("--on", "sqlite")


def test_a_short_run_of_orders() -> None:
    needs_postgres()
    needs_redis()
    if pgbench.find() is None:
        pytest.skip("There is no pgbench.")
    said = _run("--on", "orders")
    assert _AUDITED in said
    # Each aim has its verdict, whichever it is.
    assert said.count("reached") + said.count("MISSED") == 6


def test_a_short_run_of_events() -> None:
    needs_postgres()
    needs_redis()
    assert "every order that was paid is deducted once; the audit is clean." in _run("--on", "events")


def test_a_short_run_of_many_orders() -> None:
    needs_postgres()
    needs_redis()
    said = _run("--on", "scale", "--orders", "2000")
    assert "  2,000 orders, made in" in said
    assert "Checked: the reports tell what the orders add up to." in said


def test_a_short_run_of_the_catalogue() -> None:
    needs_postgres()
    needs_redis()
    said = _run("--on", "catalogue", "--products", "60")
    assert "Checked: the bare views answer what the shops answer." in said
    assert "SQL depends on the page size: nowhere: reached" in said


def _run(*arguments: str) -> str:
    command = [sys.executable, "-m", "bench", *arguments, "--rounds", "1", "--seconds", "0.1", "--clients", "4"]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
