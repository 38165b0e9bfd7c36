"""Commands to a whole agent that is killed, frozen, or spoken to twice: the relay module tells what moved."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import signal
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest

from boardherd.rack.devices.devantech import DevantechModule
from boardherd_shared.command import CommandStep, Refusal, State
from boardherd_shared.link import BrokerSettings, Link, Session
from boardherd_shared.messages import decode
from boardherd_shared.topics import Kind, Topics, parse
from support.agent import AgentProcess
from support.broker import Mosquitto

pytestmark = [pytest.mark.system, pytest.mark.timeout(90)]

SITE = Topics("faults")
LAB = """
site = "faults"
pc.pc-01 = {{}}
relay.eth-1 = {{ kind = "devantech", address = "127.0.0.1", tcp_port = {port}, poll = "200ms", stagger = "100ms" }}
[board.evm-01]
pc = "pc-01"
off_time = "2s"
min_off = "2s"
power = ["eth-1:3"]
[board.evm-02]
pc = "pc-01"
off_time = "2s"
min_off = "2s"
power = ["eth-1:4", {{ port = "eth-1:5", after = "100ms" }}]
"""
PORTS = {"evm-01": (3,), "evm-02": (4, 5)}


@dataclass
class Lab:
    """A whole agent, its module, and an operator."""

    agent: AgentProcess
    module: DevantechModule
    ops: Session
    steps: list[CommandStep] = field(default_factory=list)

    async def send(self, body: dict[str, object]) -> None:
        topic = SITE.build(Kind.COMMAND, agent="pc-01", operator="ops1")
        await self.ops.publish(topic, json.dumps(body).encode())

    async def until(self, condition: Callable[[], bool], timeout: float = 30) -> None:
        async with asyncio.timeout(timeout):
            while not condition():  # noqa: ASYNC110 - what others do has no event
                await asyncio.sleep(0.02)

    def heard(self, id_: str) -> bool:
        """Tell whether the agent has said anything of a command."""
        return any(step.id == id_ for step in self.steps)

    def lit(self, board: str) -> bool:
        """Tell whether a board has power."""
        return all(self.module.outputs[port] for port in PORTS[board])

    async def end_of(self, id_: str) -> CommandStep:
        """Return the final step of a command."""
        await self.until(lambda: any(step.id == id_ and step.final for step in self.steps))
        return next(step for step in self.steps if step.id == id_ and step.final)

    async def ready(self) -> None:
        """Return when the agent carries out commands."""
        for number in range(100):
            probe = f"ready-{len(self.steps)}-{number}"
            await self.send({"action": "probe", "board": "evm-01", "id": probe})
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.5):
                    if (await self.end_of(probe)).state is State.SUCCEEDED:
                        return
        raise AssertionError(self.agent.log.read_text()[-3000:])

    def moved(self, board: str) -> list[list[bool]]:
        """Return what each port of a board has done since it was switched on at the beginning."""
        moves = self.module.transitions
        return [[move.energised for move in moves if move.port == port][1:] for port in PORTS[board]]


@pytest.fixture
async def lab(tmp_path: Path, own_mosquitto: Mosquitto) -> AsyncIterator[Lab]:
    async with (
        DevantechModule() as module,
        Link(BrokerSettings(url=own_mosquitto.url), name="ops1").session() as ops,
        asyncio.TaskGroup() as tasks,
    ):
        (tmp_path / "lab.toml").write_text(LAB.format(port=module.port))
        for port in (3, 4, 5):
            module.switch(port, energised=True)
        lab = Lab(AgentProcess(tmp_path, own_mosquitto.url), module, ops)
        await ops.subscribe(SITE.filter(Kind.RESULT, agent="pc-01"))
        listening = tasks.create_task(listen(lab), name="operator")
        lab.agent.start()
        try:
            await lab.ready()
            yield lab
        finally:
            lab.agent.stop(signal.SIGKILL)
            listening.cancel()


async def listen(lab: Lab) -> None:
    async for message in lab.ops.messages():
        address = parse(message.topic)
        if address and address.kind is Kind.RESULT:
            lab.steps.append(decode(CommandStep, message.payload))


async def test_a_whole_agent_is_killed_in_its_cycles(lab: Lab) -> None:
    """CMD-1, CMD-3: each is finished or reported once the agent is back; the broker's redelivery moves nothing."""
    rng = random.Random(9)
    for number in range(3):
        board = rng.choice(sorted(PORTS))
        before = lab.moved(board)
        command: dict[str, object] = {"action": "cycle", "board": board, "id": f"cycle-{number}"}
        await lab.send(command)
        await lab.until(partial(lab.heard, f"cycle-{number}"))
        await asyncio.sleep(rng.uniform(0, 2.2))
        lab.agent.stop(signal.SIGKILL)
        lab.agent.start()
        await lab.ready()
        await lab.send(command)
        final = await lab.end_of(f"cycle-{number}")
        assert final.state in {State.INTERRUPTED, State.SUCCEEDED}
        await lab.until(partial(lab.lit, board))
        for then, now in zip(before, lab.moved(board), strict=True):
            assert now[len(then) :] in ([], [False, True])


async def test_what_arrives_while_the_agent_is_frozen_is_not_carried_out(lab: Lab) -> None:
    """CMD-2: nobody can say how long it has waited, so it is refused as stale; sent again, it is carried out."""
    assert lab.agent.process
    lab.agent.process.send_signal(signal.SIGSTOP)
    await lab.send({"action": "off", "board": "evm-01", "id": "frozen"})
    await asyncio.sleep(5.6)  # longer than the agent may stand still
    lab.agent.process.send_signal(signal.SIGCONT)
    assert (await lab.end_of("frozen")).code is Refusal.STALE
    assert lab.moved("evm-01") == [[]]
    await asyncio.sleep(0.6)
    await lab.send({"action": "off", "board": "evm-01", "id": "again"})
    assert (await lab.end_of("again")).state is State.SUCCEEDED
    assert lab.moved("evm-01") == [[False]]


async def test_a_command_that_waits_for_a_mute_module_is_not_carried_out_late(lab: Lab) -> None:
    """CMD-2: its deadline passes while the module says nothing; what is switched then is too late."""
    await lab.module.hang()
    await lab.send({"action": "off", "board": "evm-01", "id": "late", "valid_for": "1s"})
    final = await lab.end_of("late")
    await lab.module.heal()
    assert final.state in {State.FAILED, State.EXPIRED}
    assert lab.moved("evm-01") == [[]]


async def test_a_stop_in_the_off_time_leaves_no_board_dark(lab: Lab) -> None:
    """CMD-3: SIGTERM in mid-cycle; the board comes on after its minimum off time, and it is said."""
    await lab.send({"action": "cycle", "board": "evm-02", "id": "stopped", "off_time": "30s"})
    await lab.until(lambda: any(step.phase == "dwell" for step in lab.steps))
    assert await asyncio.to_thread(lab.agent.stop) == 0
    final = await lab.end_of("stopped")
    assert (final.state, final.observed) == (State.INTERRUPTED, "on")
    assert lab.moved("evm-02") == [[False, True], [False, True]]
    for port in PORTS["evm-02"]:
        off, on = [move.at for move in lab.module.transitions if move.port == port][1:]
        assert on - off > 1.95
