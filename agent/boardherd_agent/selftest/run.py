"""The whole selftest: all checks in order, then what they found, as text or JSON."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence

from boardherd_agent.bench import MakeDriver, driver_factories
from boardherd_agent.selftest.broker import broker
from boardherd_agent.selftest.check import Check, Level, ok
from boardherd_agent.selftest.consoles import consoles
from boardherd_agent.selftest.machine import agent_runs, clock, machine
from boardherd_agent.selftest.relays import relays
from boardherd_agent.selftest.rights import OwnRights, rights_of_agent
from boardherd_agent.settings import AgentSettings
from boardherd_shared import logs
from boardherd_shared.inventory import Inventory
from boardherd_shared.lifecycle import credentials_directory


def main(settings: AgentSettings, inventory: Inventory, *, as_json: bool) -> int:
    """Look at everything, print it, and return the exit code: 1 when something fails, else 0.

    Raises ConfigError where a driver's keys make no sense.
    """
    logs.configure("critical")  # what drivers have to say comes back as a check
    places = [*filter(None, [credentials_directory()]), settings.secrets_dir]
    factories = driver_factories(inventory, settings.pc, places)
    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        checks = runner.run(selftest(settings, inventory, factories))
    print(as_document(settings.pc, checks) if as_json else as_text(checks))  # noqa: T201
    return int(any(check.level is Level.FAIL for check in checks))


async def selftest(
    settings: AgentSettings, inventory: Inventory, factories: Mapping[str, MakeDriver]
) -> list[Check]:
    """Return what was found about everything that this test PC needs."""
    running = await agent_runs(settings)
    rights = (rights_of_agent(settings.state_dir) if running else None) or OwnRights()
    checks = await asyncio.to_thread(lambda: list(machine(settings, inventory, rights)))
    async with asyncio.TaskGroup() as tasks:
        talking = tasks.create_task(
            broker(settings, inventory, agent_runs=running), name="selftest of the broker"
        )
        asking = tasks.create_task(
            relays(inventory, settings.pc, factories, agent_runs=running), name="selftest of relays"
        )
        looking = tasks.create_task(
            consoles(inventory.boards_of(settings.pc), rights, agent_runs=running),
            name="selftest of consoles",
        )
    said = talking.result()
    words = (
        "an agent runs on this PC"
        if running
        else "no agent runs on this PC, so its relays and consoles are free"
    )
    return [
        ok("agent", words), *checks, await clock(said.ahead_s),
        *said.checks, *asking.result(), *looking.result(),
    ]  # fmt: skip


def as_document(pc: str, checks: Sequence[Check]) -> str:
    """Return the checks as JSON."""
    fine = all(check.level is not Level.FAIL for check in checks)
    return json.dumps({"pc": pc, "ok": fine, "checks": [check.document() for check in checks]}, indent=2)


def as_text(checks: Sequence[Check]) -> str:
    """Return the checks as lines for a person, a remedy below each that needs one."""
    width = max(len(check.name) for check in checks)
    lines = []
    for check in checks:
        lines.append(f"{check.level:<4}  {check.name:<{width}}  {check.text}")
        lines += [f"{'':<4}  {'':<{width}}  -> {check.remedy}"] if check.remedy else []
    count = {level: sum(check.level is level for check in checks) for level in Level}
    return "\n".join(
        [*lines, f"{len(checks)} checks: {count[Level.FAIL]} failed, {count[Level.WARN]} to look at"]
    )
