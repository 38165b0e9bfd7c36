"""Wiring proves itself: real processes, and a rack whose cables are swapped and whose contacts weld."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import pytest_asyncio

from boardherd.client import Client
from boardherd.demo import Demo, Options, free_port
from boardherd.targets import Target
from boardherd_shared.command import Action, Command, CommandStep, Refusal, State
from boardherd_shared.records import Blame, BoardRecord, Wiring
from boardherd_shared.views import BoardView

pytestmark = [pytest.mark.system, pytest.mark.timeout(120), pytest.mark.asyncio(loop_scope="module")]

BOARDS = ("evm-01", "evm-02", "evm-03", "evm-04")
ON_ETH_1 = ("evm-01", "evm-03", "evm-04")
PROVED = "; wiring of {} proved"
FORCED: dict[str, Any] = {"force": True, "reason": "the cables are right now"}


class WiredLab(Demo):
    """A demo lab that somebody at it commands."""

    async def do(
        self, action: Action, board: str = "", *, ends: State = State.SUCCEEDED, **more: Any
    ) -> CommandStep:
        """Send a command and return its last step."""
        target = Target("demo", "demo-pc", board or None, **({} if board else {"relay": "eth-1"}))
        command = Command(action=action, board=board or None, relay=target.relay, **more)
        step = [step async for step in Client(self.settings).send(command, target)][-1]
        assert step.state is ends, step.text
        return step

    async def cycle(self, board: str, *, ends: State = State.SUCCEEDED, **more: Any) -> str:
        """Cycle a board, wait until it is alive, and return how that ended."""
        return (await self.do(Action.CYCLE, board, ends=ends, wait_alive=30.0, **more)).text

    async def boards(self) -> dict[str, BoardView]:
        return {board.id: board for board in (await Client(self.settings).fleet()).boards}

    async def until(self, true: Callable[[dict[str, BoardView]], bool]) -> None:
        """Wait until the collector knows of something."""
        async with asyncio.timeout(40):
            while not true(await self.boards()):  # noqa: ASYNC110 - the collector tells when it is asked
                await asyncio.sleep(0.05)

    async def until_alive(self) -> None:
        await self.until(lambda boards: all(board.is_alive for board in boards.values()))

    async def until_wired(self, board: str, state: str) -> None:
        await self.until(lambda boards: _wiring(boards[board]).state == state)

    async def until_blamed(self, board: str, blame: Blame) -> None:
        await self.until(lambda boards: _state(boards[board]).blame is blame)

    async def command_line(self, *words: str) -> str:
        """Run the command line and return what it prints."""
        where = [
            "--broker",
            self.broker_url,
            "--api",
            self.api,
            "--site",
            "demo",
            "--as",
            self.settings.operator,
        ]
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "boardherd", *where, *words,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        said, complaint = await process.communicate()
        assert process.returncode == 0, complaint.decode()
        return said.decode()


def _state(board: BoardView) -> BoardRecord:
    assert board.state
    return board.state


def _wiring(board: BoardView) -> Wiring:
    wiring = _state(board).wiring
    assert wiring
    return wiring


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def lab(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[WiredLab]:
    options = Options(
        tmp_path_factory.mktemp("wiring"),
        broker_port=free_port(),
        http_port=free_port(),
        boards=len(BOARDS),
        boot_seconds=1.0,
    )
    async with WiredLab(options) as lab:
        await lab.until_alive()
        yield lab


async def test_cycles_prove_the_wiring(lab: WiredLab) -> None:
    """CMD-1: in no more time than a cycle takes; of a board with two feeds both together."""
    for board in ("evm-03", "evm-04"):
        assert (await lab.cycle(board)).endswith("; alive" + PROVED.format(board))
        await lab.until_wired(board, "proved")
    await lab.until_wired("evm-01", "unproved")


async def test_swapped_cables_are_found_and_get_no_power_until_they_are_right(lab: WiredLab) -> None:
    await lab.rack.miswire("eth-1:1", "eth-2:1")
    text = await lab.cycle("evm-01", ends=State.FAILED)
    assert "evm-01 still answered" in text
    assert "eth-1:1 went off, and evm-02 fell silent instead" in text
    for board in ("evm-01", "evm-02"):
        refused = await lab.do(Action.ON, board, ends=State.REFUSED)
        assert refused.code is Refusal.WIRING
        await lab.until_wired(board, "suspect")
        await lab.until_blamed(board, Blame.WIRING)
    await lab.rack.heal("wiring")
    await lab.until_alive()
    assert (await lab.cycle("evm-01", **FORCED)).endswith(PROVED.format("evm-01"))
    await lab.until_wired("evm-02", "unproved")
    assert (await lab.cycle("evm-02")).endswith(PROVED.format("evm-02"))


async def test_a_trace_tells_what_hangs_on_each_port(lab: WiredLab) -> None:
    """CMD-4: only for whoever holds every board on the relay; two cables are swapped there."""
    refused = await lab.do(Action.TRACE, ends=State.REFUSED)
    assert "lock evm-01, evm-03, evm-04 first" in refused.text
    for board in ON_ETH_1:
        await lab.do(Action.LOCK, board)
    await lab.rack.miswire("eth-1:1", "eth-1:2")
    assert await lab.command_line("relay", "trace", "eth-1") == (
        "eth-1:1 -> evm-03, lab.toml says evm-01; eth-1:2 -> evm-01, lab.toml says evm-03;"
        " eth-1:3 -> evm-04 as in lab.toml\n"
    )
    await lab.until_wired("evm-01", "suspect")
    await lab.rack.heal("wiring")
    await lab.until_alive()
    said_again = await lab.do(Action.TRACE)
    assert "eth-1:1 -> evm-01 as in lab.toml; eth-1:2 -> evm-03 as in lab.toml" in said_again.text
    await lab.until_wired("evm-03", "proved")
    for board in ON_ETH_1:
        await lab.do(Action.UNLOCK, board)
    await lab.until_alive()
    assert all(board.powered for board in (await lab.rack.truth()).boards.values())


async def test_a_welded_contact_is_told_from_swapped_cables(lab: WiredLab) -> None:
    """What was proved before is wired right, so the relay is to blame, and power is not refused."""
    await lab.rack.fault("eth-1:2", "weld")
    text = await lab.cycle("evm-03", ends=State.FAILED)
    assert "no other board of demo-pc fell silent" in text
    assert text.endswith("its wiring is proved, so the contact of eth-1:2 is welded")
    await lab.rack.heal("eth-1:2")
    assert (await lab.cycle("evm-03")).endswith(PROVED.format("evm-03"))
