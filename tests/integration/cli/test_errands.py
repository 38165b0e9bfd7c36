"""What operators ask for besides power and locks, on a running demo; and what it looks like on a terminal."""

from __future__ import annotations

import contextlib
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.operator import Operator, until

pytestmark = [pytest.mark.system, pytest.mark.timeout(240)]


@pytest.fixture(autouse=True)
def everything_free(demo: Operator) -> Iterator[None]:
    """Leave no lock behind, and no board dark."""
    yield
    demo.tidy_up()


def test_a_terminal_sees_a_cycle_from_off_to_login(demo: Operator) -> None:
    code, seen = demo.on_terminal("power", "cycle", "evm-01", "--off-time", "3s", "--wait-alive")
    assert code == 0
    marks = [
        r"accepted  cycle of evm-01 accepted",
        r"off       switching evm-01 off",
        r"[2-9] s left",
        r"1 s left",
        r"on        switching evm-01 on",
        r"waiting   evm-01 is on",
        r"ssh-\d+ +\d+\.\d s after power-on: SSH-2",
        r"alive     alive since ",
        r"evm-01: off \d\.\d s, .*ssh \d+\.\d s.*; alive; wiring of evm-01 proved\s*$",
    ]
    places = []
    for mark in marks:
        found = re.search(mark, seen)
        assert found, (mark, seen)
        places.append(found.start())
    assert places == sorted(places)
    # Whether the login prompt comes before ssh, and so before the end, is up to the board.
    assert re.search(r"console \d+\.\d s, spl \d+\.\d s, uboot \d+\.\d s, kernel \d+\.\d s", seen)


def test_a_wait_for_the_minimum_off_time_is_said(demo: Operator) -> None:
    said = re.compile(r"min-off   evm-01 went off only just now; it stays off for \d\.\d s more")
    for _ in range(
        5
    ):  # on a busy machine the command line may need longer to start than the board must stay off
        demo("power", "off", "evm-01")
        told = demo("power", "on", "evm-01", "--progress")
        assert told.out == "evm-01: on\n"
        if said.search(told.err):
            break
    else:
        pytest.fail(told.err)


def test_ctrl_c_leaves_the_command_to_the_agent_and_its_end_can_be_asked_for(demo: Operator) -> None:
    words = ("power", "cycle", "evm-01", "--off-time", "4s", "--id", "job-1")
    job = demo.start(*words, "--progress")
    assert job.stderr
    while "dwell" not in job.stderr.readline():
        pass
    job.send_signal(signal.SIGINT)
    _, err = job.communicate(timeout=20)
    assert job.returncode == 130
    assert err == "boardherd: no longer watching, demo-pc goes on; learn the outcome with --id job-1\n"
    assert re.fullmatch(r"evm-01: off \d\.\d s, on again; wiring of evm-01 proved\n", demo(*words).out)


def test_what_an_agent_is_asked_for_besides_switching(demo: Operator) -> None:
    told = demo("set", "evm-02", "--sdk-version", "10.01", "--note", "camera on CSI0")
    assert told.out == "evm-02: sdk_version is 10.01, note is camera on CSI0\n"
    assert "--sdk-version or --note" in demo("set", "evm-02", code=2).err
    assert re.fullmatch(r"evm-02: alive since .* answer\n", demo("probe", "evm-02").out)
    assert demo("refresh", "demo-pc").out == "told the state of 2 boards and 3 ports\n"
    assert 'there is no test PC "demo-px"; did you mean demo-pc?' in demo("refresh", "demo-px", code=2).err
    assert "evm-02 has no line reset; add lines.reset to it" in demo("reset", "evm-02", code=4).err
    assert "evm-02 has no line boot" in demo("line", "evm-02", "boot", "pulse", code=4).err


def test_ports_are_restored_and_accepted_by_board_or_by_port(demo: Operator) -> None:
    demo("power", "off", "evm-01")
    assert demo("relay", "restore", "eth-1:1").out == "eth-1:1: off, as asked before\n"
    assert demo("relay", "accept", "evm-01", "--reason", "stays so").out == (
        "evm-01: accepted as it is (eth-1:1 off)\n"
    )


def test_all_off_spares_what_others_hold_unless_forced(demo: Operator) -> None:
    assert "needs --reason" in demo("power", "all-off", "demo-pc", code=2).err
    assert "name the test PCs, or say --all" in demo("power", "all-off", "--reason", "x", code=2).err
    demo("lock", "evm-02", "--as", "ops1")
    [life] = demo("power", "all-off", "demo-pc", "--reason", "smoke", "--json").json
    assert (life["pc"], life["state"], life["exit_code"]) == ("demo-pc", "succeeded", 0)
    assert "1 port is off; left alone: evm-02 is locked by ops1" in life["text"]
    code, asked = demo.on_terminal("power", "all-off", "--all", "--reason", "smoke", "--force", keys="n\n")
    assert code == 130
    assert "Switch off everything at demo-pc? [y/N]:" in asked
    forced = demo("power", "all-off", "--all", "--reason", "smoke", "--force")
    assert forced.out == "demo-pc: 3 ports are off\n"


def test_things_are_completed(demo: Operator) -> None:
    def completed(words: str) -> list[str]:
        more = {"_BOARDHERD_COMPLETE": "bash_complete", "COMP_WORDS": words}
        told = demo(COMP_CWORD=str(len(words.split()) - 1), **more).out.split()
        return [word.removeprefix("plain,") for word in told]

    assert completed("boardherd lock evm") == ["evm-01", "evm-02"]
    assert completed("boardherd relay accept e") == ["eth-1:1", "eth-1:2", "eth-2:1", "evm-01", "evm-02"]
    assert completed("boardherd drain d") == ["demo-pc"]
    assert completed("boardherd maintenance e") == ["eth-1", "eth-2"]


def test_the_collector_is_told_what_people_decide(demo: Operator) -> None:
    """It reaches it although the test PC that is meant may be dead."""
    demo("maintenance", "eth-2", "on", "--reason", "new firmware", "--as", "ops1")
    until(lambda: "evm-02" not in demo("boards", "--available").out)
    demo("maintenance", "eth-2", "off", "--reason", "done", "--as", "ops1")
    life = demo("deactivate", "evm-01", "--reason", "DDR is broken", "--json").json
    assert [step["state"] for step in life["steps"]] == ["accepted", "succeeded"]
    assert {step["agent"] for step in life["steps"]} == {"collector"}
    until(lambda: demo.available() == ["evm-02"])
    assert re.search(
        r"no board evm-01 was free: evm-01 \(deactivated\)", demo("acquire", "--board", "evm-01", code=4).err
    )
    demo("activate", "evm-01", "--reason", "repaired")
    demo("rename", "evm-01", "camera bench")
    until(lambda: demo("power", "show", "camera bench", "--json").json["board"]["id"] == "evm-01")
    demo("rename", "evm-01")
    demo("note", "evm-01", "fan is loud")
    assert "--reason" in demo("retire", "evm-01", code=2).err
    assert "a board is deactivated" in demo("maintenance", "evm-01", "on", "--reason", "x", code=2).err
    assert "take it out there" in demo("retire", "evm-01", "--reason", "x", code=4).err


def test_a_drained_agent_takes_no_more_commands_until_it_is_started_again(demo: Operator) -> None:
    told = demo("drain", "demo-pc", "--json").json
    assert [step["state"] for step in told["steps"]] == ["accepted", "running", "succeeded"]
    assert told["text"].startswith("drained")
    assert "is being drained" in demo("power", "on", "evm-01", code=4).err
    os.kill(_agent(demo), signal.SIGTERM)  # the demo starts it again, as systemd would
    until(lambda: "is being drained" not in _power_on(demo))


def _power_on(demo: Operator) -> str:
    done = demo.start("power", "on", "evm-01", "--timeout", "2s")
    _, err = done.communicate(timeout=30)
    return err if done.returncode else ""


def _agent(demo: Operator) -> int:
    """Return the process id of the demo's agent."""
    settings = str(demo.directory / "demo" / "agent.toml").encode()
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if b"boardherd_agent" in (words := place.read_bytes()) and settings in words:
                return int(place.parent.name)
    raise AssertionError("the demo has no agent")
