"""What watches the service: alert rules, their tests and their runbook, the dashboard, and the metrics they name."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client import REGISTRY, Counter, Gauge, Histogram

from app import metrics
from tests.deployed import COMPOSE, ROOT, read

PROMETHEUS = ROOT / "deploy/prometheus"
ALERTS: list[dict[str, Any]] = read("deploy/prometheus/alerts.yml")["groups"][0]["rules"]
DASHBOARD: dict[str, Any] = json.loads((ROOT / "deploy/grafana/dashboards/recording-status.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
ASKED = [target["expr"] for panel in PANELS for target in panel["targets"]]


def promtool(*arguments: str, given: str = "", folder: Path = PROMETHEUS) -> str:
    """What promtool says; it must be content."""
    if shutil.which("promtool") is None:
        pytest.skip("NO PROMTOOL: install Debian's `prometheus` to check metrics and alerts")
    done = subprocess.run(["promtool", *arguments], cwd=folder, input=given, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_the_rules_pass_promtool() -> None:
    assert f"{len(ALERTS)} rules found" in promtool("check", "rules", "alerts.yml")


def test_each_alert_fires_for_the_one_in_trouble_and_not_for_the_other() -> None:
    promtool("test", "rules", "alerts.test.yml")


def test_those_tests_can_fail(tmp_path: Path) -> None:
    rules = (PROMETHEUS / "alerts.yml").read_text()
    for file, text in (("alerts.yml", rules.replace('up{job="recording-status"} == 0', "up == 2")),
                       ("alerts.test.yml", (PROMETHEUS / "alerts.test.yml").read_text())):  # fmt: skip
        (tmp_path / file).write_text(text)
    with pytest.raises(AssertionError, match="RecordingStatusDown"):
        promtool("test", "rules", "alerts.test.yml", folder=tmp_path)


def test_each_alert_is_seen_firing() -> None:
    tests = [test for one in read("deploy/prometheus/alerts.test.yml")["tests"] for test in one["alert_rule_test"]]
    assert [test["alertname"] for test in tests if test["exp_alerts"]] == [alert["alert"] for alert in ALERTS]


async def test_the_metrics_pass_promtool(client: httpx.AsyncClient) -> None:
    assert promtool("check", "metrics", given=(await client.get("/metrics")).text) == ""


def test_prometheus_loads_the_rules_from_where_compose_puts_them() -> None:
    (rules,) = read("deploy/prometheus.yml")["rule_files"]
    mounts = dict(mount.split(":")[:2] for mount in COMPOSE["services"]["prometheus"]["volumes"])
    folder = next(here for here, there in mounts.items() if there == str(Path(rules).parent))
    assert (ROOT / folder / Path(rules).name).samefile(PROMETHEUS / "alerts.yml")
    promtool("check", "config", "--syntax-only", "../prometheus.yml")


# -- the runbook


def test_each_alert_has_its_paragraph_in_the_runbook_and_leads_there() -> None:
    titles = re.findall(r"^## (.+)$", (ROOT / "docs/runbook.md").read_text(), re.MULTILINE)
    assert titles == [alert["alert"] for alert in ALERTS]
    for alert in ALERTS:
        assert alert["annotations"]["runbook"] == f"docs/runbook.md#{alert['alert'].lower()}"
        assert alert["labels"]["severity"] in ("critical", "warning")


def test_each_paragraph_says_what_to_do() -> None:
    _, *paragraphs = re.split(r"^## ", (ROOT / "docs/runbook.md").read_text(), flags=re.MULTILINE)
    for alert, paragraph in zip(ALERTS, paragraphs, strict=True):
        assert f"*{alert['labels']['severity'].capitalize()}.*" in paragraph
        assert "**Do.** " in paragraph


# -- names

BY_PROMETHEUS = {"up"}
OURS = [one for one in vars(metrics).values() if isinstance(one, (Counter, Gauge, Histogram))]


def told() -> dict[str, tuple[str, ...]]:
    """The labels of each name that a metric of ours may be asked for by."""
    kinds = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_count", "_sum")}
    return {
        family.name + suffix: (*one._labelnames, *(["le"] if suffix == "_bucket" else []))
        for one in OURS
        for family in one.describe()
        for suffix in kinds[family.type]
    }


@pytest.mark.parametrize("expression", [alert["expr"] for alert in ALERTS] + ASKED)
def test_alerts_and_dashboard_ask_for_metrics_and_labels_that_are_told(expression: str) -> None:
    known = told()
    asked = re.findall(r"\b(recording_status_\w+|process_\w+_\w+|up)\b(?:\{([^}]*)\})?", expression)
    assert asked
    for name, selector in asked:
        if name.startswith("recording_status_"):
            assert name in known
            labels = set(re.findall(r"(\w+)(?==|!=|=~|!~)", re.sub(r'"[^"]*"', "", selector)))
            assert labels - set(known[name]) == set(), name
        else:
            assert name in BY_PROMETHEUS or REGISTRY.get_sample_value(name) is not None


@pytest.mark.parametrize("name", [family.name for one in OURS for family in one.describe()])
def test_every_metric_is_asked_for_or_explained(name: str) -> None:
    asked = [*ASKED, *(alert["expr"] for alert in ALERTS)]
    written = "".join(page.read_text(encoding="utf-8") for page in (ROOT / "docs").glob("*.md"))
    assert any(re.search(rf"\b{name}(_\w+)?\b", text) for text in (*asked, written)), name


def test_every_question_of_the_dashboard_is_one_that_prometheus_can_read(tmp_path: Path) -> None:
    filled_in = {"$__rate_interval": "2m", "$app_id": ".*"}

    def check(expressions: list[str]) -> str:
        for name, text in filled_in.items():
            expressions = [expression.replace(name, text) for expression in expressions]
        rules = [{"record": f"panel:{number}", "expr": one} for number, one in enumerate(expressions)]
        (tmp_path / "rules.yml").write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
        return promtool("check", "rules", "rules.yml", folder=tmp_path)

    assert ASKED
    assert f"{len(ASKED)} rules found" in check(ASKED)
    with pytest.raises(AssertionError, match="unclosed left parenthesis"):
        check([ASKED[0].removesuffix(")")])


def test_the_dashboard_asks_the_data_source_that_is_provisioned_and_its_panels_do_not_overlap() -> None:
    (source,) = read("deploy/grafana/provisioning/datasources/prometheus.yml")["datasources"]
    assert {panel["datasource"]["uid"] for panel in PANELS} == {source["uid"]}
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert at["x"] + at["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells


def test_help_says_of_every_gauge_whether_to_add_it_up() -> None:
    gauges = [one for one in OURS if isinstance(one, Gauge)]
    assert gauges
    for gauge in gauges:
        said = next(iter(gauge.describe())).documentation
        assert metrics.ALIKE in said or "this process" in said, said
