"""Consoles: each one is found, and it is told who has it; one that nobody has is opened for a moment to listen."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from boardherd_agent.devices.device import DeviceError
from boardherd_agent.devices.serial_ports import BY_ID, attach, device_path
from boardherd_agent.selftest.check import Check, fail, ok
from boardherd_agent.selftest.rights import Rights
from boardherd_agent.watch.consoles.openers import holders
from boardherd_agent.watch.consoles.serial_port import lock_holder
from boardherd_shared.lab import BoardConfig

_CONSOLE_S = 5.0
_RFC2217_PORT = 23


async def consoles(
    boards: Mapping[str, BoardConfig], rights: Rights, *, agent_runs: bool, by_id: Path = BY_ID
) -> list[Check]:
    """Look at the console of each board that has one."""
    return [
        await _console(f"console {board}", config, rights, agent_runs=agent_runs, by_id=by_id)
        for board, config in boards.items()
        if config.serial_port
    ]


async def _console(name: str, config: BoardConfig, rights: Rights, *, agent_runs: bool, by_id: Path) -> Check:
    port = str(config.serial_port)
    if "://" in port:
        return await _remote_console(name, port, agent_runs=agent_runs)
    device = device_path(port, by_id)
    trouble, having = await asyncio.to_thread(_look, name, device, rights)
    if trouble:
        return trouble
    if having:
        return ok(name, f"{device} is there; {having} has it open")
    if agent_runs:
        return ok(name, f"{device} is there, and nobody has it open just now")
    return await _listen(name, device, config.serial_baud)


def _look(name: str, device: str, rights: Rights) -> tuple[Check | None, str]:
    """Return why a port cannot be used, and who has it, without opening it."""
    if sys.platform == "win32":
        return None, ""
    if not Path(device).exists():
        remedy = "is the adapter plugged in? ls -l /dev/serial/by-id; boardherd discover"
        return fail(name, f"{device} is not there", remedy), ""
    if not rights.may_open(device):
        remedy = f"usermod -aG {_group(device)} boardherd-agent, and start the agent again"
        return fail(name, f"{rights.who} may not open {device}", remedy), ""
    return None, _who_has(device)


async def _listen(name: str, device: str, baud: int) -> Check:
    """Open a console that nobody has for a moment, and write nothing."""
    line = _Closed()
    try:
        async with asyncio.timeout(_CONSOLE_S):
            transport = await attach(device, baud, line, behind="the adapter")
    except TimeoutError:
        return fail(
            name, f"{device} does not open within {_CONSOLE_S:g} s", "unplug the adapter and plug it in again"
        )
    except (DeviceError, OSError) as error:
        return fail(name, str(error), "ls -l /dev/serial/by-id; boardherd discover")
    transport.abort()
    await line.closed.wait()
    return ok(name, f"{device} can be opened")


class _Closed(asyncio.Protocol):
    """Waits for the end of a port, and hears nothing."""

    def __init__(self) -> None:
        self.closed = asyncio.Event()

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self.closed.set()


async def _remote_console(name: str, url: str, *, agent_runs: bool) -> Check:
    """Reach a terminal server; many serve one client at a time, so one that the agent may have is left alone."""
    place = urlsplit(url)
    if agent_runs:
        return ok(name, f"{url} is not opened: the agent that runs may have it")
    try:
        async with asyncio.timeout(_CONSOLE_S):
            _, writer = await asyncio.open_connection(place.hostname, place.port or _RFC2217_PORT)
    except (OSError, TimeoutError, ValueError) as error:
        why = str(error) or f"no answer within {_CONSOLE_S:g} s"
        return fail(
            name, f"{url} cannot be reached: {why}", f"is the terminal server on? ping {place.hostname}"
        )
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return ok(name, f"{url} can be reached")


def _who_has(device: str) -> str:
    """Return who has a port open or has left a lock for it, in words; empty when nobody can be seen."""
    pids = holders(device) or [pid for pid in [lock_holder(device)] if pid]
    return ", ".join(f"{_program(pid)} (process {pid})" for pid in pids)


def _program(pid: int) -> str:
    """Return what a process is called; an agent by its own name, whatever Python it runs in."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return "a program"
    names = [Path(os.fsdecode(word)).name for word in words if word]
    if any(name in {"boardherd-agent", "boardherd_agent"} for name in names):
        return "the agent"
    return names[0] if names else "a program"


def _group(device: str) -> str:
    """Return the group that owns a port, or what it is called as a rule: a group may have no name, Windows has none."""
    try:
        return Path(device).group()
    except (OSError, KeyError, NotImplementedError):
        return "dialout"
