"""Our driver at a real PDUDaemon, which drives simulated modules; and the simulated PDUDaemon beside the real one."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from boardherd.rack.devices.devantech import DevantechModule
from boardherd.rack.devices.pdudaemon import PduDaemon as SimulatedPduDaemon
from boardherd_agent.devices.device import DeviceOffline, DeviceRefused
from boardherd_agent.devices.drivers import pdudaemon as driver
from boardherd_agent.devices.worker import PortUse, RelayWorker, Switched
from boardherd_shared.clock import SystemClock
from boardherd_shared.inventory import RelayConfig
from boardherd_shared.records import Power
from support.pdudaemon import pdu, pdudaemon

UNCONFIRMED = Switched(Power.UNKNOWN, Power.UNKNOWN, confirmed=False)


def worker(port: int, name: str) -> RelayWorker:
    config = RelayConfig(address="127.0.0.1", tcp_port=port)
    options = driver.Options(pdu=name)
    ports = {1: PortUse("evm-07"), 2: PortUse("evm-08", polarity="NC")}
    return RelayWorker(
        "pdu-1", config, lambda: driver.Driver(config, options), ports, SystemClock(), shared=True
    )


async def test_our_driver_switches_through_a_real_pdudaemon(tmp_path: Path) -> None:
    async with DevantechModule() as module:
        lost = {"driver": "devantech_eth008", "ip": "127.0.0.1", "port": 9, "retries": 1, "retrydelay": 0}
        async with pdudaemon(tmp_path, {"rack": pdu(module), "lost": lost}) as daemon:
            rack = worker(daemon.port, "rack")
            assert await rack.switch(1, Power.ON, by="ops1") == UNCONFIRMED
            assert await rack.switch(2, Power.OFF, by="ops1") == UNCONFIRMED
            assert [port for port, energised in module.outputs.items() if energised] == [1, 2]
            assert await rack.switch(1, Power.OFF, by="ops1") == UNCONFIRMED
            assert not module.outputs[1]
            assert await rack.read(1) is Power.UNKNOWN
            with pytest.raises(DeviceRefused, match=r'"nowhere".*does not know the PDU'):
                await worker(daemon.port, "nowhere").switch(1, Power.ON, by="ops1")
            with pytest.raises(DeviceOffline, match="500 Internal Server Error"):
                await worker(daemon.port, "lost").switch(1, Power.ON, by="ops1")
            port = daemon.port
        with pytest.raises(DeviceOffline, match="refused"):
            await worker(port, "rack").read(1)


PATHS = (
    "on",
    "on?hostname=rack&port=3",
    "off?hostname=rack&port=3",
    "on?hostname=rack&port=9",
    "on?hostname=rack",
    "on?hostname=nowhere&port=1",
    "reboot?hostname=rack&port=3&delay=0",
    "explode?hostname=rack&port=3",
)


async def test_the_simulated_one_answers_like_the_real_one(tmp_path: Path) -> None:
    """So what the suite of drivers shows against the simulator holds for the real one."""
    async with (
        DevantechModule() as module,
        pdudaemon(tmp_path, {"rack": pdu(module)}) as real,
        SimulatedPduDaemon(pdu="rack") as simulated,
        httpx.AsyncClient(timeout=60, trust_env=False) as client,
    ):

        async def answers(port: int) -> dict[str, tuple[int, bytes]]:
            asked = {
                path: await client.get(f"http://127.0.0.1:{port}/power/control/{path}") for path in PATHS
            }
            return {path: (answer.status_code, answer.content) for path, answer in asked.items()}

        assert await answers(simulated.port) == await answers(real.port)
