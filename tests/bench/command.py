"""How long a command takes beyond what the device itself needs: from publishing it to hearing that it succeeded.

Run as ``PYTHONPATH=tests python -m bench.command``; prints JSON. A real agent with its journal on disk, a real
Mosquitto and the simulated Devantech module, and in the same run a bare echo through the same broker and
PDUDaemon's HTTP. See README.md beside this file for what the figures mean.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import httpx
import structlog

from boardherd.rack.devices.devantech import DevantechModule
from boardherd_agent.devices.drivers import devantech
from boardherd_shared.command import CommandStep, State
from boardherd_shared.inventory import RelayConfig
from boardherd_shared.link import BrokerSettings, Link, Session
from boardherd_shared.messages import decode
from boardherd_shared.topics import Kind, Topics
from faults.processes import Child, python
from support.broker import Mosquitto
from support.ports import free_port, wait_for_port

SITE = Topics("bench")
PORT = 3
MEDIAN_MS, P99_MS = 4.0, 10.0
"""What is promised beyond the device's own time, on a machine that has nothing else to do."""
PDUDAEMON = Path(__file__).parents[2] / ".tools/pdudaemon/bin/pdudaemon"
LAB = """
site = "bench"
pc.pc-01 = {{}}
defaults.board = {{ pc = "pc-01", min_off = "2s", max_ons = 0 }}
[relay.eth-1]
kind = "devantech"
address = "127.0.0.1"
tcp_port = {port}
port_count = 20
stagger = 0
poll = "60s"
"""
BOARDS = 20
"""All on one ETH8020. They are switched in turn, so that none comes on again before its minimum off time."""
_ETH8020 = 21
_REST_S = 2.2


class Replies:
    """What an operator hears, one waiter at a time."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._waiting: dict[str, asyncio.Future[float]] = {}

    async def listen(self) -> None:
        """Hear until cancelled."""
        async for message in self._session.messages():
            heard = time.perf_counter()
            key, failed = "echo", ""
            if not message.topic.endswith("/ack"):
                step = decode(CommandStep, message.payload)
                if not step.final:
                    continue
                key, failed = step.id, "" if step.state is State.SUCCEEDED else step.text
            waiter = self._waiting.pop(key, None)
            if waiter and not waiter.done():
                waiter.set_exception(RuntimeError(failed)) if failed else waiter.set_result(heard)

    async def time(self, topic: str, payload: bytes, key: str) -> float:
        """Publish and return the milliseconds until the answer for ``key`` was heard."""
        waiter = self._waiting[key] = asyncio.get_running_loop().create_future()
        began = time.perf_counter()
        await self._session.publish(topic, payload)
        async with asyncio.timeout(20):
            heard: float = await waiter
        return (heard - began) * 1000


def figures(times: Sequence[float]) -> dict[str, float]:
    """Return what is reported of a series of milliseconds."""
    ordered = sorted(times)
    return {
        "median_ms": round(statistics.median(ordered), 3),
        "p99_ms": round(ordered[max(0, round(0.99 * len(ordered)) - 1)], 3),
        "min_ms": round(ordered[0], 3),
    }


async def series(count: int, once: Callable[[int], Awaitable[float]], pause: float) -> list[float]:
    """Measure one after the other, with a pause in between as operators make them."""
    times = []
    for number in range(count):
        times.append(await once(number))
        await asyncio.sleep(pause)
    return times


async def device_alone(module: DevantechModule, count: int, pause: float) -> list[float]:
    """Return what the module itself takes: read, set, read back, over one connection that stands already."""
    config = RelayConfig(address=module.host, tcp_port=module.port)
    async with devantech.Driver(config, devantech.Options()) as driver:

        async def once(number: int) -> float:
            began = time.perf_counter()
            await driver.read()
            await driver.set(PORT, number % 2 == 0)
            await driver.read()
            return (time.perf_counter() - began) * 1000

        return await series(count, once, pause)


async def say(replies: Replies, command: dict[str, str]) -> float:
    """Send a command and return the milliseconds until it had succeeded; RuntimeError when it has not."""
    topic = SITE.build(Kind.COMMAND, agent="pc-01", operator="ops1")
    return await replies.time(topic, json.dumps(command).encode(), command["id"])


async def our_commands(replies: Replies, count: int, pause: float, run: int) -> list[float]:
    """Return what ``on`` and ``off`` in turn take."""

    async def once(number: int) -> float:
        board = number % BOARDS + 1
        action = "on" if number // BOARDS % 2 == 0 else "off"
        command = {"action": action, "board": f"evm-{board:02}", "id": f"run-{run}-{number}"}
        return await say(replies, command)

    return await series(count, once, pause)


async def pdudaemon_jobs(
    directory: Path, module: DevantechModule, count: int, pause: float
) -> dict[str, Any]:
    """Return what PDUDaemon's HTTP takes: with a driver that does nothing, and with the module."""
    if not PDUDAEMON.exists():
        return {"missing": "make setup-test installs it"}
    port, settings = free_port(), directory / "pdudaemon.conf"
    pdus = {
        "nothing": {"driver": "localcmdline"},  # with no command it does nothing and says yes
        "module": {"driver": "devantech_eth008", "ip": module.host, "port": module.port, "retries": 1},
    }
    daemon = {"hostname": "127.0.0.1", "port": port, "listener": "http", "logging_level": "ERROR"}
    settings.write_text(json.dumps({"daemon": daemon, "pdus": pdus}))
    with (directory / "pdudaemon.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            PDUDAEMON, "--conf", settings, stdout=log, stderr=subprocess.STDOUT
        )
    try:
        await asyncio.to_thread(wait_for_port, port, 30)
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            found = {}
            for pdu in pdus:

                async def once(number: int, pdu: str = pdu) -> float:
                    began = time.perf_counter()
                    action = "on" if number % 2 == 0 else "off"
                    query = {"hostname": pdu, "port": str(PORT)}
                    answer = await client.get(f"/power/control/{action}", params=query)
                    answer.raise_for_status()
                    return (time.perf_counter() - began) * 1000

                found[pdu] = figures(await series(count, once, pause))
            return found
    finally:
        process.terminate()
        await process.wait()


def sync_alone(directory: Path, count: int) -> list[float]:
    """Return what the disk takes to sync one page: each step of a command costs one."""
    times = []
    with (directory / "page").open("wb") as file:
        for _ in range(count):
            began = time.perf_counter()
            file.write(bytes(4096))
            file.flush()
            os.fdatasync(file.fileno())
            times.append((time.perf_counter() - began) * 1000)
    return times


@contextlib.asynccontextmanager
async def an_agent(directory: Path, broker: Mosquitto, module: DevantechModule) -> AsyncIterator[Child]:
    """Run the agent until the end of the block."""
    boards = "".join(f'board.evm-{port:02}.power = ["eth-1:{port}"]\n' for port in range(1, BOARDS + 1))
    (directory / "lab.toml").write_text(boards + LAB.format(port=module.port))
    config = directory / "agent.toml"
    config.write_text(
        f'pc = "pc-01"\ninventory = "{directory}/lab.toml"\nstate_dir = "{directory}/state"\n'
        f'socket = "{directory}/agent.sock"\n[broker]\nurl = "{broker.url}"\n'
    )
    agent = Child(python("boardherd_agent", "--config", config), directory / "agent.log")
    agent.start()
    try:
        yield agent
    finally:
        await agent.end()


async def until_it_answers(replies: Replies) -> None:
    """Return when the agent carries out commands."""
    for number in range(100):
        with contextlib.suppress(TimeoutError, RuntimeError):
            async with asyncio.timeout(0.5):
                await say(replies, {"action": "probe", "board": "evm-01", "id": f"probe-{number}"})
                return
    raise RuntimeError("the agent does not carry out commands")


async def measure(options: argparse.Namespace, directory: Path) -> dict[str, Any]:
    """Run everything ``options.repeat`` times and return the figures."""
    with Mosquitto(directory) as broker:
        async with (
            DevantechModule(module_id=_ETH8020) as module,
            an_agent(directory, broker, module),
            Link(BrokerSettings(url=broker.url), name="ops1").session() as session,
            asyncio.TaskGroup() as tasks,
        ):
            replies = Replies(session)
            echo = SITE.build(Kind.ACK, agent="nobody")
            await session.subscribe(SITE.build(Kind.REPLY, operator="ops1"), echo)
            listening = tasks.create_task(replies.listen(), name="replies")
            await until_it_answers(replies)
            runs = [
                await one_run(options, directory, module, replies, echo, number)
                for number in range(options.repeat)
            ]
            listening.cancel()
    return {"runs": runs, "best": best(runs), "promises": promises(best(runs))}


async def one_run(
    options: argparse.Namespace,
    directory: Path,
    module: DevantechModule,
    replies: Replies,
    echo: str,
    run: int,
) -> dict[str, Any]:
    """Measure everything once, within the same seconds."""
    count, pause = options.count, _REST_S / BOARDS
    for board in range(1, BOARDS + 1):
        await say(replies, {"action": "off", "board": f"evm-{board:02}", "id": f"rest-{run}-{board}"})
    await asyncio.sleep(_REST_S)
    device = await device_alone(module, count, 0.01)
    module.switch(PORT, energised=False)
    mqtt = await series(count, lambda _: replies.time(echo, b"x" * 200, "echo"), 0.01)
    command = await our_commands(replies, count, pause, run)
    device += await device_alone(module, count, 0.01)
    own = statistics.median(device)
    beyond = [time_ - own for time_ in command]
    found: dict[str, Any] = {
        "device": figures(device),
        "mqtt_echo": figures(mqtt),
        "disk_sync": figures(await asyncio.to_thread(sync_alone, directory, count)),
        "command": figures(command),
        "beyond_device": figures(beyond),
        "pdudaemon_http": await pdudaemon_jobs(directory, module, min(count, 20), 0.01),
    }
    found["ratios"] = {
        "beyond_device_to_mqtt_echo": ratio(found["beyond_device"], found["mqtt_echo"]),
        "command_to_device": ratio(found["command"], found["device"]),
    }
    if "module" in found["pdudaemon_http"]:
        found["ratios"]["pdudaemon_to_command"] = ratio(found["pdudaemon_http"]["module"], found["command"])
    return found


def ratio(one: dict[str, float], other: dict[str, float]) -> float:
    """Return how many times the other median goes into the one."""
    return round(one["median_ms"] / max(0.001, other["median_ms"]), 2)


def best(runs: Iterable[dict[str, Any]]) -> dict[str, float]:
    """Return the least of each figure over all runs: what the neighbours on this machine disturbed least."""
    beyond = [run["beyond_device"] for run in runs]
    return {name: min(run[name] for run in beyond) for name in beyond[0]}


def promises(least: dict[str, float]) -> dict[str, bool]:
    """Return which promises were kept."""
    return {
        f"median below {MEDIAN_MS:g} ms beyond the device": least["median_ms"] < MEDIAN_MS,
        f"p99 below {P99_MS:g} ms beyond the device": least["p99_ms"] < P99_MS,
    }


def main() -> int:
    """Measure and print; 1 with --strict when a promise was missed."""
    parser = argparse.ArgumentParser(prog="bench.command", description=__doc__)
    parser.add_argument("--count", type=int, default=200, help="commands in each run")
    parser.add_argument("--repeat", type=int, default=5, help="how many runs; the least disturbed counts")
    parser.add_argument("--dir", type=Path, help="keep journal and logs here")
    parser.add_argument("--strict", action="store_true", help="fail when a promise is missed")
    options = parser.parse_args()
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    if options.dir:
        options.dir.mkdir(parents=True, exist_ok=True)
        found = asyncio.run(measure(options, options.dir.absolute()))
    else:
        with tempfile.TemporaryDirectory(prefix="boardherd-bench-") as directory:
            found = asyncio.run(measure(options, Path(directory)))
    print(json.dumps(found, indent=2))
    return 0 if all(found["promises"].values()) or not options.strict else 1


if __name__ == "__main__":
    sys.exit(main())
