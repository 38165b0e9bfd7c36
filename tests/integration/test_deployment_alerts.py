"""The alert rules that ship: judged by promtool, held against the catalogue of metrics, and seen to fire."""

from __future__ import annotations

import re
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import yaml

from boardherd_collector.metrics import METRICS
from boardherd_collector.stores.migrations import migrate, migrations
from support.broker import Mosquitto
from support.collector import CollectorProcess
from support.prometheus import Prometheus, find_program

DASHBOARDS = Path(__file__).parents[2] / "dashboards"
RULES: list[dict[str, Any]] = [
    rule
    for group in yaml.safe_load((DASHBOARDS / "alerts.yml").read_text())["groups"]
    for rule in group["rules"]
]
ALERTS = [rule["alert"] for rule in RULES]


@pytest.mark.parametrize(
    "command", [["check", "rules", "alerts.yml"], ["test", "rules", "alerts_test.yml"]], ids=["check", "test"]
)
def test_promtool_finds_no_fault(command: list[str]) -> None:
    done = subprocess.run(
        [find_program("promtool"), *command],
        cwd=DASHBOARDS,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "SUCCESS" in done.stdout


def test_every_alert_is_seen_to_fire_and_to_keep_still() -> None:
    tests = yaml.safe_load((DASHBOARDS / "alerts_test.yml").read_text())["tests"]
    expected = [case for test in tests for case in test.get("alert_rule_test", [])]
    fires = {case["alertname"] for case in expected if case["exp_alerts"]}
    keeps_still = {case["alertname"] for case in expected if not case["exp_alerts"]}
    assert fires == set(ALERTS)
    assert keeps_still == set(ALERTS)


@pytest.mark.parametrize("rule", RULES, ids=ALERTS)
def test_an_alert_speaks_of_metrics_and_labels_that_there_are(rule: dict[str, Any]) -> None:
    metrics = [METRICS[name] for name in re.findall(r"boardherd_\w+", rule["expr"])]
    assert metrics or rule["expr"].startswith("up{")
    labels = set(re.findall(r"\$labels\.(\w+)", str(rule["annotations"])))
    assert labels - {"instance"} <= {label for metric in metrics for label in metric.labels}
    for metric in metrics:
        assert ("increase(" + metric.name in rule["expr"]) == (metric.kind == "counter")
    assert rule["labels"]["severity"] in {"critical", "warning"}
    assert set(rule["annotations"]) == {"summary", "description"}


def test_the_description_lists_them_all() -> None:
    told = re.findall(r"^\| `(\w+)` \| (\w+) \|", (DASHBOARDS / "README.md").read_text(), re.MULTILINE)
    assert sorted(told) == sorted((rule["alert"], rule["labels"]["severity"]) for rule in RULES)


@pytest.mark.timeout(120)
def test_a_real_collector_without_its_database_raises_the_alarm(mosquitto: Mosquitto, tmp_path: Path) -> None:
    """OPS-1: from the lock on the file to the alert of a real Prometheus, and its end."""
    config = yaml.safe_load((DASHBOARDS / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
    rules = re.sub(r"for: \w+", "for: 2s", (DASHBOARDS / "alerts.yml").read_text())
    (tmp_path / "alerts.yml").write_text(rules)
    collector = CollectorProcess(tmp_path, mosquitto.url, "alarm")
    config["scrape_configs"][0]["static_configs"][0]["targets"] = [f"127.0.0.1:{collector.port}"]
    with closing(sqlite3.connect(collector.database, isolation_level=None)) as db:
        migrate(db, migrations(), 0)
    firing = 'ALERTS{alertstate="firing"}'
    with Prometheus(tmp_path, yaml.safe_dump(config)) as prometheus:
        prometheus.wait_for(f'{firing} == 1 and on () ALERTS{{alertname="BoardherdCollectorDown"}}')
        with closing(sqlite3.connect(collector.database, isolation_level=None)) as rival:
            rival.execute("PRAGMA locking_mode = EXCLUSIVE")
            rival.execute("BEGIN IMMEDIATE")
            collector.start(ready=False)
            try:
                prometheus.wait_for('ALERTS{alertname="BoardherdStoreAway", alertstate="firing"}')
                names = {alert["metric"]["alertname"] for alert in prometheus.ask(firing)}
                assert names == {"BoardherdStoreAway"}
                rival.execute("ROLLBACK")
                rival.execute("PRAGMA locking_mode = NORMAL")
                rival.execute("SELECT count(*) FROM test_pcs").fetchall()
                prometheus.wait_for(f"boardherd_collector_store_up == 1 unless on () {firing}")
            finally:
                collector.stop()
