"""What the Devantech driver says on the wire, and to whoever has to find out what is wrong."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from pydantic import SecretStr

from boardherd.rack.devices.devantech import MODELS, DevantechModule
from boardherd_agent.devices.codecs import devantech as codec
from boardherd_agent.devices.device import DeviceGarbled, DeviceOffline, DeviceRefused
from boardherd_agent.devices.drivers.devantech import Driver, Options
from boardherd_shared.inventory import RelayConfig


def driver(module: DevantechModule, password: str | None = None, **config: object) -> Driver:
    options = Options(password=SecretStr(password) if password else None, reply_timeout=0.3)
    keys = {"address": module.host, "tcp_port": module.port} | config
    return Driver(RelayConfig.model_validate(keys), options)


def said(module: DevantechModule) -> list[str]:
    """Return what the module received since the last look."""
    commands = [chunk.hex(" ").upper() for chunk in module.commands]
    module.commands.clear()
    return commands


async def test_every_request_is_one_segment_and_absolute() -> None:
    async with DevantechModule() as module:
        async with driver(module) as device:
            await device.set(8, True)
            await device.read()
            await device.set(8, False)
            await device.pulse(3, False, 2.0)
        assert said(module) == ["10", "20 08 00", "24", "21 08 00", "21 03 14"]


async def test_it_logs_in_when_the_module_would_lock_and_not_before() -> None:
    now = 1000.0
    async with DevantechModule(password="apple", clock=lambda: now) as module:
        async with driver(module, "apple") as device:
            assert said(module) == ["10"]
            await device.set(1, True)
            assert said(module) == ["7A", "79 61 70 70 6C 65", "20 01 00"]
            now += 20
            await device.set(1, False)
            assert said(module) == ["7A", "21 01 00"]
            now += 28
            await device.set(1, True)
            assert said(module) == ["7A", "79 61 70 70 6C 65", "20 01 00"]
        assert module.outputs[1]


async def test_a_password_that_the_module_does_not_ask_for_is_not_sent() -> None:
    async with DevantechModule() as module:
        async with driver(module, "apple") as device:
            await device.set(1, True)
        assert said(module) == ["10", "7A", "20 01 00"]


@pytest.mark.parametrize(
    ("password", "words"), [("pear", "does not accept the password"), (None, "does it ask for a password")]
)
async def test_a_wrong_or_missing_password_is_said_in_words(password: str | None, words: str) -> None:
    async with DevantechModule(password="apple") as module, driver(module, password) as device:
        with pytest.raises(DeviceRefused, match=words):
            await device.set(1, True)
        assert not any((await device.read()).values())


async def test_the_hardware_address_is_asked_for_when_the_inventory_has_one() -> None:
    async with DevantechModule(mac="00:04:A3:12:34:56") as module:
        async with driver(module, mac="00-04-a3-12-34-56") as device:
            assert device.identity.mac == "00:04:A3:12:34:56"
        async with driver(module) as device:
            assert device.identity.mac == ""


async def test_an_unknown_module_is_used_as_configured_and_marked() -> None:
    async with DevantechModule() as module:
        module.module_id = 99
        async with driver(module, port_count=8) as device:
            assert str(device.identity) == "module id 99 (unverified) hardware 2 firmware 28"
            await device.set(8, True)
            assert (await device.read())[8]


@pytest.mark.parametrize("port_count", [8, 16, 20])
async def test_a_module_that_nobody_knows_has_as_many_outputs_as_configured(port_count: int) -> None:
    """An ETH_016 is in no table of the vendor; were there one, it would work like this."""
    async with DevantechModule(module_id=77, outputs=port_count) as module:
        async with driver(module, port_count=port_count) as device:
            assert device.identity.port_count == port_count
            await device.set(port_count, True)
            assert {port for port, energised in (await device.read()).items() if energised} == {port_count}
            with pytest.raises(DeviceRefused, match="unverified"):
                await device.set(port_count + 1, True)
        assert said(module) == ["10", f"20 {port_count:02X} 00", "24"]


async def test_a_module_that_nobody_knows_with_a_mask_of_another_length_is_never_guessed() -> None:
    async with DevantechModule(module_id=77, outputs=16) as module, driver(module, port_count=8) as device:
        with pytest.raises(DeviceGarbled, match="00 00"):
            await device.read()


def test_the_simulated_models_are_those_that_the_driver_knows() -> None:
    """The tables are written down twice, so that a slip in one of them shows."""
    assert {id_: (m.name, m.outputs, m.mask_bytes) for id_, m in MODELS.items()} == {
        id_: (m.name, m.outputs, m.mask_bytes) for id_, m in codec.MODELS.items()
    }


@pytest.mark.parametrize("module_id", list(MODELS))
async def test_every_output_of_every_model_switches_and_reads_back(module_id: int) -> None:
    async with DevantechModule(module_id=module_id, process_delay=0) as module:
        async with driver(module) as device:
            assert device.identity.model == module.model.name
            assert device.identity.port_count == max(module.model.outputs)
            for output in module.model.outputs:
                await device.set(output, True)
                assert await device.read() == module.outputs
        assert all(module.outputs.values())


async def test_a_module_whose_places_are_taken_is_silent_not_garbled() -> None:
    async with DevantechModule() as module, contextlib.AsyncExitStack() as stack:
        for _ in range(5):
            _, writer = await asyncio.open_connection(module.host, module.port)
            stack.push_async_callback(writer.wait_closed)
            stack.callback(writer.close)
        with pytest.raises(DeviceOffline, match="does not answer"):
            async with driver(module):
                pass
        assert module.connections_max == 6
