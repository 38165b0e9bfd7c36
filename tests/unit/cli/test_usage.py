"""The command line itself: help, usage, exit codes."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from click.testing import CliRunner, Result

from boardherd.__main__ import COMMANDS, cli
from boardherd.commands.power import Switch
from boardherd.exit_codes import Exit, exit_of
from boardherd_shared.command import CommandStep, Refusal, State


def call(*args: str) -> Result:
    return CliRunner().invoke(cli, args, prog_name="boardherd")


def step(state: State, **more: Any) -> CommandStep:
    return CommandStep(
        id="c1", state=state, action="cycle", agent="pc-01", operator="ops1", at=1.0, text="x", **more
    )


@pytest.mark.parametrize(
    "command",
    ["", *sorted(set(COMMANDS) - {"demo"}), "power cycle", "power on", "power all-off", "relay set"],
)
def test_every_command_explains_itself(command: str) -> None:
    result = call(*command.split(), "--help")
    assert result.exit_code == 0
    assert result.stdout.startswith("Usage: boardherd")
    assert "\\b" not in result.stdout


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("power", None),
        ("power cycle", "boardherd: Missing argument 'BOARD' (see boardherd power cycle --help)"),
        ("nonsense", "boardherd: No such command 'nonsense' (see boardherd --help)"),
        ("boards --plattform x", "boardherd: No such option '--plattform'"),
        ("power on evm-01 --wait-alive=soon", '"soon" is no duration; write for example "5s"'),
        (
            "power on evm-01 --reason " + "x" * 501,
            "boardherd: reason: string should have at most 500 characters",
        ),
        ("power on evm-01 --id a/b", "boardherd: id: "),
        ("power off evm-01 --expect maybe", "'maybe' is not one of 'on', 'off'"),
        ("power off evm-01 --force", "boardherd: --force needs --reason, for those whom it concerns"),
        ("lock evm-01 --for soon", '"soon" is no duration'),
        ("lock evm-01 --use Busy!", "boardherd: use: "),
        ("set evm-01", "boardherd: say what to write down: --sdk-version or --note"),
        ("power all-off --reason x", "boardherd: name the test PCs, or say --all"),
        ("power all-off pc-01", "boardherd: all-off needs --reason, for those whose boards go dark"),
        ("power all-off --all --id x --reason x", "boardherd: one --id cannot be for several test PCs"),
        (
            "--local power all-off --all --reason x",
            "boardherd: --local reaches the agent of this machine only",
        ),
        ("deactivate evm-01", "boardherd: Missing option '--reason'"),
        ("acquire -- no-such-program", 'boardherd: there is no program "no-such-program"'),
        ("acquire --lease 100ms -- true", "boardherd: a --lease below one second cannot be renewed in time"),
        ("--broker lab status", 'boardherd: the command line: broker.url: "lab" is no broker address'),
    ],
)
def test_wrong_usage_is_one_sentence_and_exit_code_2(line: str, sentence: str | None) -> None:
    result = call(*line.split())
    assert result.exit_code == Exit.USAGE
    assert result.stdout == ""
    if sentence:
        assert sentence in result.stderr
        assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("final", "code"),
    [
        (step(State.SUCCEEDED), Exit.DONE),
        (step(State.FAILED), Exit.HARDWARE),
        (step(State.FAILED, phase="waiting", observed="on"), Exit.NO_BOOT),
        (step(State.FAILED, phase="off", observed="on"), Exit.HARDWARE),
        (step(State.FAILED, phase="waiting", observed="unknown"), Exit.HARDWARE),
        (step(State.INTERRUPTED, observed="on"), Exit.HARDWARE),
        (step(State.REFUSED, code=Refusal.BUSY), Exit.REFUSED),
        (step(State.EXPIRED, code=Refusal.EXPIRED), Exit.REFUSED),
        *((step(State.REFUSED, code=code), Exit.REFUSED) for code in Refusal),
        (step(State.UNANSWERED), Exit.UNREACHABLE),
    ],
)
def test_every_end_of_a_command_has_its_exit_code(final: CommandStep, code: Exit) -> None:
    assert exit_of(final) is code


@pytest.mark.parametrize(
    ("line", "board", "wait"),
    [
        ("evm-01", "evm-01", None),
        ("--wait-alive evm-01", "evm-01", 90.0),
        ("evm-01 --wait-alive", "evm-01", 90.0),
        ("--wait-alive=2m evm-01", "evm-01", 120.0),
        ("--wait-alive 45 evm-01", "evm-01", 45.0),
        ("--wait-alive -- 45s", "45s", 90.0),
    ],
)
def test_the_time_of_wait_alive_may_be_left_out(line: str, board: str, wait: float | None) -> None:
    command = cli.get_command(cli.make_context("boardherd", ["power", "on", "x"]), "power")
    assert command is not None
    on = command.commands["on"]  # type: ignore[attr-defined]
    assert isinstance(on, Switch)
    context = on.make_context("on", line.split())
    assert (context.params["board"], context.params["wait_alive"]) == (board, wait)


def test_help_and_completion_import_nothing_heavy() -> None:
    program = (
        "import sys; from boardherd.__main__ import cli\n"
        "try: cli(['--help'])\nexcept SystemExit: pass\n"
        "heavy = {'pydantic', 'aiomqtt', 'rich', 'httpx', 'structlog'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], check=False, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert "Usage" in done.stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_completion_script_is_printed(shell: str) -> None:
    result = call("completion", shell)
    assert result.exit_code == 0
    assert "_BOARDHERD_COMPLETE" in result.stdout


def test_an_answer_that_cannot_be_written_is_told() -> None:
    with open("/dev/full", "w") as full:  # noqa: PTH123
        done = subprocess.run(
            [sys.executable, "-m", "boardherd", "completion", "bash"],
            check=False,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
        )
    assert done.returncode == Exit.OUTPUT
    assert done.stderr == "boardherd: the answer cannot be written: No space left on device\n"
