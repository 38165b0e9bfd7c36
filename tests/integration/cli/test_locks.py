"""Locks at the command line, on a running demo: real broker, collector, agent, relays and boards."""

from __future__ import annotations

import getpass
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.operator import Operator, until

pytestmark = [pytest.mark.system, pytest.mark.timeout(240)]

PYTHON = sys.executable


@pytest.fixture(autouse=True)
def everything_free(demo: Operator) -> Iterator[None]:
    """Leave no lock behind, and no board dark."""
    yield
    demo.tidy_up()


def test_a_lock_keeps_others_off_and_is_shown_until_it_is_given_back(demo: Operator) -> None:
    locked = demo("lock", "evm-01", "--for", "10m", "--reason", "bring-up", "--as", "ops1")
    assert re.fullmatch(r"evm-01 is locked for ops1 \(busy\) until .* UTC\n", locked.out)
    for words in (["power", "off"], ["lock"], ["unlock"]):
        refused = demo(*words, "evm-01", "--as", "ci-1", code=4)
        assert "evm-01 is locked by ops1 (busy: bring-up) until" in refused.err
    until(lambda: demo.available() == ["evm-02"])
    assert [board["id"] for board in demo("boards", "--available", "--json").json] == ["evm-02"]
    heading, row, *_ = demo("boards").out.splitlines()
    assert "HOLDER" in heading.split()
    assert "ops1 until " in row
    assert re.search(r"^evm-01  ops1 until \S+( \S+)?  busy  bring-up$", demo("status").out, re.MULTILINE)
    [listed] = demo("locks", "--json").json
    assert (listed["board"], listed["owner"], listed["use"]) == ("evm-01", "ops1", "busy")
    assert listed["until"] - listed["since"] == pytest.approx(600, abs=1)
    assert demo("locks", "--mine", "--as", "ci-1").err == "you hold no board\n"
    longer = demo("lock", "evm-01", "--for", "20m", "--as", "ops1", "--json").json
    assert "evm-01 is extended for ops1" in longer["text"]
    assert longer["until"] - time.time() == pytest.approx(1200, abs=60)
    assert demo("unlock", "evm-01", "--as", "ops1").out == "evm-01 is free\n"
    until(lambda: demo.available() == ["evm-01", "evm-02"])


def test_what_somebody_else_holds_is_ended_by_force_with_a_reason_only(demo: Operator) -> None:
    demo("lock", "evm-01", "--use", "updating-sdk", "--as", "ops1")
    assert "--force needs --reason" in demo("unlock", "evm-01", "--force", "--as", "ci-1", code=2).err
    freed = demo("unlock", "evm-01", "--force", "--reason", "gone home", "--as", "ci-1")
    assert freed.out == "evm-01 is free; the lock of ops1 (updating-sdk) was ended by force\n"


def test_a_fenced_lock_wants_its_id_from_its_owner_too(demo: Operator) -> None:
    """CMD-4."""
    locked = demo("lock", "evm-01", "--fenced", "--json").json
    assert "name the lock's id" in demo("power", "off", "evm-01", code=4).err
    note = ["set", "evm-01", "--note", "mine"]
    demo(*note, BOARD="evm-01", BOARD_LOCK=locked["lock"])
    demo(*note, BOARD="evm-02", BOARD_LOCK=locked["lock"], code=4)
    port = demo("power", "show", "evm-01", "--json").json["ports"][0]
    demo("relay", "set", f"{port['relay']}:{port['port']}", "on", BOARD="evm-01", BOARD_LOCK=locked["lock"])
    demo("unlock", "evm-01", BOARD="evm-01", BOARD_LOCK=locked["lock"])
    ended = demo(*note, "--lock", locked["lock"], code=4)
    assert "the lock named by this command on evm-01 has ended" in ended.err


def test_acquire_gives_a_board_that_is_alive_and_free(demo: Operator) -> None:
    demo("lock", "evm-01", "--as", "ops1")
    until(lambda: demo.available() == ["evm-02"])
    got = demo("acquire", "--for", "5m", "--json").json
    assert (got["board"], got["pc"], got["board_ip"]) == ("evm-02", "demo-pc", "127.0.0.1")
    assert got["console"].endswith("evm-02-console")
    assert got["until"] - time.time() == pytest.approx(300, abs=60)
    nothing = demo("acquire", "--for", "5m", code=4)
    assert re.search(
        r"no board was free: evm-01 \(locked by ops1 until .*\), evm-02 \(locked by ", nothing.err
    )
    assert "the lab has no board of platform nope" in demo("acquire", "--platform", "nope", code=2).err
    assert 'there is no program "nope"' in demo("acquire", "--", "nope", code=2).err
    demo("unlock", "evm-02", "--lock", got["lock"])
    words = demo("acquire", "--board", "evm-02").out.split()
    assert words[0] == "evm-02"
    demo("unlock", "evm-02", "--lock", words[1])


def test_a_program_has_its_board_while_it_runs(demo: Operator) -> None:
    """Commands of the program act under its lock; its exit code is that of the whole."""
    program = (
        "import os, subprocess, sys\n"
        "names = ('BOARD', 'BOARD_LOCK', 'BOARD_IP', 'BOARD_CONSOLE')\n"
        "print(*(os.environ[name] for name in names), flush=True)\n"
        "cli = [sys.executable, '-m', 'boardherd', 'power', 'cycle', os.environ['BOARD']]\n"
        "assert subprocess.run(cli).returncode == 0\n"
        "del os.environ['BOARD_LOCK']\n"
        "assert subprocess.run(cli).returncode == 4\n"
        "sys.exit(7)\n"
    )
    done = demo("acquire", "--board", "evm-01", "--", PYTHON, "-c", program, code=7)
    told, *rest = done.out.splitlines()
    board, lock, ip, console = told.split()
    assert (board, ip, len(lock)) == ("evm-01", "127.0.0.1", 32)
    assert console.endswith("evm-01-console")
    assert rest[0].startswith("evm-01: off ")
    assert done.err.startswith("evm-01 is yours while ")
    until(lambda: not demo.locked())


def test_two_jobs_of_one_name_get_two_boards_and_a_third_waits_in_words(demo: Operator) -> None:
    hold = [PYTHON, "-c", "import os, time; print(os.environ['BOARD'], flush=True); time.sleep(8)"]
    first, second = (demo.start("acquire", "--wait", "30s", "--", *hold) for _ in range(2))
    assert first.stdout
    assert second.stdout
    assert {first.stdout.readline(), second.stdout.readline()} == {"evm-01\n", "evm-02\n"}
    third = demo("acquire", "--wait", "60s", "--", PYTHON, "-c", "import os; print(os.environ['BOARD'])")
    assert third.out in {"evm-01\n", "evm-02\n"}
    assert re.search(r"waiting up to \d+ s more for a board: evm-01 \(locked by ", third.err)
    for job in (first, second):
        job.communicate(timeout=30)
        assert job.returncode == 0


def _running_program(job: subprocess.Popen[str]) -> int:
    assert job.stdout
    return int(job.stdout.readline())


_TELL_PID = "import os, time; print(os.getpid(), flush=True)\n"


def test_a_lease_is_renewed_while_the_program_lives_and_runs_out_after_kill_9(demo: Operator) -> None:
    job = demo.start(
        "acquire", "--board", "evm-01", "--lease", "4s", "--", PYTHON, "-c", _TELL_PID + "time.sleep(99)"
    )
    program = _running_program(job)
    before = demo.locked()["evm-01"]
    until(lambda: demo.locked()["evm-01"] > before + 4)
    job.kill()
    job.communicate()
    until(lambda: not Path(f"/proc/{program}").exists())
    until(lambda: not demo.locked())


def test_signals_reach_the_program_and_its_end_frees_the_board(demo: Operator) -> None:
    catching = "import signal, sys\nsignal.signal(signal.SIGTERM, lambda *_: sys.exit(9))\n" + _TELL_PID
    job = demo.start("acquire", "--board", "evm-01", "--", PYTHON, "-c", catching + "time.sleep(99)")
    _running_program(job)
    job.send_signal(signal.SIGTERM)
    job.communicate(timeout=30)
    assert job.returncode == 9
    killed = demo.start(
        "acquire", "--board", "evm-01", "--wait", "20s", "--", PYTHON, "-c", _TELL_PID + "time.sleep(99)"
    )
    os.kill(_running_program(killed), signal.SIGKILL)
    killed.communicate(timeout=30)
    assert killed.returncode == 128 + signal.SIGKILL
    until(lambda: not demo.locked())


def test_a_program_is_ended_when_its_board_is_taken_away_or_its_time_is_over(demo: Operator) -> None:
    words = ("acquire", "--board", "evm-01", "--lease", "3s")
    job = demo.start(*words, "--", PYTHON, "-c", _TELL_PID + "time.sleep(99)")
    _running_program(job)
    demo("unlock", "evm-01", "--force", "--reason", "needed elsewhere", "--as", "ops1")
    _, err = job.communicate(timeout=30)
    assert job.returncode == 4
    assert (
        "evm-01 is lost: refused: the lock named by this command on evm-01 has ended; the program was ended"
        in err
    )
    until(lambda: "evm-01" in demo.available())
    late = demo(*words, "--for", "2s", "--", PYTHON, "-c", "import time; time.sleep(99)", code=4)
    assert "the time of 2 s is over (--for); the program was ended" in late.err


def test_the_agent_of_this_machine_is_asked_without_a_broker(demo: Operator) -> None:
    """The same steps, exit codes and JSON; who asks is the user that the kernel names."""
    nowhere = {"BOARDHERD_BROKER": "mqtt://127.0.0.1:1", "BOARDHERD_API": "http://127.0.0.1:1"}
    place = demo.place["socket"]
    life = demo("--socket", place, "power", "cycle", "evm-02", "--wait-alive", "--json", **nowhere).json
    assert [step.get("phase") or step["state"] for step in life["steps"]] == [
        *("accepted", "off", "dwell", "on", "waiting", "succeeded")
    ]
    assert {step["operator"] for step in life["steps"]} == {getpass.getuser()}
    lines = demo("--local", "power", "toggle", "evm-02", "--progress")
    assert re.search(r"^ +\d+\.\d s  toggle    toggling evm-02$", lines.err, re.MULTILINE)
    assert lines.out == "evm-02: off\n"
    assert "controls no board evm-77" in demo("--local", "power", "on", "evm-77", code=4).err
    assert "the agent knows no names" in demo("--local", "power", "on", "AM62X_SK #1", code=2).err
    assert "--local is for commands" in demo("--local", "status", code=2).err
    away = demo("--socket", "/nonexistent/agent.sock", "power", "on", "evm-02", code=3)
    assert away.err == "boardherd: no agent listens at /nonexistent/agent.sock (no such file or directory)\n"
