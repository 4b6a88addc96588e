"""The benchmarks run, and check what they have measured. How fast is not for a test to say."""

import subprocess
import sys
from pathlib import Path

import pytest

from bench import pgbench, simulate
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


def test_a_short_run_of_unit_costs_and_the_relay_writes_a_report(tmp_path: Path) -> None:
    needs_postgres()
    needs_redis()
    (tmp_path / "benchmarks.md").write_text((ROOT / "docs" / "benchmarks.md").read_text())
    (tmp_path / "scaling.md").write_text((ROOT / "docs" / "scaling.md").read_text())
    said = _run("--on", "units", "--on", "relay", "--report", str(tmp_path))
    assert "Checked: the audit is clean." in said
    assert "Checked: every order was deducted once, by the shop or by hand." in said
    page = (tmp_path / "benchmarks.md").read_text()
    assert "### units\n" in page
    assert "### relay\n" in page
    # What is planned follows from them.
    simulate.write(tmp_path)
    plan = (tmp_path / "scaling.md").read_text()
    assert "| orders a second | 1 | 100 | 10,000 |" in plan
    assert "Nothing was measured with several numbers of clients" in plan


def _run(*arguments: str) -> str:
    command = [sys.executable, "-m", "bench", *arguments, "--rounds", "1", "--seconds", "0.1", "--clients", "4"]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
