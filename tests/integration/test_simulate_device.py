"""``boardherd simulate device``: every kind, as a person would try it, with the real driver at the other end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pty
import re
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from boardherd.rack import devices, trial
from boardherd.rack.devices.shelly import ShellyDevice
from boardherd_agent.devices import drivers
from boardherd_shared.inventory import Inventory

LINE = [sys.executable, "-m", "boardherd", "simulate", "device"]
ENVIRONMENT = re.compile(r"^# the agent needs this in its environment: (\w+)=(.*)$", re.MULTILINE)


class Simulated:
    """A running ``boardherd simulate device``."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout
        self.process, self._output = process, process.stdout

    async def line(self) -> str:
        async with asyncio.timeout(30):
            return (await self._output.readline()).decode().rstrip("\n")

    async def stanza(self) -> str:
        lines = []
        while line := await self.line():
            lines.append(line)
        return "\n".join(lines)

    async def interrupt(self) -> int:
        """Press Ctrl-C and return the exit code."""
        self.process.send_signal(signal.SIGINT)
        async with asyncio.timeout(10):
            await self._output.read()
            return await self.process.wait()


@contextlib.asynccontextmanager
async def simulated(*args: str, **how: Any) -> AsyncIterator[Simulated]:
    process = await asyncio.create_subprocess_exec(*LINE, *args, stdout=asyncio.subprocess.PIPE, **how)
    try:
        yield Simulated(process)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


@pytest.mark.parametrize("kind", devices.kinds())
async def test_the_stanza_of_every_kind_leads_the_real_driver_to_it(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with simulated(kind) as it:
        text = await it.stanza()
        for name, value in ENVIRONMENT.findall(text):
            monkeypatch.setenv(name, value)
        (config,) = Inventory.parse(f'site = "lab"\n{text}').lab.relay.values()
        assert config.driver == kind
        module = drivers.load(kind)
        async with module.Driver(config, module.Options.model_validate(config.options)) as driver:
            await driver.set(1, True)
            if driver.reads_back:
                states = await driver.read()
                assert states[1]
                assert not any(states[port] for port in states if port != 1)
                assert max(states) == config.port_count
            assert re.fullmatch(r"\d\d:\d\d:\d\d\.\d{3}  port 1   ON   command", await it.line())
            await driver.set(1, False)
            assert "port 1   OFF  command" in await it.line()
        assert await it.interrupt() == 0


async def test_json_and_faults_at_their_time() -> None:
    faults = (
        "--fault",
        "heal",
        "--fault",
        "reboot@2s",
        "--fault",
        "reboot@12s",
    )  # one more for a slow machine
    options = ("--ports", "3", "--option", "password=1234", *faults, "--json")
    async with simulated("shelly", *options, stderr=asyncio.subprocess.PIPE) as it:
        first = json.loads(await it.line())
        assert first["stanza"] | {"tcp_port": 0} == {
            "kind": "shelly", "address": "127.0.0.1", "tcp_port": 0, "port_count": 3,
            **{key: value for key, value in first["stanza"].items() if key in {"user", "mac"}}, "password": "1234",
        }  # fmt: skip
        module = drivers.load("shelly")
        (config,) = Inventory.parse(
            'site = "lab"\n[relay.a]\n'
            + "\n".join(f"{k} = {json.dumps(v)}" for k, v in first["stanza"].items())
        ).lab.relay.values()
        async with module.Driver(config, module.Options.model_validate(config.options)) as driver:
            await driver.set(2, True)
        on, dropped = json.loads(await it.line()), json.loads(await it.line())
        assert (on["port"], on["state"], on["cause"]) == (2, "on", "command")
        assert (dropped["port"], dropped["state"], dropped["cause"]) == (2, "off", "reboot")
        assert it.process.stderr
        assert await it.interrupt() == 0
        said = (await it.process.stderr.read()).decode()
        assert "heal: it is well again" in said
        assert "reboot: it loses its connections" in said


async def test_keys_press_buttons_and_break_the_device() -> None:
    ours, theirs = pty.openpty()
    try:
        async with simulated("devantech", stdin=theirs, stderr=theirs, preexec_fn=_own_terminal) as it:
            await it.stanza()
            os.write(ours, b"3")
            assert "port 3   ON   outside" in await it.line()
            os.write(ours, b"x9r")
            assert "port 3   OFF  reboot" in await it.line()
            os.write(ours, b"\x03")
            async with asyncio.timeout(10):
                assert await it.process.wait() == 0
    finally:
        os.close(ours)
        os.close(theirs)


def _own_terminal() -> None:
    """Make the terminal at standard input the one that controls this process, in the child."""
    import fcntl
    import termios

    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["toaster"], 'no "toaster" can be simulated; known kinds are'),
        (["shelly", "--option", "colour=red"], 'has no option "colour"; it has'),
        (["shelly", "--option", "outlets=many"], "outlets=many"),
        (["shelly", "--option", "password"], "write for example password=pear"),
        (["devantech", "--ports", "5"], "has 8 outputs, not 5"),
        (["usb_rly", "--ports", "5"], "follows from its model"),
        (["lcus", "--port", "4000"], "not reached over TCP"),
        (["shelly", "--fault", "explode@3s"], '"explode" is no fault'),
        (["shelly", "--fault", "hang@soon"], "soon"),
        (["shelly", "--option", "host=192.0.2.1"], "cannot be reached where it should"),
    ],
)
async def test_what_makes_no_sense_is_one_sentence(args: list[str], words: str) -> None:
    async with simulated(*args, stderr=asyncio.subprocess.PIPE) as it:
        assert it.process.stderr
        said = (await it.process.stderr.read()).decode()
        assert await it.process.wait() == 2
        assert words in said
        assert said.count("\n") == 1


async def test_the_simulator_of_agents_is_where_it_was(tmp_path: Path) -> None:
    lab = tmp_path / "trial.toml"
    process = await asyncio.create_subprocess_exec(*LINE[:-1], "--agents", "2", "--lab", lab)
    assert await process.wait() == 0
    assert len(Inventory.read(lab).lab.pc) == 2


@pytest.mark.parametrize("kind", devices.kinds())
def test_every_option_of_every_kind_is_explained(kind: str) -> None:
    options = trial.options_of(kind)
    assert options
    assert {name for name, option in options.items() if not option.text} == set()


def test_options_are_read_as_what_they_are() -> None:
    made = trial.make(
        "shelly", {"password": "1234", "generation": "1", "metering": "false"}, ports=2, tcp_port=None
    )
    assert isinstance(made, ShellyDevice)
    assert (made.password, made.generation, made.metering, len(made.outputs)) == ("1234", 1, False, 2)


def test_values_of_all_kinds_survive_toml() -> None:
    import tomllib

    class Odd(ShellyDevice):
        def stanza(self) -> dict[str, Any]:
            return {"a": 'quote" back\\slash \n \x7f ü', "b": [1, "x"], "c": {"d": True, "e": 1.5}, "f": None}

    device = Odd()
    read = tomllib.loads(trial.stanza(device, "sim-1"))["relay"]["sim-1"]
    assert read == {"port_count": 4} | {key: value for key, value in device.stanza().items() if key != "f"}
