"""The demo as a newcomer meets it: real processes, a real broker, Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from support.broker import Mosquitto
from support.ports import free_port

pytestmark = [pytest.mark.system, pytest.mark.timeout(180)]

BOARDHERD = [sys.executable, "-m", "boardherd"]
STEPS = [
    "start",
    "host_samples",
    "boards_alive",
    "power_cycle",
    "refusal",
    "same_id_twice",
    "collector_killed",
    "nothing_lost_nothing_doubled",
    "stop",
]


def check(*arguments: str, env: dict[str, str]) -> dict[str, Any]:
    run = subprocess.run(
        [*BOARDHERD, "demo", "--check", "--json", *arguments],
        capture_output=True, text=True, check=False, env=env, timeout=170,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout + run.stderr
    result: dict[str, Any] = json.loads(run.stdout)
    return result


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """An environment in which no other demo can be met."""
    return {**os.environ, "XDG_RUNTIME_DIR": str(tmp_path), "TMPDIR": str(tmp_path), "NO_COLOR": "1"}


def test_the_story_with_the_broker_it_brings_along(env: dict[str, str]) -> None:
    """DEL-1, CMD-1, OPS-2."""
    result = check(env=env)
    assert [step["name"] for step in result["steps"]] == STEPS
    assert all(step["ok"] and step["text"] for step in result["steps"])
    assert {"off_s", "console_s", "ssh_s"} <= result["steps"][3]["figures"]["times"].keys()


def test_the_story_over_a_real_mosquitto(mosquitto: Mosquitto, env: dict[str, str]) -> None:
    """DEL-1, DEL-2, CMD-1, OPS-2."""
    result = check("--broker", mosquitto.url, env=env)
    assert [step["name"] for step in result["steps"]] == STEPS
    assert all(step["ok"] for step in result["steps"])


def test_ctrl_c_ends_the_demo_cleanly(env: dict[str, str], tmp_path: Path) -> None:
    """OPS-2: stop within 10 s, and nothing is left behind."""
    http, broker = free_port(), free_port()
    demo = subprocess.Popen(
        [*BOARDHERD, "demo", "--http-port", str(http), "--broker-port", str(broker)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env,
    )  # fmt: skip
    try:
        assert demo.stdout
        said = ""
        while "Ctrl-C ends it." not in said:
            line = demo.stdout.readline()
            assert line, said + demo.communicate()[1]
            said += line
        assert f"page     http://127.0.0.1:{http}/" in said
        assert f"broker   mqtt://127.0.0.1:{broker}" in said
        with urllib.request.urlopen(f"http://127.0.0.1:{http}/metrics", timeout=5) as answer:
            assert b"boardherd_agent_up" in answer.read()
        status = subprocess.run(
            [*BOARDHERD, "status", "--json"], capture_output=True, text=True, check=False, env=env
        )
        assert status.returncode == 0, status.stderr
        assert json.loads(status.stdout)["site"] == "demo"
        demo.send_signal(signal.SIGINT)
        began = time.monotonic()
        demo.wait(15)
        assert time.monotonic() - began < 10
        assert demo.returncode == 0
    finally:
        demo.kill()
        demo.communicate()
    assert not list(tmp_path.glob("boardherd-demo-*")), "the temporary directory was left behind"
    assert not list(tmp_path.rglob("demo.json"))
    assert (
        str(broker)
        not in subprocess.run(["ps", "ax", "-o", "args"], capture_output=True, text=True, check=False).stdout
    )


def test_a_busy_port_is_one_sentence(env: dict[str, str], mosquitto: Mosquitto) -> None:
    run = subprocess.run(
        [*BOARDHERD, "demo", "--broker-port", str(mosquitto.port), "--http-port", "0"],
        capture_output=True, text=True, check=False, env=env,
    )  # fmt: skip
    assert run.returncode == 1
    assert run.stderr.splitlines()[-1] == (
        f"boardherd: port {mosquitto.port} on 127.0.0.1 cannot be used (Address already in use); "
        "choose another with --broker-port"
    )


def test_faults_need_a_demo(env: dict[str, str]) -> None:
    run = subprocess.run(
        [*BOARDHERD, "demo", "fault", "evm-01", "hang"], capture_output=True, text=True, check=False, env=env
    )
    assert (run.returncode, run.stderr) == (
        3, "boardherd: no demo is running; start one with: boardherd demo\n",
    )  # fmt: skip
