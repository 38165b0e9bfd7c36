"""Relays: each one is opened, and asked what its ports do."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from boardherd_agent.bench import MakeDriver
from boardherd_agent.devices.device import DeviceError, Driver
from boardherd_agent.selftest.check import Check, fail, ok, warn
from boardherd_shared.inventory import Inventory
from boardherd_shared.lab import RelayConfig

_AT_ONCE = 4
_RELAY_S = 15.0


async def relays(
    inventory: Inventory, pc: str, factories: Mapping[str, MakeDriver], *, agent_runs: bool
) -> Sequence[Check]:
    """Open each relay of ``pc`` and read its ports; a few at a time, each once."""
    gate = asyncio.Semaphore(_AT_ONCE)

    async def one(relay: str, make: MakeDriver) -> Check:
        async with gate:
            used = _ports_in_use(inventory, pc, relay)
            return await _relay(relay, inventory.lab.relay[relay], make, used, agent_runs=agent_runs)

    async with asyncio.TaskGroup() as tasks:
        asked = [tasks.create_task(one(*item), name=f"selftest of {item[0]}") for item in factories.items()]
    return [task.result() for task in asked]


def _ports_in_use(inventory: Inventory, pc: str, relay: str) -> dict[int, str]:
    """Return which boards of ``pc`` hang on which ports."""
    boards = inventory.boards_of(pc).items()
    return {wire.port: board for board, config in boards for wire in config.wires if wire.relay == relay}


async def _relay(
    relay: str, config: RelayConfig, make: MakeDriver, used: Mapping[int, str], *, agent_runs: bool
) -> Check:
    name = f"relay {relay}"
    if _is_exclusive(config) and agent_runs:
        return ok(name, "is not opened: the agent that runs has it to itself, and says how it does")
    try:
        async with asyncio.timeout(_RELAY_S):
            async with make() as driver:
                states = await driver.read()
                return _read(name, config, driver, states, used)
    except TimeoutError:
        return fail(name, f"does not answer within {_RELAY_S:g} s", _remedy(config))
    except DeviceError as error:
        return fail(name, str(error), _remedy(config))


def _read(
    name: str, config: RelayConfig, driver: Driver, states: Mapping[int, bool], used: Mapping[int, str]
) -> Check:
    """Compare what a relay says with what lab.toml says of it."""
    identity = driver.identity
    if not driver.reads_back:
        return ok(name, f"{identity}: cannot be asked what its ports do")
    missing = [f"port {port} of {board}" for port, board in sorted(used.items()) if port not in states]
    if missing:
        return fail(
            name,
            f"{identity} says nothing of {', '.join(missing)}",
            f"correct the ports of {name} in lab.toml",
        )
    if identity.mac and config.mac and identity.mac.upper() != config.mac.replace("-", ":"):
        text = f"{identity} has the address {identity.mac}, and lab.toml says {config.mac}"
        return warn(name, text, f"if it was replaced on purpose, correct mac of {name} in lab.toml")
    return ok(name, f"{identity}: {len(states)} ports, {sum(states.values())} on")


def _is_exclusive(config: RelayConfig) -> bool:
    """Whether only one program at a time can have it open."""
    place = str(config.options.get("serial_port", ""))
    return config.driver == "hid_relay" or place != ""


def _remedy(config: RelayConfig) -> str:
    if config.address:
        where = config.address
        return f"is it powered, and in the network? ping {where}; boardherd discover --network {where}"
    if "serial_port" in config.options:
        return "is it plugged in? ls -l /dev/serial/by-id; boardherd discover"
    return "look at its entry in lab.toml and at the list of relay devices"
