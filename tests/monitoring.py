"""The rules and dashboards of `deploy/`, as tests read them."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.promql import Expression, Matcher, read
from tests.scrape import Scrape
from tests.shop import ROOT

PROMETHEUS = ROOT / "deploy" / "prometheus"
GRAFANA = ROOT / "deploy" / "grafana"
RUNBOOKS = ROOT / "docs" / "runbooks"
# Prometheus' own, which no process tells.
_OWN = {"up": {"job", "instance"}, "ALERTS": {"alertname", "alertstate"}}
_TARGET = {"job", "instance"}
# Labels whose values cannot be told in advance, or come with what happens.
_OPEN_VALUES = frozenset({"job", "status", "grpc_code", "alertname", "queue"})


@dataclass(frozen=True)
class Asked:
    """An expression, and where it stands."""

    where: str
    text: str

    @property
    def expression(self) -> Expression:
        return read(self.text)


def rules() -> list[dict[str, Any]]:
    """Every rule of every file."""
    files = sorted((PROMETHEUS / "rules").glob("*.yml"))
    return [rule for file in files for group in yaml.safe_load(file.read_text())["groups"] for rule in group["rules"]]


def alerts() -> list[dict[str, Any]]:
    return [rule for rule in rules() if "alert" in rule]


def recorded() -> dict[str, Asked]:
    """What each recording rule records."""
    return {rule["record"]: Asked(rule["record"], rule["expr"]) for rule in rules() if "record" in rule}


def dashboards() -> dict[Path, dict[str, Any]]:
    return {file: json.loads(file.read_text()) for file in sorted((GRAFANA / "dashboards").glob("*.json"))}


def panels() -> Iterator[tuple[str, dict[str, Any]]]:
    """Each panel that shows something, under the name of its dashboard."""
    for file, dashboard in dashboards().items():
        for panel in dashboard["panels"]:
            if panel["type"] != "row":
                yield file.stem, panel


def everything_asked() -> list[Asked]:
    """Every expression of rules, panels, annotations and runbooks, with what Grafana might fill in."""
    asked = [Asked(rule.get("alert") or rule["record"], rule["expr"]) for rule in rules()]
    for name, panel in panels():
        asked += [Asked(f"{name}: {panel['title']}", _filled(target["expr"])) for target in panel["targets"]]
    for file, dashboard in dashboards().items():
        asked += [Asked(file.stem, _filled(each["expr"])) for each in dashboard["annotations"]["list"]]
    for file in sorted(RUNBOOKS.glob("*.md")):
        asked += [Asked(file.name, line) for block in blocks(file, "promql") for line in block.splitlines()]
    return asked


def blocks(file: Path, language: str) -> list[str]:
    """What a page says in that language."""
    return re.findall(rf"^```{language}\n(.*?)\n```$", file.read_text(), re.MULTILINE | re.DOTALL)


def _filled(text: str) -> str:
    return text.replace("$__rate_interval", "1m").replace("$job", ".*")


def missing(asked: Asked, found: Scrape) -> list[str]:
    """What an expression asks for and nobody tells: metrics, their labels, and values of labels that are known from the
    start.
    """
    known = {name: _labels_of(name, found) for name in asked.expression.metrics}
    problems = [f"{asked.where}: there is no metric {name}" for name, labels in known.items() if labels is None]
    for selector in asked.expression.selectors:
        labels = known[selector.metric]
        if labels is None:
            continue
        for matcher in selector.matchers:
            if matcher.label not in labels:
                problems.append(f"{asked.where}: {selector.metric} has no label {matcher.label}")
            elif not _has_value(selector.metric, matcher, found):
                problems.append(
                    f"{asked.where}: no {selector.metric} has {matcher.label}{matcher.operator}{matcher.value}"
                )
    every_label = _TARGET.union(*(labels for labels in known.values() if labels))
    problems += [f"{asked.where}: nothing has a label {name}" for name in asked.expression.grouping - every_label]
    return problems


def _labels_of(metric: str, found: Scrape) -> set[str] | None:
    if metric in _OWN:
        return _OWN[metric]
    rule = recorded().get(metric)
    if rule is not None:
        return rule.expression.grouping - {"le"}
    samples = found.of(metric)
    return {label for sample in samples for label in sample.labels} | _TARGET if samples else None


def _has_value(metric: str, matcher: Matcher, found: Scrape) -> bool:
    if matcher.label in _OPEN_VALUES or metric in _OWN or metric in recorded() or matcher.operator not in {"=", "=~"}:
        return True
    values = {sample.labels.get(matcher.label) for sample in found.of(metric)}
    return values >= set(matcher.value.split("|"))
