"""The real Prometheus with the rules of `deploy/`, for a shop on this machine."""

import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
import yaml

from tests.monitoring import PROMETHEUS
from tests.services import needs_prometheus


@dataclass(frozen=True)
class Prometheus:
    """One that runs."""

    url: str

    def up(self) -> dict[str, float]:
        """Whether each job's target answers."""
        return self.ask("sum by (job) (up)")

    def ask(self, expression: str) -> dict[str, float]:
        """The values of an expression, by the only label that they have."""
        found = self._get("query", query=expression)["result"]
        return {" ".join(each["metric"].values()): float(each["value"][1]) for each in found}

    def rules(self) -> dict[str, str]:
        """The health of each rule."""
        groups = self._get("rules")["groups"]
        return {rule["name"]: rule["health"] for group in groups for rule in group["rules"]}

    def _get(self, what: str, **parameters: str) -> Any:  # noqa: ANN401 - JSON
        answer = requests.get(f"{self.url}/api/v1/{what}", params=parameters, timeout=10)
        return answer.json()["data"]


@contextmanager
def running_prometheus(folder: Path, targets: Mapping[str, int]) -> Iterator[Prometheus]:
    """Prometheus as it is configured for containers, but for ports of this machine, and asking every second. Jobs that
    have no port here are left out.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(_configuration({**targets, "prometheus": port})))
    command = [needs_prometheus(), f"--config.file={folder / 'prometheus.yml'}"]
    command += [f"--storage.tsdb.path={folder / 'tsdb'}", f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn"]
    log = folder / "prometheus.log"
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out)
    try:
        _await(f"http://127.0.0.1:{port}", process, log)
        yield Prometheus(f"http://127.0.0.1:{port}")
    finally:
        process.terminate()
        process.wait(timeout=30)


def _configuration(targets: Mapping[str, int]) -> dict[str, Any]:
    configuration: dict[str, Any] = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())
    configuration["global"] = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
    configuration["rule_files"] = [str(PROMETHEUS / name) for name in configuration["rule_files"]]
    configuration["scrape_configs"] = [
        {
            **{name: each for name, each in job.items() if not name.endswith("_configs")},
            "static_configs": [{"targets": [f"127.0.0.1:{targets[job['job_name']]}"]}],
        }
        for job in configuration["scrape_configs"]
        if job["job_name"] in targets
    ]
    return configuration


def _await(url: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()[-3000:]
        with suppress(requests.ConnectionError):
            if requests.get(f"{url}/-/ready", timeout=5).ok:
                return
        time.sleep(0.1)
    raise AssertionError(f"Prometheus did not become ready:\n{log.read_text()[-3000:]}")
