"""``python -m boardherd.rack`` as a process."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from boardherd.rack.control import RackControl
from boardherd_shared.inventory import Inventory

pytestmark = pytest.mark.system


@contextlib.asynccontextmanager
async def started(*options: str) -> AsyncIterator[Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "boardherd.rack", *options, stdout=PIPE, stderr=PIPE
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def ready(process: Process) -> dict[str, Any]:
    assert process.stdout is not None
    async with asyncio.timeout(20):
        answer: dict[str, Any] = json.loads(await process.stdout.readline())
    assert answer["ready"] is True
    return answer


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
async def test_it_serves_until_a_signal_and_leaves_nothing_behind(
    tmp_path: Path, how: signal.Signals
) -> None:
    """OPS-2: stops within its limit, with boards in mid-boot and a client connected."""
    place = tmp_path / "new" / "rack"
    options = ("--dir", str(place), "--boards", "3", "--modules", "1", "--off", "evm-02", "--pc", "pc-01")
    async with started(*options) as process:
        answer = await ready(process)
        inventory = Inventory.read(Path(answer["lab"]))
        assert set(inventory.boards_of("pc-01")) == {"evm-01", "evm-02", "evm-03"}
        truth = await RackControl(answer["control"]).truth()
        assert [id_ for id_, board in truth.boards.items() if board.powered] == ["evm-01", "evm-03"]
        relay = inventory.lab.relay["eth-1"]
        reader, writer = await asyncio.open_connection(relay.address, relay.tcp_port)
        process.send_signal(how)
        async with asyncio.timeout(10):
            assert await process.wait() == 0
            with contextlib.suppress(ConnectionError):
                assert await reader.read() == b""
        writer.close()
    assert {path.name for path in place.iterdir()} == {"lab.toml", "rack.lock"}


async def test_a_second_rack_in_the_same_place_is_refused(tmp_path: Path) -> None:
    async with started("--dir", str(tmp_path)) as first:
        control = RackControl((await ready(first))["control"])
        async with started("--dir", str(tmp_path)) as second:
            _, errors = await second.communicate()
            assert second.returncode == 1
            assert errors.decode() == f"Error: another rack is running in {tmp_path}\n"
        assert len((await control.truth()).boards) == 6


async def test_a_killed_rack_does_not_stand_in_the_way_of_the_next(tmp_path: Path) -> None:
    async with started("--dir", str(tmp_path)) as first:
        await ready(first)
        first.kill()
        await first.wait()
    async with started("--dir", str(tmp_path)) as second:
        answer = await ready(second)
        assert (await RackControl(answer["control"]).truth()).boards["evm-01"].powered


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--boards", "9", "--modules", "1"), "1 modules have room for 1 to 7 boards, not 9"),
        (("--off", "evm-77"), "there is no board evm-77; known are: evm-01, "),
        (("--site", "My Lab"), '"My Lab" is no id'),
        (("--boot-seconds", "0"), "0.0 is not in the range"),
        (("--dir", "/proc/nowhere"), "/proc/nowhere"),
    ],
)
async def test_bad_options_are_refused_in_words(
    tmp_path: Path, options: tuple[str, ...], sentence: str
) -> None:
    async with started("--dir", str(tmp_path), *options) as process:
        _, errors = await process.communicate()
        assert process.returncode in {1, 2}
        assert sentence in errors.decode()
        assert "Traceback" not in errors.decode()
