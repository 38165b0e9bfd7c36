"""What the drivers of NETIO, Gude and Digital Loggers say to their devices, and about them."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from boardherd.rack.devices.dli import DliSwitch
from boardherd.rack.devices.gude import GudeDevice
from boardherd.rack.devices.http_device import HttpDevice
from boardherd.rack.devices.netio import NetioDevice
from boardherd_agent.devices import drivers
from boardherd_agent.devices.device import DeviceOffline, DeviceRefused, Pulser
from boardherd_shared.inventory import RelayConfig

DEVICES: dict[str, Any] = {"netio": NetioDevice, "gude": GudeDevice, "dli": DliSwitch}


def driver(device: HttpDevice, **options: Any) -> Any:
    config = RelayConfig.model_validate(device.stanza())
    assert config.driver
    module = drivers.load(config.driver)
    return module.Driver(
        config, module.Options.model_validate(config.options | {"reply_timeout": 0.3} | options)
    )


def said(device: HttpDevice) -> list[str]:
    """Return what the device was asked since the last look, logins left out."""
    asked = [
        f"{request.method} {request.target} {request.body.decode()}".strip() for request in device.requests
    ]
    device.requests.clear()
    return asked


async def test_netio_documents_change_one_output_at_a_time() -> None:
    async with NetioDevice(password="pear") as device:
        async with driver(device) as it:
            assert str(it.identity) == "PowerPDU 8QS firmware 3.1.0"
            assert (it.identity.mac, it.identity.port_count) == ("24:A4:2C:00:00:01", 4)
            await it.set(4, True)
            assert await it.watts() == {1: 0, 2: 0, 3: 0, 4: 60}
            await it.pulse(4, False, 5)
        asked = said(device)
    assert [json.loads(request.partition(" /netio.json ")[2] or "{}") for request in asked] == [
        {},
        {"Outputs": [{"ID": 4, "Action": 1}]},
        {},
        {"Outputs": [{"ID": 4, "Action": 2, "Delay": 5000}]},
    ]


async def test_a_restart_of_a_netio_is_noticed() -> None:
    async with NetioDevice() as device, driver(device) as it:
        await it.read()
        await device.reboot(seconds=0)
        with pytest.raises(DeviceOffline, match="has restarted"):
            await it.read()


async def test_a_netio_without_meters_measures_nothing() -> None:
    async with NetioDevice(metering=False) as device, driver(device) as it:
        assert await it.watts() == {}


async def test_gude_queries_are_absolute() -> None:
    async with GudeDevice() as device:
        async with driver(device) as it:
            assert str(it.identity) == "Expert Power Control 8045 firmware 1.4.2"
            assert (it.identity.mac, it.identity.port_count) == ("00:19:32:00:00:01", 8)
            await it.set(8, True)
            assert (await it.read())[8]
            await it.pulse(8, False, 10)
        assert said(device) == [
            "GET /status.json?components=17",
            "GET /status.json?components=1&cmd=2&p=8",
            "GET /status.json?components=1&cmd=1&p=8&s=1",
            "GET /status.json?components=1",
            "GET /status.json?components=1&cmd=5&p=8&a1=0&a2=1&s=10",
        ]


async def test_the_status_of_other_gude_firmware_is_found_and_kept() -> None:
    async with GudeDevice(path="/statusjsn.js", password="pear") as device:
        async with driver(device) as it:
            await it.set(1, True)
            assert (await it.read())[1]
        assert [request.path for request in device.requests] == ["/status.json"] + ["/statusjsn.js"] * 4


async def test_a_gude_that_has_neither_status_is_refused() -> None:
    async with GudeDevice(path="/elsewhere") as device:
        with pytest.raises(DeviceRefused, match="404 Not Found"):
            async with driver(device):
                pass


async def test_a_gude_that_serves_somebody_else_is_offline_for_now() -> None:
    async with (
        GudeDevice(one_user=True, process_delay=0.05) as device,
        driver(device) as it,
        driver(device) as other,
    ):
        outcomes = await asyncio.gather(it.set(1, True), other.set(2, True), return_exceptions=True)
        assert outcomes[1] is None
        assert isinstance(outcomes[0], DeviceOffline)
        assert "serves another user" in str(outcomes[0])
        assert not device.outputs[1]
        await it.set(1, True)
        assert device.outputs[1]


async def test_digital_loggers_outlets_are_set_persistently_and_read_physically() -> None:
    async with DliSwitch() as device:
        async with driver(device) as it:
            assert it.identity.port_count == 8
            assert not isinstance(it, Pulser), "its own cycle takes a time that was set in the device"
            await it.set(8, True)
            assert (await it.read())[8]
        assert said(device) == [
            "GET /restapi/relay/outlets/all;/physical_state/",
            "GET /restapi/relay/outlets/all;/physical_state/",  # with the login
            "PUT /restapi/relay/outlets/7/state/ value=true",
            "GET /restapi/relay/outlets/all;/physical_state/",
        ]
        assert all("x-csrf" in request.headers for request in device.requests if request.method == "PUT")
        await device.reboot(seconds=0)
        assert device.outputs[8]


async def test_a_digital_loggers_relay_may_follow_later() -> None:
    async with DliSwitch(relay_delay=0.1) as device, driver(device) as it:
        await it.set(1, True)
        assert not (await it.read())[1]
        async with asyncio.timeout(5):
            while not (await it.read())[1]:  # noqa: ASYNC110 - a state of the outside world has no event
                await asyncio.sleep(0.01)


@pytest.mark.parametrize("kind", list(DEVICES))
@pytest.mark.parametrize(("password", "words"), [("apple", "does not accept"), (None, "asks for a password")])
async def test_a_wrong_or_missing_password_is_said_in_words(
    kind: str, password: str | None, words: str
) -> None:
    async with DEVICES[kind](password="pear") as device:
        with pytest.raises(DeviceRefused, match=words):
            async with driver(device, password=password):
                pass
        assert not device.transitions


@pytest.mark.parametrize("kind", [*DEVICES, "shelly"])
def test_a_relay_without_an_address_is_refused_in_words(kind: str) -> None:
    module = drivers.load(kind)
    with pytest.raises(ValueError, match=f'a {kind} relay needs "address"'):
        module.Driver(RelayConfig(), module.Options())
