"""The systemd units and what goes with them, judged by systemd itself; it need not be running for that."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from boardherd_agent.control.local import GROUP
from boardherd_agent.devices.codecs import hid_relay
from boardherd_agent.settings import AgentSettings

UNITS = Path(__file__).parents[2] / "systemd"
AGENT_ROLE = UNITS.parent / "ansible" / "roles" / "agent"
PROGRAMS = ["agent", "collector"]


def analyze(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return ask("systemd-analyze", *arguments)


def ask(program: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    place = shutil.which(program)
    assert place, f"{program} is missing; `make test` installs it, or run: sudo apt-get install systemd"
    return subprocess.run(
        [place, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        stdin=subprocess.DEVNULL,
    )


def permitted_calls(program: str) -> set[str]:
    """Return the system calls that a unit permits: its first line says which, each further one adds or takes away."""
    permitted: set[str] = set()
    for line in settings(program)["SystemCallFilter"]:
        calls = {call for name in line.removeprefix("~").split() for call in members(name)}
        permitted = permitted - calls if line.startswith("~") else permitted | calls
    return permitted


def members(name: str) -> set[str]:
    """Return the system calls in a set of systemd's, or the one of that name."""
    if not name.startswith("@"):
        return {name}
    listed = analyze("syscall-filter", "--no-pager", name)
    assert listed.returncode == 0, listed.stderr
    words = [line.strip() for line in listed.stdout.splitlines()[1:]]
    return {call for word in words if word and not word.startswith("#") for call in members(word)}


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
    # Serial ports by number, for adapters may be plugged in later; the number of USB relays comes with the module.
    assert unit["DeviceAllow"] == ["char-188 rw", "char-166 rw", "char-hidraw rw"]
    assert unit["Wants"] == ["modprobe@hid.service"]
    assert "modprobe@hid.service" in unit["After"]
    assert unit["AmbientCapabilities"] == unit["CapabilityBoundingSet"] == ["CAP_NET_RAW"]
    assert unit["SupplementaryGroups"] == ["dialout boardherd"]  # consoles; the group of the local socket


def test_the_agent_can_give_its_socket_to_the_group() -> None:
    """For members of the group it is useless otherwise: it would belong to the agent's own."""
    calls = permitted_calls("agent")
    assert {"chown", "fchownat", "connect"} <= calls
    assert not {"setuid", "mount", "reboot", "init_module"} & calls
    assert "chown" not in permitted_calls("collector")  # that is, reading the lines in order matters


def test_the_socket_is_where_the_program_and_the_unit_have_it() -> None:
    place = yaml.safe_load((AGENT_ROLE / "defaults/main.yml").read_text())["agent_socket"]
    assert place == f"{{{{ agent_prefix }}}}{AgentSettings().socket}"
    assert [str(AgentSettings().socket.parent)] == [
        f"/run/{at}" for at in settings("agent")["RuntimeDirectory"]
    ]
    assert settings("agent")["RuntimeDirectoryMode"] == ["0755"]


def test_users_and_groups_are_those_that_the_units_ask_for(tmp_path: Path) -> None:
    """systemd starts no service whose user or group does not exist."""
    (tmp_path / "etc").mkdir()
    made = ask("systemd-sysusers", f"--root={tmp_path}", UNITS / "boardherd.sysusers.conf")
    assert made.returncode == 0, made.stderr
    groups = {}
    for line in (tmp_path / "etc" / "group").read_text().splitlines():
        name, _, _, who = line.split(":")
        groups[name] = who.split(",")
    users = [line.split(":")[0] for line in (tmp_path / "etc" / "passwd").read_text().splitlines()]
    for program in PROGRAMS:
        unit = settings(program)
        assert unit["User"] == unit["Group"] == [f"boardherd-{program}"]
        assert f"boardherd-{program}" in users
        for group in " ".join(unit.get("SupplementaryGroups", [])).split():
            assert groups[group] == [f"boardherd-{program}"]
    assert GROUP in groups


def test_the_role_makes_the_same_user_and_groups() -> None:
    tasks = yaml.safe_load((AGENT_ROLE / "tasks/main.yml").read_text())
    (user,) = [task["ansible.builtin.user"] for task in tasks if "ansible.builtin.user" in task]
    (group,) = [task["ansible.builtin.group"] for task in tasks if "ansible.builtin.group" in task]
    unit = settings("agent")
    assert [user["name"]] == unit["User"]
    assert [" ".join(user["groups"])] == unit["SupplementaryGroups"]
    assert user["append"] is True  # what an administrator added stays
    assert group["name"] == GROUP


def test_the_rule_for_usb_relays_gives_the_agent_what_its_driver_opens() -> None:
    (rule,) = [
        line
        for line in (UNITS / "60-boardherd-relays.rules").read_text().splitlines()
        if line and not line.startswith("#")
    ]
    said = dict(re.findall(r'([A-Z]+(?:\{\w+\})?)==?"([^"]*)"', rule))
    assert said["SUBSYSTEM"] == "hidraw"
    assert int(said["ATTRS{idVendor}"], 16) == hid_relay.VENDOR
    assert int(said["ATTRS{idProduct}"], 16) == hid_relay.PRODUCT
    name, digits = said["ATTRS{product}"].removesuffix("]").split("[")
    assert digits == f"1-{hid_relay.MAX_RELAYS}"
    assert hid_relay.relays_of(f"{name}{hid_relay.MAX_RELAYS}") == hid_relay.MAX_RELAYS
    assert said["GROUP"] in settings("agent")["SupplementaryGroups"][0].split()
    assert said["MODE"] == "0660"
