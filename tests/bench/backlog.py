"""After an outage: a fleet comes back with its backlog, to a real broker and a real collector.

Run as ``PYTHONPATH=tests python -m bench.backlog``; prints JSON. See README.md beside this file for what the
figures mean.
"""

from __future__ import annotations

import argparse
import json
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from support.broker import Mosquitto
from support.collector import CollectorProcess

SITE = "bench"
FRESH_WITHIN_S = 5.0
DRAIN_RATIO = 10.0
GROWTH_BYTES = 64 * 1024 * 1024
"""So much may the collector grow while it takes a backlog in, whatever its size."""
_MIB = 1024 * 1024
_LOOK_EVERY_S = 0.25
_REST_S = 3.0
"""How long the collector is left alone before and after, to see what it weighs at rest."""


@dataclass
class Watch:
    """What was seen of the processes while the backlog drained."""

    rss: list[int] = field(default_factory=list)
    scrapes_s: list[float] = field(default_factory=list)
    failed_scrapes: int = 0


@contextmanager
def watching(collector: CollectorProcess, process: psutil.Process, scrape_every_s: float) -> Iterator[Watch]:
    """Look at the collector's memory, and scrape it as Prometheus would, all through the block."""
    watch, over = Watch(), threading.Event()

    def look() -> None:
        while not over.wait(_LOOK_EVERY_S):
            watch.rss.append(process.memory_info().rss)

    def scrape() -> None:
        while not over.wait(scrape_every_s):
            began = time.monotonic()
            status, _ = collector.get("metrics")
            watch.scrapes_s.append(time.monotonic() - began)
            watch.failed_scrapes += status != 200

    threads = [threading.Thread(target=look), threading.Thread(target=scrape)]
    for thread in threads:
        thread.start()
    try:
        yield watch
    finally:
        over.set()
        for thread in threads:
            thread.join()


def simulate(*arguments: str) -> list[str]:
    """Return the command line of the simulator."""
    return [sys.executable, "-m", "boardherd", "simulate", *arguments]


def measure(options: argparse.Namespace, directory: Path) -> dict[str, Any]:
    """Run the whole once; return the figures."""
    fleet = ["--agents", str(options.agents), "--boards", str(options.boards)]
    lab = directory / "fleet.toml"
    subprocess.run([*simulate(*fleet), "--site", SITE, "--lab", str(lab)], check=True, stdout=sys.stderr)
    broker = Mosquitto(directory)
    collector = CollectorProcess(directory, broker.url, SITE, lab.read_text())
    if options.dsn:
        config = re.sub(
            r"(?m)^url = \"sqlite:.*$", f"url = {json.dumps(options.dsn)}", collector.config.read_text()
        )
        collector.config.write_text(config)
    with broker, collector:
        assert collector.process is not None
        process = psutil.Process(collector.process.pid)
        time.sleep(_REST_S)
        before, cpu = process.memory_info().rss, sum(process.cpu_times()[:2])
        load = [
            *simulate(*fleet, "--backlog", options.backlog, "--interval", options.interval),
            *("--broker", broker.url, "--api", f"http://127.0.0.1:{collector.port}", "--site", SITE),
            *("--connections", str(options.connections), "--until-drained", "--json"),
        ]
        with watching(collector, process, options.scrape_every) as watch:
            run = subprocess.run(load, stdout=subprocess.PIPE, check=False)
        cpu = sum(process.cpu_times()[:2]) - cpu
        time.sleep(_REST_S)
        after = process.memory_info().rss
        collector.stop(signal.SIGTERM)
    report = json.loads(run.stdout)
    return {
        "store": "postgresql" if options.dsn else "sqlite",
        "promises": promises(report, max(watch.rss) - before),
        "collector": {
            "rss_before_mib": round(before / _MIB, 1),
            "rss_peak_mib": round(max(watch.rss) / _MIB, 1),
            "rss_after_mib": round(after / _MIB, 1),
            "cpu_s": round(cpu, 1),
            "cpu_ms_per_envelope": round(1000 * cpu / max(1, report["envelopes"]["sent"]), 3),
            "slowest_scrape_s": round(max(watch.scrapes_s, default=0.0), 3),
            "failed_scrapes": watch.failed_scrapes,
            "tracebacks": collector.log.read_text().count("Traceback"),
        },
        "broker_dropped_messages": "being dropped" in (directory / "mosquitto.log").read_text(),
        "fleet": report,
    }


def promises(report: dict[str, Any], growth: int) -> dict[str, bool]:
    """Return which promises were kept."""
    fresh, drain = report["fresh"], report["drain"]
    return {
        "nothing lost, nothing doubled": report["ok"] is True and report["envelopes"]["pending"] == 0,
        "every agent fresh within 5 s of resume": bool(
            fresh and fresh["count"] >= report["agents"] and fresh["slowest_s"] <= FRESH_WITHIN_S
        ),
        "backlog drains at 10 times the production rate": bool(drain and drain["ratio"] >= DRAIN_RATIO),
        "collector memory flat": growth <= GROWTH_BYTES,
    }


def main() -> int:
    """Measure and print; 1 when something was lost or doubled, or with --strict when any promise was missed."""
    parser = argparse.ArgumentParser(prog="bench.backlog", description=__doc__)
    parser.add_argument("--agents", type=int, default=200)
    parser.add_argument("--boards", type=int, default=4, help="of each agent")
    parser.add_argument("--backlog", default="1h")
    parser.add_argument("--interval", default="10s")
    parser.add_argument("--connections", type=int, default=8, help="as many as agents: one for each")
    parser.add_argument("--scrape-every", type=float, default=2.0, help="seconds between two scrapes")
    parser.add_argument("--dsn", help="a database of PostgreSQL to store in, instead of SQLite; it is filled")
    parser.add_argument("--dir", type=Path, help="keep database and logs here")
    parser.add_argument("--strict", action="store_true", help="fail when a promise is missed")
    options = parser.parse_args()
    if options.dir:
        options.dir.mkdir(parents=True, exist_ok=True)
        figures = measure(options, options.dir.absolute())
    else:
        with tempfile.TemporaryDirectory(prefix="boardherd-bench-") as directory:
            figures = measure(options, Path(directory))
    print(json.dumps(figures, indent=2))
    kept = figures["promises"]
    return 0 if (all(kept.values()) if options.strict else kept["nothing lost, nothing doubled"]) else 1


if __name__ == "__main__":
    sys.exit(main())
