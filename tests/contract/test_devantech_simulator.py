"""The simulated Devantech module, byte by byte over raw sockets: what it does is what the hardware does."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from boardherd.rack.devices.contacts import Transition
from boardherd.rack.devices.devantech import DevantechModule

SILENCE_S = 0.05
"""Long enough for a module that acts after 2 ms; a longer wait could not turn a failure into a success."""


class Line:
    """A raw TCP connection to the module."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def ask(self, request: str) -> str:
        """Send bytes in one segment, and return what comes back, in hexadecimal; empty for silence."""
        self.writer.write(bytes.fromhex(request))
        return await self.hear(5 if request else SILENCE_S)

    async def hear(self, timeout: float) -> str:
        try:
            async with asyncio.timeout(timeout):
                return (await self.reader.read(64)).hex(" ").upper()
        except TimeoutError:
            return ""

    async def silent(self, request: str) -> bool:
        self.writer.write(bytes.fromhex(request))
        return await self.hear(SILENCE_S) == ""

    async def close(self) -> None:
        self.writer.close()
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()


@contextlib.asynccontextmanager
async def connected(module: DevantechModule) -> AsyncIterator[Line]:
    line = Line(*await asyncio.open_connection(module.host, module.port))
    try:
        yield line
    finally:
        await line.close()


class ManualTime:
    """The module's own clock, moved by hand."""

    def __init__(self) -> None:
        self.now = 1000.0
        self._sleepers: list[tuple[float, asyncio.Future[None]]] = []

    def clock(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        wake: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._sleepers.append((self.now + seconds, wake))
        await wake

    async def pass_(self, seconds: float) -> None:
        await asyncio.sleep(0)  # let a pulse that was just started look at the clock
        self.now += seconds
        for at, wake in self._sleepers:
            if at <= self.now + 1e-9 and not wake.done():
                wake.set_result(None)
        for _ in range(3):
            await asyncio.sleep(0)


@pytest.fixture
async def module() -> AsyncIterator[DevantechModule]:
    async with DevantechModule(volts=11.9, mac="00:04:A3:12:34:56") as it:
        yield it


async def test_the_worked_session(module: DevantechModule) -> None:
    async with connected(module) as line:
        await line.ask("23 0D")
        for request, reply in [
            ("10", "13 02 1C"),
            ("7A", "FF"),
            ("24", "0D"),
            ("20 08 00", "00"),
            ("24", "8D"),
            ("21 08 14", "00"),
            ("20 09 00", "01"),
            ("20 00 00", "01"),
            ("23 0D", "00"),
            ("78", "77"),
            ("77", "00 04 A3 12 34 56"),
        ]:
            assert (request, await line.ask(request)) == (request, reply)


async def test_outputs_of_a_bigger_module() -> None:
    async with DevantechModule(module_id=21) as module, connected(module) as line:
        assert await line.ask("23 60 80 0C") == "00"
        assert {port for port, on in module.outputs.items() if on} == {6, 7, 16, 19, 20}
        assert await line.ask("24") == "60 80 0C"
        module.inputs = 0x05
        assert await line.ask("25") == "00 00 00 05"


@pytest.mark.parametrize(
    ("module_id", "mask", "inputs"),
    [(22, "08 80", "00 05"), (23, "02 02 00", "00 00 00 05"), (29, "0A 00", "00 05")],
)
async def test_outputs_and_inputs_of_the_rarer_modules(module_id: int, mask: str, inputs: str) -> None:
    async with DevantechModule(module_id=module_id) as module, connected(module) as line:
        assert await line.ask("10") == f"{module_id:02X} 02 1C"
        assert await line.ask(f"23 {mask}") == "00"
        assert await line.ask("24") == mask
        module.inputs = 5
        assert await line.ask("25") == inputs


@pytest.mark.parametrize(("module_id", "outputs"), [(19, 16), (77, 25), (77, 0), (256, 8)])
def test_a_module_that_cannot_be_is_refused_in_words(module_id: int, outputs: int) -> None:
    with pytest.raises(ValueError, match="outputs"):
        DevantechModule(module_id=module_id, outputs=outputs)


async def test_an_eth484_has_no_outputs_5_to_8() -> None:
    async with DevantechModule(module_id=20) as module, connected(module) as line:
        assert await line.ask("20 05 00") == "01"
        assert await line.ask("20 10 00") == "00"
        assert await line.ask("24") == "00 80"


@pytest.mark.parametrize("request_", ["25", "99", "00", "32 01", "20", "20 08", "23"])
async def test_what_it_does_not_know_gets_no_answer(module: DevantechModule, request_: str) -> None:
    async with connected(module) as line:
        assert await line.silent(request_)
        assert await line.ask("24") == "00"


async def test_of_commands_that_arrive_together_only_the_first_is_carried_out(
    module: DevantechModule,
) -> None:
    async with connected(module) as line:
        assert await line.ask("20 01 00 20 02 00") == "00"
        assert await line.ask("24") == "01"
        assert await line.ask("24 24") == "01"


async def test_state_outlives_connections(module: DevantechModule) -> None:
    async with connected(module) as line:
        await line.ask("20 03 00")
    async with connected(module) as line:
        assert await line.ask("24") == "04"


async def test_a_pulse_ends_in_the_opposite_state() -> None:
    time = ManualTime()
    async with DevantechModule(clock=time.clock, sleep=time.sleep) as module, connected(module) as line:
        await line.ask("20 08 00")
        assert await line.ask("21 08 14") == "00"
        assert not module.outputs[8]
        await time.pass_(1.9)
        assert not module.outputs[8]
        await time.pass_(0.1)
        assert module.outputs[8]
        assert module.transitions == [
            Transition(8, True, 1000.0, "command"),
            Transition(8, False, 1000.0, "command"),
            Transition(8, True, 1002.0, "pulse"),
        ]


async def test_a_later_command_ends_a_pulse() -> None:
    time = ManualTime()
    async with DevantechModule(clock=time.clock, sleep=time.sleep) as module, connected(module) as line:
        await line.ask("20 01 0A")
        await line.ask("20 01 00")
        await time.pass_(5)
        assert module.outputs[1]


async def test_a_sixth_connection_is_mute_until_one_closes(module: DevantechModule) -> None:
    async with contextlib.AsyncExitStack() as stack:
        lines = [await stack.enter_async_context(connected(module)) for _ in range(6)]
        for line in lines[:5]:
            assert await line.ask("10") == "13 02 1C"
        assert await lines[5].silent("20 01 00")
        assert module.connections_max == 6
        await lines[2].close()
        assert await lines[5].ask("24") == "00"


async def test_a_command_is_lost_when_its_sender_closes_at_once(module: DevantechModule) -> None:
    async with connected(module) as line:
        line.writer.write(bytes.fromhex("20 08 00"))
    await asyncio.sleep(SILENCE_S)
    assert bytes.fromhex("20 08 00") in module.commands
    assert not module.outputs[8]


async def test_the_password_belongs_to_the_connection_and_its_last_use() -> None:
    time = ManualTime()
    async with (
        DevantechModule(password="apple", clock=time.clock) as module,
        connected(module) as line,
        connected(module) as other,
    ):
        assert await line.ask("7A") == "00"
        assert await line.ask("20 01 00") == "01"
        assert await line.ask("24") == "00"
        assert await line.ask("79 61 70 70 6C 66") == "02"
        assert await line.ask("79 61 70 70 6C 65") == "01"
        assert await line.ask("20 01 00") == "00"
        assert await other.ask("20 02 00") == "01"
        time.now += 12
        assert await line.ask("7A") == "12"  # 18 s left, and asking starts the 30 s again
        time.now += 29
        assert await line.ask("20 02 00") == "00"
        time.now += 30
        assert await line.ask("20 03 00") == "01"
        assert await line.ask("79 61 70 70 6C 65") == "01"
        assert await line.ask("7B") == "00"
        assert await line.ask("7A") == "00"


async def test_ascii_commands_are_carried_out_without_a_word(module: DevantechModule) -> None:
    async with connected(module) as line:
        for text in (b":DOA,8,0\r\n", b":DOA,3,0", b":DOA,9,0", b":DOA", b":DOA,x,0", b":DOI,3,0,"):
            assert await line.silent(text.hex())
        assert await line.ask("24") == "80"


async def test_ascii_commands_carry_the_password() -> None:
    async with DevantechModule(password="apple") as module, connected(module) as line:
        assert await line.silent(b":DOA,1,0".hex())
        assert await line.silent(b":DOA,2,0,apple".hex())
        assert await line.ask("24") == "02"


async def test_a_reboot_resets_everybody_and_drops_the_outputs(module: DevantechModule) -> None:
    async with connected(module) as line:
        await line.ask("20 03 00")
        reboot = asyncio.create_task(module.reboot(seconds=0.05), name="reboot")
        with pytest.raises(ConnectionResetError):
            await line.reader.read(1)
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(module.host, module.port)
        await reboot
    assert module.transitions[-1].cause == "reboot"
    async with connected(module) as line:
        assert await line.ask("24") == "00"


async def test_a_reboot_ends_pulses() -> None:
    time = ManualTime()
    async with DevantechModule(clock=time.clock, sleep=time.sleep) as module:
        async with connected(module) as line:
            await line.ask("21 03 14")
        await module.reboot(seconds=0)
        await time.pass_(5)
        assert not module.outputs[3]


async def test_latched_outputs_survive_a_reboot(module: DevantechModule) -> None:
    async with connected(module) as line:
        await line.ask("20 03 00")
    await module.reboot(latched=True, seconds=0)
    async with connected(module) as line:
        assert await line.ask("24") == "04"


async def test_a_hung_module_neither_acts_nor_answers_and_heals(module: DevantechModule) -> None:
    async with connected(module) as line:
        await module.hang()
        assert await line.silent("20 03 00")
        await module.heal()
        assert await line.ask("24") == "00"


async def test_a_dead_module_refuses_and_comes_back_on_the_same_port(module: DevantechModule) -> None:
    port = module.port
    await module.dead()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(module.host, port)
    await module.heal()
    assert module.port == port
    async with connected(module) as line:
        assert await line.ask("24") == "00"


async def test_faults_of_answers(module: DevantechModule) -> None:
    async with connected(module) as line:
        module.answer_fail = True
        assert await line.ask("20 01 00") == "01"
        module.garble = b"\x55\xaa"
        assert await line.ask("24") == "55 AA"
        await module.heal()
        module.delay = 0.1
        assert await line.silent("24")
        assert await line.hear(5) == "00"


async def test_changes_are_told_as_they_happen() -> None:
    told: list[tuple[int, bool]] = []
    async with DevantechModule(on_change=lambda port, on, _at: told.append((port, on))) as module:
        module.switch(2, True)
        module.switch(2, True)
        async with connected(module) as line:
            assert await line.ask("24") == "02"
            await line.ask("23 01")
    assert told == [(2, True), (1, True), (2, False)]
