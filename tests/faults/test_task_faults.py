"""S04: a fault of our own in any task that runs in the background ends the process; none dies in silence."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import re
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from boardherd.rack.devices.devantech import DevantechModule
from boardherd_agent import app as agent
from boardherd_agent.settings import AgentSettings
from boardherd_collector import app as collector
from boardherd_collector.settings import CollectorSettings
from boardherd_shared.inventory import Inventory
from faults.injection import Injected, blames_injected, fail, only_waits_for_others, tasks_named
from support.broker import Mosquitto
from support.ports import free_port

pytestmark = [pytest.mark.system, pytest.mark.timeout(100)]

Main = Callable[[], Coroutine[Any, Any, None]]
_ENDS_WITHIN_S = 10.0
_LASTS_S = 0.3
LAB = """
site = "{site}"
pc.pc-01 = {{}}
relay.eth-1 = {{ model_type = "ETH_008_B", address = "127.0.0.1", tcp_port = {relay}, poll = "200ms" }}
[board.evm-01]
pc = "pc-01"
power = ["eth-1:3"]
board_ip = "127.0.0.1"
probes = ["ssh"]
console = "tap"
serial_port = "socket://127.0.0.1:{console}"
"""


async def ready(told: Callable[[], bool], running: asyncio.Task[None]) -> None:
    """Return when the program has said that it is ready; with its own fault if it has ended."""
    while not told():
        assert not running.done(), running.exception()
        await asyncio.sleep(0.02)


async def lasting(own: set[asyncio.Task[Any]]) -> set[str]:
    """Return the names of the tasks that go on, apart from those in ``own`` and the nameless of libraries.

    Of several that differ by their number one is enough. Those that only wait for others are left out.
    """
    before = asyncio.all_tasks()
    await asyncio.sleep(_LASTS_S)
    there = before & asyncio.all_tasks() - own
    names = {task.get_name() for task in there if not only_waits_for_others(task)}
    kinds = itertools.groupby(sorted(names), key=lambda name: re.sub(r"\d+$", "", name))
    return {next(found) for kind, found in kinds if not kind.startswith("Task-")}


async def hit(main: Main, is_ready: Callable[[], bool], name: str | None) -> set[str]:
    """Run a program and make its task ``name`` fail; return the names of its lasting tasks if there is none."""
    own = asyncio.all_tasks()
    running = asyncio.create_task(main(), name="program")
    own.add(running)
    try:
        await asyncio.wait_for(ready(is_ready, running), 20)
        if name is None:
            return await lasting(own)
        while not (victims := tasks_named(name)):
            assert not running.done(), running.exception()
            await asyncio.sleep(0.02)
        await fail(victims[0])
        await asyncio.wait([running], timeout=_ENDS_WITHIN_S)
        assert running.done(), f"{name} has ended, and nothing else has: {victims[0]}"
        assert blames_injected(running.exception()), f"{name}: {running.exception()!r}"
        return set()
    finally:
        running.cancel()
        with contextlib.suppress(Injected, BaseExceptionGroup, asyncio.CancelledError):
            await running
        # Thrown into a wait of the MQTT library's, a fault leaves behind what that had begun.
        for task in asyncio.all_tasks() - own:
            task.cancel()


@contextlib.asynccontextmanager
async def silent_console() -> AsyncIterator[int]:
    """A terminal server that says nothing; yields its port."""
    writers: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(lambda _, writer: writers.append(writer), "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for writer in writers:
            writer.close()


async def test_a_fault_in_any_task_of_the_agent(mosquitto: Mosquitto, tmp_path: Path) -> None:
    """OPS-1 (S04): the program ends with the fault, and systemd starts it anew."""
    async with DevantechModule() as module, silent_console() as console:
        (tmp_path / "lab.toml").write_text(LAB.format(site="s04-agent", relay=module.port, console=console))
        inventory = Inventory.read(tmp_path / "lab.toml")
        settings = AgentSettings.model_validate(
            {
                "pc": "pc-01",
                "inventory": tmp_path / "lab.toml",
                "state_dir": tmp_path / "state",
                "socket": tmp_path / "agent.sock",
                "broker": {"url": mosquitto.url},
                "sampling": {"interval": 0.3},
            }
        )

        def connected() -> bool:
            return bool(tasks_named("uplink-hello"))

        names = await hit(lambda: agent.main(settings, inventory), connected, None)
        assert {"sampler", "spool", "refresh", "receive", "relay eth-1", "uplink-hello", "commands"} <= names
        for name in sorted(names):
            await hit(lambda: agent.main(settings, inventory), connected, name)


async def test_a_fault_in_any_task_of_the_collector(mosquitto: Mosquitto, tmp_path: Path) -> None:
    """OPS-1 (S04): the program ends with the fault, and systemd starts it anew."""
    (tmp_path / "lab.toml").write_text('site = "s04-collector"\npc.pc-01 = {}\n')
    inventory = Inventory.read(tmp_path / "lab.toml")
    settings = CollectorSettings.model_validate(
        {
            "inventory": tmp_path / "lab.toml",
            "broker": {"url": mosquitto.url},
            "store": {"url": f"sqlite://{tmp_path}/history.db"},
            "http": {"port": free_port()},
        }
    )

    def connected() -> bool:
        return bool(tasks_named("collector listener"))

    names = await hit(lambda: collector.run(settings, inventory), connected, None)
    assert {"ingest", "upkeep", "web", "http server", "collector listener", "collector publisher 0"} <= names
    for name in sorted(names):
        await hit(lambda: collector.run(settings, inventory), connected, name)
