"""Prometheus takes its configuration and rules, Grafana its dashboards, and every alert has a runbook."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from config.profiles import PROFILES, SERVICES
from deploy.envoy import render
from tests.monitoring import GRAFANA, PROMETHEUS, RUNBOOKS, Asked, alerts, dashboards, everything_asked, missing, panels
from tests.promql import Matcher, NotUnderstood, Selector, read
from tests.scrape import Scrape
from tests.services import needs_prometheus
from tests.shop import ROOT

pytestmark = pytest.mark.once

ALERTS = [alert["alert"] for alert in alerts()]


def promtool(*arguments: object, folder: Path = PROMETHEUS) -> str:
    needs_prometheus()
    command = ["promtool", *map(str, arguments)]
    done = subprocess.run(command, cwd=folder, check=False, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


class TestPrometheus:
    def test_its_configuration_and_rules_are_valid(self) -> None:
        promtool("check", "config", "prometheus.yml")
        promtool("check", "rules", "--lint-fatal", *sorted((PROMETHEUS / "rules").glob("*.yml")))

    def test_rules_say_what_they_should(self) -> None:
        files = sorted(path.name for path in (PROMETHEUS / "tests").glob("*.yml"))
        said = promtool("test", "rules", *files, folder=PROMETHEUS / "tests")
        assert said.count("SUCCESS") == len(files) == 2

    def test_each_alert_is_seen_to_fire_and_to_be_quiet(self) -> None:
        cases = yaml.safe_load((PROMETHEUS / "tests" / "alerts.yml").read_text())["tests"]
        seen: dict[str, list[bool]] = {}
        for case in cases:
            for check in case["alert_rule_test"]:
                seen.setdefault(check["alertname"], []).append(bool(check["exp_alerts"]))
        assert seen == {name: [False, True] for name in ALERTS}

    def test_it_asks_every_profile_where_that_listens(self) -> None:
        jobs = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())["scrape_configs"]
        found = {
            job["job_name"]: (config["names"], config["port"])
            for job in jobs
            for config in job.get("dns_sd_configs", ())
        }
        wanted = {name: ([name], PROFILES[name].port) for name in (*SERVICES, "admin")}
        statistics = render.compose().statistics
        assert statistics is not None
        assert found == {
            **wanted,
            "monolith": (["shop"], PROFILES["monolith"].port),
            "envoy": (["envoy"], statistics.port),
        }


class TestRunbooks:
    def test_each_alert_has_one_and_each_one_has_an_alert(self) -> None:
        pages = sorted(path.stem for path in RUNBOOKS.glob("*.md") if path.stem != "README")
        assert pages == sorted(ALERTS)
        assert sorted(alert["annotations"]["runbook"] for alert in alerts()) == [
            f"docs/runbooks/{name}.md" for name in pages
        ]
        assert {alert["labels"]["severity"] for alert in alerts()} == {"page", "ticket"}

    def test_the_index_has_them_all(self) -> None:
        index = (RUNBOOKS / "README.md").read_text()
        assert re.findall(r"\]\((\w+)\.md\)", index) == ALERTS

    @pytest.mark.parametrize("name", ALERTS)
    def test_each_says_what_it_means_how_to_look_and_what_to_do(self, name: str) -> None:
        text = (RUNBOOKS / f"{name}.md").read_text()
        assert re.findall(r"^#+ .*$", text, re.MULTILINE) == [
            f"# {name}",
            *("## What it means", "## How to look", "## What to do"),
        ]
        for link in re.findall(r"\]\(([^)#]+)", text):
            assert (RUNBOOKS / link).resolve().exists(), link
        for command in re.findall(r"manage\.py (\w+)", text):
            known = subprocess.run(
                ["git", "ls-files", f"*/commands/{command}.py"], cwd=ROOT, check=True, capture_output=True
            )
            assert known.stdout or command in {"shell", "dbshell"}, command


class TestGrafana:
    def test_what_it_is_provisioned_with_fits_together(self) -> None:
        (source,) = yaml.safe_load((GRAFANA / "provisioning/datasources/prometheus.yml").read_text())["datasources"]
        (provider,) = yaml.safe_load((GRAFANA / "provisioning/dashboards/cartwright.yml").read_text())["providers"]
        assert provider["options"]["path"] == "/etc/grafana/dashboards"
        sources = {panel["datasource"]["uid"] for _, panel in panels()}
        assert sources == {source["uid"]}

    def test_there_are_four_that_can_be_told_apart(self) -> None:
        assert [file.stem for file in dashboards()] == ["events", "infrastructure", "orders-and-stock", "overview"]
        for file, dashboard in dashboards().items():
            ids = [panel["id"] for panel in dashboard["panels"]]
            assert len(set(ids)) == len(ids), file
            assert [each["name"] for each in dashboard["templating"]["list"]] == ["job"]
        assert len({dashboard["uid"] for dashboard in dashboards().values()}) == 4

    def test_each_panel_says_what_it_shows_and_in_which_unit(self) -> None:
        for name, panel in panels():
            where = f"{name}: {panel['title']}"
            assert panel["title"], where
            assert panel["description"].endswith((".", "0.")), where
            assert panel["fieldConfig"]["defaults"]["unit"], where
            assert panel["fieldConfig"]["defaults"]["thresholds"]["steps"], where
            assert all(target["legendFormat"] for target in panel["targets"]), where

    def test_no_panel_lies_over_another(self) -> None:
        for file, dashboard in dashboards().items():
            taken: set[tuple[int, int]] = set()
            for panel in dashboard["panels"]:
                place = panel["gridPos"]
                assert place["x"] + place["w"] <= 24
                cells = {
                    (x, y)
                    for x in range(place["x"], place["x"] + place["w"])
                    for y in range(place["y"], place["y"] + place["h"])
                }
                assert not taken & cells, f"{file.stem}: {panel['title']}"
                taken |= cells

    def test_whatever_it_asks_is_promql(self, tmp_path: Path) -> None:
        rules = [{"record": f"asked:{number}", "expr": asked.text} for number, asked in enumerate(everything_asked())]
        (tmp_path / "asked.yml").write_text(yaml.safe_dump({"groups": [{"name": "asked", "rules": rules}]}))
        promtool("check", "rules", tmp_path / "asked.yml")


class TestWhatIsAsked:
    """The reader of expressions, on which the test of a real shop's metrics relies (tests/test_split.py)."""

    @pytest.mark.parametrize(
        ("text", "metrics", "grouping"),
        [
            ("up == 0", {"up"}, set()),
            ("sum by (job) (rate(a_total[5m])) / sum without (x) (b)", {"a_total", "b"}, {"job", "x"}),
            ("sum(rate(a[5m])) by (job, le) > bool 2", {"a"}, {"job", "le"}),
            ("job:a:rate5m > 0.1 and on (job) b offset 5m unless c", {"job:a:rate5m", "b", "c"}, {"job"}),
            ("a * on (job) group_left (version) b or vector(0)", {"a", "b"}, {"job", "version"}),
            ('label_replace(a, "job", "$1", "sum", "b")', {"a"}, set()),
            ("histogram_quantile(0.95, sum by (le) (rate(a_bucket[1m:10s] @ end())))", {"a_bucket"}, {"le"}),
            ("topk(10, a) # not b\n+ max_over_time(c[1h])", {"a", "c"}, set()),
        ],
    )
    def test_metrics_and_labels_are_found(self, text: str, metrics: set[str], grouping: set[str]) -> None:
        found = read(text)
        assert (found.metrics, found.grouping) == (metrics, grouping)

    def test_matchers_are_found_whatever_is_in_their_strings(self) -> None:
        found = read("""sum(a{x="} by (b) {", y=~'c|d',z!="",})""")
        matchers = (Matcher("x", "=", "} by (b) {"), Matcher("y", "=~", "c|d"), Matcher("z", "!=", ""))
        assert found.selectors == [Selector("a", matchers)]

    @pytest.mark.parametrize("text", ["a ? b", '{job="x"}', "a{x=1}", 'a{x="1"'])
    def test_what_is_not_understood_is_an_error(self, text: str) -> None:
        with pytest.raises(NotUnderstood):
            read(text)

    @pytest.mark.parametrize(
        ("text", "problem"),
        [
            ('sum by (job) (rate(lamps_total{colour="red"}[5m]))', None),
            ("sum by (job) (rate(lamp_total[5m]))", "there is no metric lamp_total"),
            ('lamps_total{color="red"}', "lamps_total has no label color"),
            ('lamps_total{colour=~"red|blue"}', "no lamps_total has colour=~red|blue"),
            ("sum by (shape) (lamps_total)", "nothing has a label shape"),
            ("job:http_requests:rate5m", None),
            ('job:http_requests:rate5m{endpoint="/"}', "job:http_requests:rate5m has no label endpoint"),
        ],
    )
    def test_what_a_scrape_lacks_is_told(self, text: str, problem: str | None) -> None:
        found = Scrape(['# TYPE lamps_total counter\nlamps_total{colour="red"} 1\n'])
        assert missing(Asked("here", text), found) == ([f"here: {problem}"] if problem else [])
