"""The machine itself: the lab.toml it acts on, its disk, who it runs as, its clock, whether it may ping."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator

from boardherd_agent.selftest.check import Check, fail, ok, warn
from boardherd_agent.selftest.rights import OwnRights, Rights
from boardherd_agent.settings import AgentSettings
from boardherd_shared.inventory import Inventory

_MIB = 1024 * 1024
_LEAST_FREE = 64 * _MIB
_CONNECT_S = 2.0
_PROGRAM_S = 3.0
CLOCK_AHEAD_S = 5.0
"""The collector corrects the times of a clock that is further off."""


async def agent_runs(settings: AgentSettings) -> bool:
    """Return whether an agent listens at the local socket; one that we may not speak to is one as well."""
    if not hasattr(socket, "AF_UNIX"):
        return False
    try:
        async with asyncio.timeout(_CONNECT_S):
            _, writer = await asyncio.open_unix_connection(settings.socket)
    except PermissionError:
        return True
    except (OSError, TimeoutError):
        return False
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return True


def machine(settings: AgentSettings, inventory: Inventory, rights: Rights) -> Iterator[Check]:
    """Yield what can be told without waiting."""
    yield _inventory(settings, inventory)
    yield _state_directory(settings)
    yield from _user(settings, rights)
    boards = inventory.boards_of(settings.pc).values()
    if any(probe.startswith("ping") for board in boards for probe in board.probes):
        yield _icmp(rights)


def _inventory(settings: AgentSettings, inventory: Inventory) -> Check:
    pc, file = settings.pc, settings.inventory
    boards, relays = len(inventory.boards_of(pc)), len(inventory.relays_of(pc))
    text = f"{file} with the hash {inventory.hash} gives {pc} {boards} boards and {relays} relays"
    if pc not in inventory.lab.pc:
        return warn("inventory", f"{file} names no test PC {pc}", f"add to lab.toml: pc.{pc} = {{}}")
    if not boards:
        return warn("inventory", text, f'give a board pc = "{pc}" in lab.toml')
    return ok("inventory", text)


def _state_directory(settings: AgentSettings) -> Check:
    place = settings.state_dir
    try:
        with tempfile.TemporaryFile(dir=place) as file:
            file.write(b"selftest")
            file.flush()
        free = shutil.disk_usage(place).free
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        remedy = f"install -d -o boardherd-agent -m 700 {place}, and look at the disk: df -h {place}"
        return fail("disk", f"nothing can be written to {place}: {why}", remedy)
    text = f"{place} can be written to, {free // _MIB} MiB are free"
    if free < _LEAST_FREE:
        return fail("disk", text, f"make room on the disk: df -h {place}")
    wanted = settings.spool.max_bytes - sum(_size(file) for file in place.glob("spool*"))
    if free < wanted:
        remedy = f"make room on the disk, or set spool.max_bytes below {free // _MIB}M in agent.toml"
        return warn("disk", f"{text}, less than the spool may take ({wanted // _MIB} MiB more)", remedy)
    return ok("disk", text)


def _size(file: os.PathLike[str]) -> int:
    try:
        return os.stat(file).st_size  # noqa: PTH116 - a path-like is all that is asked for
    except OSError:
        return 0


def _user(settings: AgentSettings, rights: Rights) -> Iterator[Check]:
    """Yield a warning when root looks for an agent that does not run: what root may do the agent may not."""
    if not isinstance(rights, OwnRights) or not hasattr(os, "geteuid") or os.geteuid() != 0:
        return
    try:
        owner = settings.state_dir.owner()
    except (OSError, KeyError):
        return
    if owner != "root":
        text = f"this was run by root, and the agent is {owner}: what is permitted here may not be there"
        yield warn("user", text, "start the agent, and test once more: then its own rights are looked at")


def _icmp(rights: Rights) -> Check:
    if means := rights.ping_by():
        return ok("icmp", f"{rights.who} may ping, by {means}")
    return fail(
        "icmp",
        f"{rights.who} may not ping, so no board can be told alive by it",
        'sysctl -w net.ipv4.ping_group_range="0 2147483647", or AmbientCapabilities=CAP_NET_RAW in the unit',
    )


async def clock(ahead_s: float | None) -> Check:
    """Return how the clock stands: against the collector's where that was heard, else by the system's own word."""
    synchronised = await _synchronised()
    remedy = "timedatectl set-ntp true, or another client of NTP"
    if ahead_s is not None:
        direction = "ahead of" if ahead_s >= 0 else "behind"
        text = f"the clock is {abs(ahead_s):.1f} s {direction} the collector's"
        return ok("clock", text) if abs(ahead_s) <= CLOCK_AHEAD_S else warn("clock", text, remedy)
    if synchronised is None:
        return ok("clock", "nobody was there to compare the clock with")
    if synchronised:
        return ok("clock", "the system says that the clock is synchronised")
    return warn("clock", "the system says that the clock is not synchronised", remedy)


async def _synchronised() -> bool | None:
    """Return what systemd says of the clock; None where it says nothing."""
    try:
        process = await asyncio.create_subprocess_exec(
            "timedatectl", "show", "--property=NTPSynchronized", "--value",
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
    except OSError:
        return None
    try:
        async with asyncio.timeout(_PROGRAM_S):
            said, _ = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        return None
    return {b"yes": True, b"no": False}.get(said.strip())
