"""The command driver: which programs it runs and how, and what it makes of how they end."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from boardherd.rack.devices.command import CommandDevice, Reading
from boardherd_agent.devices import programs
from boardherd_agent.devices.device import DeviceGarbled, DeviceOffline, DeviceRefused
from boardherd_agent.devices.drivers.command import Driver, Options
from boardherd_shared.inventory import RelayConfig
from support.terminal import until


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory in which programs are looked for."""
    directory = tmp_path / "commands"
    directory.mkdir()
    monkeypatch.setenv(programs.VARIABLE, str(directory))
    return directory


def write(home: Path, text: str, name: str = "tool") -> Path:
    program = home / name
    program.write_text("#!/bin/sh\n" + text)
    program.chmod(0o755)
    return program


def driver(**keys: Any) -> Driver:
    config = RelayConfig.model_validate({"kind": "command", "program": "tool", "port_count": 2} | keys)
    return Driver(config, Options.model_validate(config.options))


@pytest.mark.parametrize("reads", ["all", "each", "exit"])
async def test_every_way_of_reading_back(home: Path, reads: Reading) -> None:
    async with CommandDevice(reads=reads, outlets=3, directory=home) as device:
        config = RelayConfig.model_validate(device.stanza())
        async with Driver(config, Options.model_validate(config.options)) as it:
            await it.set(2, True)
            assert await it.read() == {1: False, 2: True, 3: False}
            device.garble = b"maybe"
            with pytest.raises((DeviceGarbled, DeviceRefused), match="maybe"):
                await it.read()
            await device.heal()
            await device.dead()
            with pytest.raises(DeviceOffline, match="refused"):
                await it.read()


async def test_arguments_and_environment_are_exactly_what_was_said(home: Path, tmp_path: Path) -> None:
    """SEC-4: no shell reads what stands in lab.toml, and of the agent's own environment nothing leaks."""
    heard = tmp_path / "heard"
    write(home, f'{{ printf "<%s>" "$@"; echo; env; pwd; }} > {heard}')
    nasty = ["{port}", "; touch /tmp/owned", "$(id)", "{address}:{tcp_port}", "", "a b"]
    keys = {"on": nasty, "address": "10.0.5.9", "tcp_port": 23, "environment": {"RELAY_WORD": "pear"}}
    async with driver(**keys) as it:
        await it.set(2, True)
    first, *rest = heard.read_text().splitlines()
    assert first == "<2><; touch /tmp/owned><$(id)><10.0.5.9:23><><a b>"
    assert {"RELAY_PORT=2", "RELAY_STATE=on", "RELAY_WORD=pear", "LANG=C.UTF-8"} < set(rest)
    assert rest[-1] == "/"
    names = {line.partition("=")[0] for line in rest[:-1]}
    assert not names & (set(os.environ) - {"PATH", "LANG", "PWD", "SHLVL", "_", "OLDPWD"})


@pytest.mark.parametrize(
    ("script", "error", "words"),
    [
        ("echo no such outlet >&2; exit 3", DeviceRefused, "tool failed with 3: no such outlet"),
        ("echo first; echo only printed; exit 1", DeviceRefused, "tool failed with 1: only printed"),
        ("exit 1", DeviceRefused, "tool failed with 1$"),
        ("echo no route >&2; exit 69", DeviceOffline, "cannot reach the device: no route"),
        ("exit 75", DeviceOffline, "cannot reach the device$"),
        ("kill -9 $$", DeviceOffline, "killed by signal 9"),
        ("sleep 60", DeviceOffline, r"did not end within 0\.2 s and was killed"),
        ("printf '\\033[31mred\\n' >&2; exit 2", DeviceRefused, r"failed with 2: \[31mred"),
    ],
)
async def test_how_a_program_ends_is_said_in_words(
    home: Path, script: str, error: type[Exception], words: str
) -> None:
    write(home, script)
    timeout = 0.2 if "sleep" in script else 8.0
    async with driver(reply_timeout=timeout) as it:
        with pytest.raises(error, match=words):
            await it.set(1, True)


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ("", "state of port 1"),
        ("1 on", "state of port 2"),
        ("1 on\n2 perhaps", "perhaps"),
        ("1 on\n1 off\n2 on", "1 on 1 off"),
    ],
)
async def test_a_state_that_was_not_told_is_never_guessed(home: Path, output: str, words: str) -> None:
    write(home, f"printf '{output}'")
    async with driver(read=["states"]) as it:
        with pytest.raises(DeviceGarbled, match=words):
            await it.read()


async def test_a_program_that_takes_too_long_is_killed_with_all_that_it_started(
    home: Path, tmp_path: Path
) -> None:
    started = tmp_path / "started"
    write(home, f"sleep 60 & echo $! > {started}; wait")
    async with driver(reply_timeout=0.5) as it:
        with pytest.raises(DeviceOffline):
            await it.set(1, True)
    await until(lambda: not alive(int(started.read_text())))


async def test_cancelling_kills_it_too(home: Path, tmp_path: Path) -> None:
    """CMD-3: what a program was about to do does not happen after its command has ended."""
    started = tmp_path / "started"
    write(home, f"sleep 60 & echo $! > {started}.part; mv {started}.part {started}; wait")
    async with driver() as it:
        task = asyncio.create_task(it.set(1, True), name="to be cancelled")
        await until(started.exists)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    await until(lambda: not alive(int(started.read_text())))


async def test_what_a_program_leaves_running_holds_up_nobody(home: Path) -> None:
    write(home, "sleep 3 & echo 1 on; echo 2 off")
    async with driver(read=["states"]) as it, asyncio.timeout(2):
        assert await it.read() == {1: True, 2: False}


async def test_a_flood_of_output_takes_no_memory(home: Path) -> None:
    write(home, "head -c 3000000 /dev/zero; echo the end >&2; exit 5")
    async with driver() as it:
        with pytest.raises(DeviceRefused, match="failed with 5: the end"):
            await it.set(1, True)
    ended = await programs.run(home / "tool", [], {}, 8)
    assert len(ended.output) == 64 * 1024


async def test_only_programs_of_the_directory_are_run(home: Path, tmp_path: Path) -> None:
    """SEC-4: where code is, and which may be run, is not for the inventory to say."""
    outside = write(tmp_path, "exit 0", "outside")
    (home / "link").symlink_to(outside)
    (home / "shell").symlink_to("/bin/sh")
    (home / "plain").write_text("#!/bin/sh\n")
    write(home, "exit 0", "anybodys").chmod(0o777)
    (home / "folder").mkdir()
    for name, words in {
        "missing": "no program .*missing",
        "link": "leads out of",
        "shell": "leads out of",
        "plain": "not executable",
        "anybodys": "anybody may change",
        "folder": "not executable",
    }.items():
        with pytest.raises(DeviceRefused, match=words):
            async with driver(program=name):
                pass


@pytest.mark.parametrize("program", ["../tool", "/bin/sh", "a/b", "", ".", "..", "-c", "tool\n", "sh -c"])
def test_a_path_is_no_name_of_a_program(program: str) -> None:
    """SEC-4."""
    with pytest.raises(ValueError, match="program"):
        Options.model_validate({"program": program})


@pytest.mark.parametrize("name", ["LD_PRELOAD", "PATH", "BASH_ENV", "PYTHONPATH", "IFS", "RELAY_", "relay_x"])
def test_variables_that_mean_something_to_others_cannot_be_set(name: str) -> None:
    """SEC-4."""
    with pytest.raises(ValueError, match="environment"):
        Options.model_validate({"program": "tool", "environment": {name: "x"}})


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"program": None}, 'needs "program"'),
        ({"on": ["{prt}"]}, r"\{prt\} stands for nothing"),
        ({"off": ["{address}"]}, 'needs "address"'),
        ({"read": ["{tcp_port}"]}, 'needs "tcp_port"'),
        ({"read": ["states"], "read_by": "exit"}, r'"read" needs \{port\}'),
        ({"read_by": "exit"}, r'"read" needs \{port\}'),
        ({"on": ["a\0b"]}, "on"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_runs(keys: dict[str, Any], words: str) -> None:
    """OPS-4."""
    with pytest.raises(ValueError, match=words):
        driver(**keys)


def test_secrets_do_not_show() -> None:
    assert "pear" not in repr(
        Options.model_validate({"program": "tool", "environment": {"RELAY_WORD": "pear"}})
    )


def alive(pid: int) -> bool:
    """Tell whether a process runs; one that is dead and waits for its parent does not."""
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
