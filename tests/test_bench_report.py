"""What a run has measured becomes a page: the words, the verdicts and the plots."""

import gzip
from pathlib import Path

import msgspec
import pytest
import requests
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from bench import report, results
from bench.load import Ratio
from bench.machine import Machine
from bench.memory import role_of
from bench.results import Figure
from bench.telemetry import collector

pytestmark = pytest.mark.once

MACHINE = Machine("2026-11-24", "abc123", "Some CPU", 2, "8 GB", "Linux 6.1", "3.11.9", "15.8", "7.0.15", 0.1, 510)
PAGE = """# Benchmarks

Words of ours.

<!-- report: made by `make bench` -->
what was there
<!-- end of the report -->

More words.
"""


@pytest.fixture
def docs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A page, and the figures of two parts."""
    (tmp_path / "benchmarks.md").write_text(PAGE)
    figures = tmp_path / "kept"
    monkeypatch.setenv("BENCH_RESULTS", str(figures))
    monkeypatch.setenv("BENCH_PART", "orders")
    results.note("over HTTP", "GET /health", 3000, "/s")
    ratio = Ratio([500, 600, 800], [1000, 1000, 1000], "floor", at_least=0.5)
    results.note("over HTTP", "POST /orders", 600.4, "/s", [ratio], sql=3)
    results.note("p99 of p50", "POST /orders", 25.5, "times", at_most=20)
    monkeypatch.setenv("BENCH_PART", "clients")
    results.note("by clients", "POST /orders", 100, "/s", at=1)
    results.note("waiting, by clients", "POST /orders, p50", 10, "ms", at=1)
    results.note("by clients", "POST /orders", 180, "/s", at=4)
    results.note("waiting, by clients", "POST /orders, p50", 22.22, "ms", at=4)
    report.keep(tmp_path, MACHINE, figures)
    return tmp_path


def test_a_report_is_the_figures_with_their_verdicts(docs: Path) -> None:
    assert (docs / "benchmarks.md").read_text() == (
        """# Benchmarks

Words of ours.

<!-- report: made by `make bench` -->

Measured on 2026-11-24 at commit `abc123`; it took 8.5 minutes. The machine's load before it began was 0.1.

| | |
| --- | --- |
| processor | Some CPU, 2 cores for us |
| memory | 8 GB |
| system | Linux 6.1 |
| Python | 3.11.9 |
| PostgreSQL | 15.8 |
| Redis | 7.0.15 |

### Aims

1 of 2 are reached.

| part | what | aim | found | |
| --- | --- | --- | ---: | --- |
| orders | POST /orders | at least 0.5 of floor | 0.60 | reached |
| orders | POST /orders | at most 20 | 25.5 times | **MISSED** |

![How near each aim is](benchmarks/aims.svg)

### orders

**over HTTP**

| | figure | SQL | ratio (lowest to highest round) | aim |
| --- | ---: | ---: | --- | --- |
| GET /health | 3,000/s | | | |
| POST /orders | 600/s | 3 | **0.60** of floor (0.50 to 0.80) | at least 0.5: reached |

**p99 of p50**

| | figure | aim |
| --- | ---: | --- |
| POST /orders | 25.5 times | at most 20: **MISSED** |

### clients

**by clients**

| | at | figure |
| --- | ---: | ---: |
| POST /orders | 1 | 100/s |
| POST /orders | 4 | 180/s |

![by clients](benchmarks/clients-by-clients.svg)

**waiting, by clients**

| | at | figure |
| --- | ---: | ---: |
| POST /orders, p50 | 1 | 10 ms |
| POST /orders, p50 | 4 | 22.2 ms |

![waiting, by clients](benchmarks/clients-waiting-by-clients.svg)

<!-- end of the report -->

More words.
"""
    )


def test_the_same_figures_make_the_same_bytes(docs: Path) -> None:
    folder = docs / "benchmarks"
    first = {file.name: file.read_bytes() for file in folder.iterdir()}
    (folder / "of-an-older-run.svg").write_text("")
    report.write(docs)
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == first
    assert sorted(first) == [
        "aims.svg",
        "clients-by-clients.svg",
        "clients-waiting-by-clients.svg",
        "figures.jsonl",
        "machine.json",
    ]


def test_plots_are_readable_on_any_background(docs: Path) -> None:
    plot = (docs / "benchmarks" / "aims.svg").read_text()
    # Text stays text, in a grey; nothing is painted white or black.
    assert "orders: POST /orders</text>" in plot
    assert "fill: #7d8590" in plot
    assert "#ffffff" not in plot
    assert "#000000" not in plot


def test_figures_are_kept_as_they_were(docs: Path) -> None:
    kept = results.read(docs / "benchmarks" / "figures.jsonl")
    share = results.Share("floor", 0.6, 0.5, 0.8)
    assert kept[1] == Figure("orders", "over HTTP", "POST /orders", 600.4, "/s", (share,), at_least=0.5, sql=3)
    machine = msgspec.json.decode((docs / "benchmarks" / "machine.json").read_bytes(), type=Machine)
    assert machine == MACHINE


def test_nothing_is_kept_where_nobody_asks_for_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("BENCH_RESULTS", raising=False)
    monkeypatch.chdir(tmp_path)
    results.note("over HTTP", "GET /health", 3000, "/s")
    assert list(tmp_path.iterdir()) == []


def test_a_page_without_its_marks_is_left_alone(docs: Path) -> None:
    page = docs / "benchmarks.md"
    page.write_text("Somebody wrote it anew.")
    with pytest.raises(SystemExit, match="must have a line <!-- report"):
        report.write(docs)
    assert page.read_text() == "Somebody wrote it anew."


@pytest.mark.parametrize(
    ("command", "role"),
    [
        ("/x/python -m granian --interface=wsgi --port=1 config.wsgi:application", "web server"),
        ("/x/python -m celery --quiet --app config worker --queues a,b --loglevel warning", "worker"),
        ("/x/python -m celery --app config worker --queues a --concurrency=1 --hostname=slow@%h", "slow worker"),
        ("/x/python -m celery --quiet --app config beat --schedule /y", "periodic tasks"),
        ("/x/python manage.py relay", "relay"),
        ("/x/python manage.py grpc", "gRPC server"),
        ("/x/python manage.py serve", "supervisor"),
        ("/x/envoy -c /y/envoy.yaml", "Envoy"),
        ("postgres: cartwright", None),
    ],
)
def test_a_process_is_known_by_its_command(command: str, role: str | None) -> None:
    assert role_of(command) == role


def test_the_collector_counts_the_spans_that_it_is_sent() -> None:
    sent = ExportTraceServiceRequest()
    spans = sent.resource_spans.add().scope_spans.add().spans
    for name in ("request", "statement", "commit"):
        spans.add(name=name)
    with collector() as (address, counted):
        for body, headers in (
            (sent.SerializeToString(), {}),
            (gzip.compress(sent.SerializeToString()), {"Content-Encoding": "gzip"}),
        ):
            assert requests.post(f"{address}/v1/traces", data=body, headers=headers, timeout=10).status_code == 200
        assert requests.post(f"{address}/v1/metrics", data=b"", timeout=10).status_code == 200
        assert counted.value == 6
