"""The systemd units, judged by systemd itself; it need not be running for that."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

UNITS = Path(__file__).parents[2] / "systemd"
PROGRAMS = ["agent", "collector"]


def analyze(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    program = shutil.which("systemd-analyze")
    assert program, (
        "systemd-analyze is missing; `make test` installs it, or run: sudo apt-get install systemd"
    )
    return subprocess.run(
        [program, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        stdin=subprocess.DEVNULL,
    )


def copy(program: str, place: Path, change: tuple[str, str] = ("", "")) -> Path:
    """Return a copy of a unit that starts a program which exists here, for systemd looks for it."""
    text = (UNITS / f"boardherd-{program}.service").read_text()
    installed = f"/opt/boardherd/bin/boardherd-{program} "
    assert installed in text
    unit = place / f"boardherd-{program}.service"
    unit.write_text(text.replace(installed, "/bin/true ").replace(*change))
    return unit


def settings(program: str) -> dict[str, list[str]]:
    """Return the directives of a unit, each with its values in order."""
    found: dict[str, list[str]] = {}
    for line in (UNITS / f"boardherd-{program}.service").read_text().splitlines():
        name, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found.setdefault(name, []).append(value)
    return found


@pytest.mark.parametrize("program", PROGRAMS)
def test_systemd_has_nothing_to_say_about_the_unit(program: str, tmp_path: Path) -> None:
    verdict = analyze("verify", "--man=no", copy(program, tmp_path))
    assert verdict.stdout + verdict.stderr == ""  # its exit code is 0 even for unknown keys


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (("WatchdogSec=60", "WatchdogSecs=60"), "Unknown key 'WatchdogSecs'"),
        (("Type=notify", "Type=notifies"), "Failed to parse service type"),
        (("/bin/true ", "/nowhere/boardherd "), "is not executable"),
    ],
)
def test_a_fault_in_a_unit_would_be_noticed(change: tuple[str, str], complaint: str, tmp_path: Path) -> None:
    assert complaint in analyze("verify", "--man=no", copy("agent", tmp_path, change)).stderr


@pytest.mark.parametrize(("program", "bound"), [("agent", 22), ("collector", 13)])
def test_the_unit_exposes_little(program: str, bound: int, tmp_path: Path) -> None:
    """The bound is ten times systemd's score from 0 to 10; a service without any protection has 96."""
    security = ["security", "--no-pager", "--offline=true"]
    judged = analyze(*security, f"--threshold={bound}", copy(program, tmp_path))
    assert judged.returncode == 0, judged.stdout[-300:]
    careless = copy(program, tmp_path, ("NoNewPrivileges=yes", "NoNewPrivileges=no"))
    careless.write_text(careless.read_text().replace("SystemCallFilter=", "#").replace("ProtectSystem=", "#"))
    assert analyze(*security, f"--threshold={bound}", careless).returncode != 0


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_wrong_configuration_is_not_started_again_and_again(program: str) -> None:
    """OPS-4: systemd leaves a service alone that ended with 78."""
    unit = settings(program)
    assert unit["Restart"] == ["always"]
    assert unit["RestartPreventExitStatus"] == ["78"]
    text = (UNITS / f"boardherd-{program}.service").read_text()
    head = text[text.index("[Unit]") : text.index("[Service]")]
    assert "StartLimitIntervalSec=" in head
    assert "StartLimitBurst=" in head


@pytest.mark.parametrize("program", PROGRAMS)
def test_systemd_waits_longer_than_the_program_needs_to_stop(program: str) -> None:
    """OPS-2: the program stops within 10 s itself; systemd would only kill it after that."""
    assert int(settings(program)["TimeoutStopSec"][0]) > 10


def test_the_agent_keeps_what_its_samplers_and_consoles_need() -> None:
    unit = settings("agent")
    assert "ProcSubset" not in unit  # psutil reads /proc/stat, /proc/meminfo and more
    assert "ProtectProc" not in unit  # test processes belong to other users
    assert "PrivateDevices" not in unit  # it hides serial ports
    assert "AF_NETLINK" in unit["RestrictAddressFamilies"][0]  # addresses of interfaces
    assert unit["DeviceAllow"] == [
        "char-188 rw",
        "char-166 rw",
    ]  # by number: adapters may be plugged in later
    assert unit["AmbientCapabilities"] == unit["CapabilityBoundingSet"] == ["CAP_NET_RAW"]
    assert unit["SupplementaryGroups"] == ["dialout boardherd"]  # consoles; the group of the local socket
