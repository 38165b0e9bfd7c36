"""The rack's control socket, asked by its own client and by somebody who does not know the language."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from boardherd.rack.control import ControlServer, RackControl
from boardherd.rack.rack import Rack, RackError
from support.terminal import until


@pytest.fixture
async def rack(tmp_path: Path) -> AsyncIterator[Rack]:
    async with Rack(tmp_path, boards=2, modules=1, boot_seconds=0.1) as rack:
        yield rack


@pytest.fixture(params=["unix", "tcp"])
async def server(rack: Rack, tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[ControlServer]:
    """A server on a Unix socket, and one whose path is too long for that."""
    directory = tmp_path if request.param == "unix" else tmp_path / ("x" * 100)
    async with ControlServer(rack, directory / "rack.sock") as server:
        assert server.address.startswith(request.param)
        yield server


@pytest.fixture
def control(server: ControlServer) -> RackControl:
    return RackControl(server.address)


async def say(server: ControlServer, *lines: bytes) -> list[dict[str, Any]]:
    """Send lines over one connection and return the answers until the server has said all or hung up."""
    kind, _, place = server.address.partition(":")
    if kind == "unix":
        reader, writer = await asyncio.open_unix_connection(place)
    else:
        reader, writer = await asyncio.open_connection(*place.split(":"))
    with contextlib.closing(writer):
        writer.writelines(lines)
        writer.write_eof()
        return [json.loads(line) async for line in reader]


async def test_faults_can_be_injected_and_healed_from_outside(rack: Rack, control: RackControl) -> None:
    rack.power_all()
    await until(lambda: rack.boards["evm-01"].up)
    assert await control.fault("evm-01", "panic") == "evm-01 has the fault panic"
    assert (await control.truth()).boards["evm-01"].stage == "panicked"
    assert await control.heal("evm-01") == "evm-01 is healed"
    await until(lambda: rack.boards["evm-01"].up)
    assert await control.miswire("eth-1:1", "eth-1:2") == "eth-1:1 feeds evm-02, eth-1:2 feeds evm-01"
    await control.heal()
    assert await control.truth() == rack.truth()


async def test_the_truth_survives_the_way(rack: Rack, control: RackControl) -> None:
    rack.power_all(leave_off=["evm-02"])
    truth = await control.truth()
    assert truth.ports["eth-1:1"].energised
    assert truth.ports["eth-1:1"].board == "evm-01"
    assert not truth.boards["evm-02"].powered
    assert [switching.port for switching in truth.transitions] == ["eth-1:1"]


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        (b"hello\n", "that is no JSON"),
        (b"\xff\xfe\n", "that is no JSON"),
        (b"[1]\n", "a request is a JSON object of texts"),
        (b'{"op": 7}\n', "a request is a JSON object of texts"),
        (b"{}\n", 'there is no operation "None"; known are: fault, miswire, heal, truth'),
        (b'{"op": "explode"}\n', 'there is no operation "explode"; known are: fault, miswire, heal, truth'),
        (b'{"op": "fault", "target": "evm-01"}\n', 'the operation "fault" also needs: fault'),
        (b'{"op": "miswire"}\n', 'the operation "miswire" also needs: a, b'),
        (
            b'{"op": "fault", "target": "evm-3", "fault": "hang"}\n',
            'no board or module "evm-3"; known are: evm-',
        ),
    ],
)
async def test_what_is_not_understood_is_answered_in_words_and_the_talk_goes_on(
    server: ControlServer, line: bytes, sentence: str
) -> None:
    refused, truth = await say(server, line, b'{"op": "truth"}\n')
    assert refused["ok"] is False
    assert sentence in refused["error"]
    assert truth["ok"] is True


async def test_an_endless_line_ends_that_talk_only(server: ControlServer, control: RackControl) -> None:
    with contextlib.suppress(ConnectionError):
        assert await say(server, b"x" * 200_000) == []
    assert (await control.truth()).boards


async def test_refusals_reach_the_client_as_sentences(control: RackControl) -> None:
    with pytest.raises(RackError, match='there is no fault of a board "fire"; known are: hang'):
        await control.fault("evm-01", "fire")


@pytest.mark.parametrize("address", ["unix:/nowhere/rack.sock", "tcp:127.0.0.1:1", "nonsense"])
async def test_a_rack_that_is_not_there_is_a_sentence(address: str) -> None:
    with pytest.raises(RackError, match=f"no rack answers at {address}; is the demo running"):
        await RackControl(address).truth()


async def test_a_client_that_stays_does_not_keep_the_rack_alive(rack: Rack, tmp_path: Path) -> None:
    async with ControlServer(rack, tmp_path / "rack.sock"):
        reader, writer = await asyncio.open_unix_connection(tmp_path / "rack.sock")
        writer.write(b'{"op": "truth"}\n')
        assert await reader.readline()
    assert await reader.read() == b""
    writer.close()
    assert not (tmp_path / "rack.sock").exists()
