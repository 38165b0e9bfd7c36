"""Two programs that others wrote for the real modules drive the simulated one: PDUDaemon and the vendor's client."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from devantech_eth.eth008 import ETH008
from devantech_eth.eth484 import ETH484
from devantech_eth.eth8020 import ETH8020

from boardherd.rack.devices.devantech import DevantechModule
from boardherd_agent.devices.drivers import devantech
from boardherd_agent.devices.worker import PortUse, RelayWorker
from boardherd_shared.clock import SystemClock
from boardherd_shared.inventory import RelayConfig
from boardherd_shared.records import Power
from support.pdudaemon import pdu, pdudaemon


async def test_pdudaemon_switches_the_module(tmp_path: Path) -> None:
    async with (
        DevantechModule() as plain,
        DevantechModule(password="apple") as locked,
        pdudaemon(
            tmp_path,
            {
                "plain": pdu(plain),
                "nc": pdu(plain, logic="NC"),
                "locked": pdu(locked, password="apple"),
                "wrong": pdu(locked, password="pear"),
            },
        ) as daemon,
    ):
        assert await daemon.ask("on", "plain", 8) == 200
        assert plain.outputs[8]
        assert await daemon.ask("off", "plain", 8) == 200
        assert not plain.outputs[8]
        assert await daemon.ask("on", "plain", 3) == 200
        assert await daemon.ask("reboot", "plain", 3, delay="1") == 200
        assert [change.energised for change in plain.transitions if change.port == 3] == [True, False, True]
        assert await daemon.ask("off", "nc", 5) == 200
        assert plain.outputs[5]
        assert await daemon.ask("on", "plain", 9) == 500

        assert await daemon.ask("on", "locked", 2) == 200
        assert locked.outputs[2]
        assert list(locked.commands) == [b"\x79apple", b"\x20\x02\x00", b"\x7b"]
        assert await daemon.ask("on", "wrong", 4) == 500
        assert not locked.outputs[4]
        assert max(plain.connections_max, locked.connections_max) <= 5


async def test_pdudaemon_and_our_driver_share_a_module(tmp_path: Path) -> None:
    """A switch by PDUDaemon is seen, and called by its name."""
    async with DevantechModule() as module, pdudaemon(tmp_path, {"rack": pdu(module)}) as daemon:
        config = RelayConfig(address=module.host, tcp_port=module.port)
        worker = RelayWorker(
            "eth-1",
            config,
            lambda: devantech.Driver(config, devantech.Options()),
            {3: PortUse("evm-07")},
            SystemClock(),
        )
        task = asyncio.create_task(worker.run(), name="worker")
        try:
            await worker.switch(3, Power.ON, by="ops1")
            assert await daemon.ask("off", "rack", 3) == 200
            assert await worker.read(3) is Power.OFF
            assert worker.status(3).reason == "switched from outside"
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        assert module.connections_max <= 2


async def with_vendor_client(
    make: Callable[..., Any], module: DevantechModule, use: Callable[..., None]
) -> None:
    """Run the vendor's blocking client in a thread; it would wait for ever for an answer that never comes."""

    def session() -> None:
        client = make(ip=module.host, port=module.port, password=module.password)
        client.socket.settimeout(5)
        client.connect()
        try:
            use(client)
        finally:
            client.close()

    await asyncio.to_thread(session)


@pytest.mark.parametrize("password", [None, "apple"])
async def test_the_vendors_client_drives_an_eth008(password: str | None) -> None:
    def use(client: ETH008) -> None:
        assert client.getModuleInfo() == [19, 2, 28]
        assert client.getVolts() == 12.5
        assert bytes(client.getSerialNumber()) == bytes.fromhex("0004A3123456")
        client.setDO1Active()
        client.setDO8Active()
        assert (client.getDO1State(), client.getDO2State(), client.getDO8State()) == (1, 0, 1)
        client.setDO1Inactive()
        client.toggleDO2()
        assert (client.getDO1State(), client.getDO2State()) == (0, 1)
        client.digitalActive(3, 1)  # a pulse of 100 ms
        assert client.getDO3State() == 1

    async with DevantechModule(volts=12.5, mac="00:04:A3:12:34:56", password=password) as module:
        await with_vendor_client(ETH008, module, use)
        async with asyncio.timeout(5):
            while module.outputs[3]:  # noqa: ASYNC110 - the module's own clock ends the pulse
                await asyncio.sleep(0.01)
        assert {port for port, energised in module.outputs.items() if energised} == {2, 8}


async def test_the_vendors_client_drives_bigger_modules() -> None:
    def use_8020(client: ETH8020) -> None:
        client.setDO20Active()
        assert (client.getDO20State(), client.getDO19State()) == (1, 0)
        assert client.getDI1State() == 1

    def use_484(client: ETH484) -> None:
        client.setDO4Active()
        assert client.getDigitalOutputs() == [0x08, 0x00]

    async with DevantechModule(module_id=21) as module:
        module.inputs = 1
        await with_vendor_client(ETH8020, module, use_8020)
    async with DevantechModule(module_id=20) as module:
        await with_vendor_client(ETH484, module, use_484)
        assert module.outputs[4]
