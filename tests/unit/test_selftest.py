"""What the selftest makes of clocks, certificates and the rights of a process, and how it is printed."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from boardherd_agent.selftest.broker import lasting
from boardherd_agent.selftest.check import Check, Level
from boardherd_agent.selftest.machine import clock
from boardherd_agent.selftest.rights import ProcessRights, rights_of_agent
from boardherd_agent.selftest.run import as_text


@pytest.mark.parametrize(
    ("ahead_s", "level"), [(0.02, Level.OK), (-4.9, Level.OK), (5.1, Level.WARN), (-90, Level.WARN)]
)
async def test_how_far_a_clock_may_be_off(ahead_s: float, level: Level) -> None:
    assert (await clock(ahead_s)).level is level


@pytest.mark.parametrize(
    ("days", "level", "text"),
    [
        (-1, Level.FAIL, "ran out on"),
        (3, Level.FAIL, "holds for 3 days"),
        (20, Level.WARN, "20 days"),
        (90, Level.OK, "90 days"),
    ],
)
def test_certificates_are_told_before_they_run_out(days: int, level: Level, text: str) -> None:
    now = datetime(2026, 11, 20, tzinfo=UTC)
    check = lasting("certificate", now + timedelta(days=days), now)
    assert check.level is level
    assert text in check.text


def test_text_has_a_remedy_below_what_is_wrong() -> None:
    text = as_text([Check("clock", Level.OK, "fine"), Check("relay eth-1", Level.FAIL, "is dead", "wake it")])
    assert text.splitlines() == [
        "ok    clock        fine",
        "fail  relay eth-1  is dead",
        "                   -> wake it",
        "2 checks: 1 failed, 0 to look at",
    ]


STATUS = """Name:\tboardherd-agent
Uid:\t990\t990\t990\t990
Gid:\t991\t991\t991\t991
Groups:\t20 991\x20
CapEff:\t0000000000002000
"""


def process(proc: Path, pid: int, *, status: str = STATUS, ping: str = "1\t0") -> Path:
    """A /proc with one agent in it, and the state directory that it has locked."""
    state = proc / "state"
    for folder in (state, proc / str(pid), proc / "sys/net/ipv4"):
        folder.mkdir(parents=True)
    (state / "spool.lock").write_text(str(pid))
    (proc / str(pid) / "cmdline").write_bytes(b"python\0/opt/boardherd/bin/boardherd-agent\0")
    (proc / str(pid) / "status").write_text(status)
    (proc / "sys/net/ipv4/ping_group_range").write_text(ping)
    return state


@pytest.mark.parametrize(
    ("status", "ping", "means"),
    [
        (STATUS, "1\t0", "raw sockets"),
        (STATUS, "0\t2147483647", "datagram sockets"),
        (STATUS.replace("2000", "0000"), "1\t0", ""),
        (STATUS.replace("2000", "0000"), "20\t20", "datagram sockets"),
    ],
)
def test_what_the_agent_may_is_read_from_its_process(
    tmp_path: Path, status: str, ping: str, means: str
) -> None:
    rights = rights_of_agent(process(tmp_path, 123, status=status, ping=ping), tmp_path)
    assert rights is not None
    assert (rights.who, rights.uid, rights.groups) == ("the agent (process 123)", 990, {20, 991})
    assert rights.ping_by() == means


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
@pytest.mark.parametrize(
    ("uid", "groups", "mode", "may"),
    [
        (0, {0}, 0o000, True),
        (990, {20}, 0o660, True),
        (990, {30}, 0o660, False),
        (990, {30}, 0o666, True),
        (990, {20}, 0o640, False),
        (1000, {30}, 0o600, True),
        (1000, {20}, 0o060, False),  # the owner's bits count first, as for the kernel
    ],
)
def test_who_may_open_a_device(tmp_path: Path, uid: int, groups: set[int], mode: int, may: bool) -> None:
    device = tmp_path / "ttyUSB0"
    device.touch()
    os.chown(device, 1000, 20)
    device.chmod(mode)
    assert ProcessRights("the agent", uid, frozenset(groups), 0).may_open(str(device)) is may


def test_a_process_that_is_no_agent_tells_nothing(tmp_path: Path) -> None:
    state = process(tmp_path, 123)
    (tmp_path / "123" / "cmdline").write_bytes(b"bash\0")
    assert rights_of_agent(state, tmp_path) is None
    assert rights_of_agent(tmp_path / "nowhere", tmp_path) is None
