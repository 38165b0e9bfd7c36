"""The Grafana dashboard and the scrape configuration, against a real Prometheus.

No Grafana runs here: what can be judged without one is the structure of the file (the rules of Grafana's
dashboard linter are restated below), and every query, which Prometheus answers.
"""

from __future__ import annotations

import contextlib
import http.server
import itertools
import json
import math
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from boardherd_collector.metrics import METRICS, Metric
from boardherd_shared.records import Verdict
from support.ports import free_port, wait_for_port
from support.prometheus import Prometheus, find_program

DASHBOARDS = Path(__file__).parents[2] / "dashboards"
FILES = sorted(DASHBOARDS.glob("*.json"))

LABELS: dict[str, list[str]] = {
    "pc": ["pc-01", "pc-02"],
    "board": ["evm-07"],
    "relay": ["eth-1"],
    "port": ["3"],
    "probe": ["ping", "console"],
    "verdict": list(Verdict),
    "kind": ["telemetry", "host"],
    "platform": ["j721e"],
    "test_farm": ["HLOS"],
    "version": ["0.1.0"],
    "os": ["ubuntu_24_04"],
}


def exposition(scrape: int) -> str:
    """Return every metric of the collector's catalogue, counters growing from scrape to scrape."""
    return "".join(_family(metric, scrape) for metric in METRICS.values())


def _family(metric: Metric, scrape: int) -> str:
    lines = [f"# HELP {metric.name} {metric.help}", f"# TYPE {metric.name} {metric.kind}"]
    for values in itertools.product(*(LABELS[label] for label in metric.labels)):
        labels = ",".join(f'{label}="{value}"' for label, value in zip(metric.labels, values, strict=True))
        name = f"{metric.name}{{{labels}}}" if labels else metric.name
        lines.append(f"{name} {scrape if metric.kind == 'counter' else 1}")
    return "\n".join(lines) + "\n"


@contextlib.contextmanager
def endpoint() -> Iterator[str]:
    """Serve the exposition on a loopback port; gives host and port."""
    scrapes = itertools.count(1)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = exposition(next(scrapes)).encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
            """Say nothing about each request."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@contextlib.contextmanager
def demo(home: Path) -> Iterator[str]:
    """Run the demo: a real collector with a real agent; gives host and port of its metrics."""
    port = free_port()
    ports = ["--http-port", str(port), "--broker-port", str(free_port())]
    environment = os.environ | {"XDG_RUNTIME_DIR": str(home), "TMPDIR": str(home), "NO_COLOR": "1"}
    with (home / "demo.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "boardherd", "demo", *ports], stdout=log, stderr=log, env=environment
        )
    try:
        wait_for_port(port, 60)
        yield f"127.0.0.1:{port}"
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(20)


@dataclass(frozen=True)
class Source:
    """Where Prometheus finds metrics, and which of the catalogue may be absent there."""

    address: str
    absent: frozenset[str] = frozenset()


@pytest.fixture(scope="module", params=["catalogue", "demo"])
def metrics_source(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Source]:
    """Every metric that a collector can show, and those that a live one does show."""
    if request.param == "catalogue":
        with endpoint() as address:
            yield Source(address)
    else:
        with demo(tmp_path_factory.mktemp("demo")) as address:
            yield Source(address, frozenset({"boardherd_host_temperature_celsius"}))


@pytest.fixture(scope="module")
def prometheus(metrics_source: Source, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """A Prometheus that scrapes the source as our configuration says, only more often."""
    config = yaml.safe_load((DASHBOARDS / "prometheus.yml").read_text())
    config["global"] |= {"scrape_interval": "1s", "scrape_timeout": "1s"}
    (job,) = config["scrape_configs"]
    job["static_configs"][0]["targets"] = [metrics_source.address]
    with Prometheus(tmp_path_factory.mktemp("prometheus"), yaml.safe_dump(config)) as server:
        server.wait_for('sum_over_time(up{job="boardherd"}[1m]) >= 3')
        yield server


def load(file: Path) -> dict[str, Any]:
    dashboard: dict[str, Any] = json.loads(file.read_text())
    return dashboard


def panels(dashboard: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the panels that show something, those in folded rows too."""
    nested = [inner for panel in dashboard["panels"] for inner in panel.get("panels", [])]
    return [panel for panel in [*dashboard["panels"], *nested] if panel["type"] != "row"]


def expand(query: str) -> str:
    """Return ``query`` as Grafana sends it with "All" chosen, at the scrape interval of the test."""
    return query.replace("$__rate_interval", "30s").replace("$pc", ".+")


def metrics_in(text: str) -> set[str]:
    """Return the names of metrics that occur in ``text``."""
    return set(re.findall(r"\bboardherd_\w+", text))


@dataclass(frozen=True)
class Question:
    """One query of one panel."""

    panel: str
    query: str


QUESTIONS = [
    Question(panel["title"], target["expr"])
    for file in FILES
    for panel in panels(load(file))
    for target in panel["targets"]
]


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: question.panel)
def test_every_query_finds_something(
    prometheus: Prometheus, metrics_source: Source, question: Question
) -> None:
    query = expand(question.query)
    assert "$" not in query
    if metrics_source.absent.isdisjoint(metrics_in(query)):
        prometheus.wait_for(query)  # boards of the demo may still be booting
    assert not any(math.isnan(float(sample["value"][1])) for sample in prometheus.ask(query)), query


def test_the_choice_of_test_pcs_narrows_every_query_that_is_about_them(prometheus: Prometheus) -> None:
    everything = {question for question in QUESTIONS if "$pc" in question.query}
    assert len(everything) > 30
    for question in everything:
        query = expand(question.query.replace("$pc", "pc-02|pc-03"))
        assert {sample["metric"].get("pc", "pc-02") for sample in prometheus.ask(query)} <= {"pc-02"}, query


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_only_metrics_of_the_catalogue_are_asked_for(file: Path) -> None:
    assert metrics_in(" ".join(question.query for question in QUESTIONS)) <= set(METRICS)
    variables = " ".join(variable["query"]["query"] for variable in load(file)["templating"]["list"][1:])
    assert metrics_in(variables) <= set(METRICS)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_the_dashboard_as_a_whole_follows_the_rules(file: Path) -> None:
    dashboard = load(file)
    assert dashboard["uid"] == file.stem
    assert dashboard["title"]
    assert dashboard["editable"] is False
    assert "__inputs" not in dashboard  # only the import dialogue would resolve them
    assert dashboard.get("id") is None  # given by the server
    everything = [*dashboard["panels"], *(p for row in dashboard["panels"] for p in row.get("panels", []))]
    numbers = [panel["id"] for panel in everything]
    assert len(set(numbers)) == len(numbers)
    titles = [panel["title"] for panel in everything]
    assert len(set(titles)) == len(titles)
    source, pc = dashboard["templating"]["list"]
    assert (source["name"], source["type"], source["query"]) == ("datasource", "datasource", "prometheus")
    assert (pc["name"], pc["multi"], pc["includeAll"], pc["allValue"]) == ("pc", True, True, ".+")
    assert pc["datasource"]["uid"] == "${datasource}"


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_panel_follows_the_rules(file: Path) -> None:
    for panel in panels(load(file)):
        assert panel["title"]
        assert panel["description"].endswith(".")
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert panel["targets"]
        letters = [target["refId"] for target in panel["targets"]]
        assert len(set(letters)) == len(letters)
        for source in (panel, *panel["targets"]):
            assert source["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        if len(panel["targets"]) > 1 and panel["type"] != "table":
            assert all(target["legendFormat"] != "__auto" for target in panel["targets"]), panel["title"]


def test_rates_leave_their_window_to_grafana() -> None:
    """The one fixed window is the day that the panel's own title names."""
    windows = re.findall(
        r"\b(rate|irate|increase)\(([^()]*)\[([^\]]+)\]", " ".join(q.query for q in QUESTIONS)
    )
    assert windows
    fixed = {(function, window) for function, _, window in windows if window != "$__rate_interval"}
    assert fixed == {("increase", "24h")}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_panels_do_not_overlap_and_fit_the_width(file: Path) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in load(file)["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells


def test_the_file_is_what_its_script_writes() -> None:
    script = "import sys; sys.path.insert(0, sys.argv[1]); import boardherd_lab; print(boardherd_lab.text(), end='')"
    made = subprocess.run(
        [sys.executable, "-B", "-c", script, DASHBOARDS], capture_output=True, text=True, check=True
    )
    assert made.stdout == (DASHBOARDS / "boardherd-lab.json").read_text()


def test_the_scrape_configuration_is_valid() -> None:
    checked = subprocess.run(
        [find_program("promtool"), "check", "config", DASHBOARDS / "prometheus.yml"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0
    assert checked.stderr == ""
    assert "warning" not in checked.stdout.lower()


def test_provisioning_finds_the_dashboards() -> None:
    provisioning = DASHBOARDS / "provisioning"
    (source,) = yaml.safe_load((provisioning / "datasources" / "boardherd.yaml").read_text())["datasources"]
    assert source["type"] == "prometheus"
    assert source["uid"]
    interval = yaml.safe_load((DASHBOARDS / "prometheus.yml").read_text())["global"]["scrape_interval"]
    assert source["jsonData"]["timeInterval"] == interval
    (provider,) = yaml.safe_load((provisioning / "dashboards" / "boardherd.yaml").read_text())["providers"]
    assert provider["type"] == "file"
    assert provider["allowUiUpdates"] is False
    assert provider["options"]["path"] in (DASHBOARDS / "README.md").read_text()
