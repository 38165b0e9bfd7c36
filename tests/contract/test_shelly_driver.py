"""What the Shelly driver says to devices of both generations, and to whoever has to find out what is wrong."""

from __future__ import annotations

import json
from typing import Any

import pytest

from boardherd.rack.devices.shelly import ShellyDevice
from boardherd_agent.devices.device import DeviceOffline, DeviceRefused
from boardherd_agent.devices.drivers.shelly import Driver, Options
from boardherd_shared.inventory import RelayConfig


def driver(device: ShellyDevice, **options: Any) -> Driver:
    config = RelayConfig.model_validate(device.stanza() | {"mac": None})
    return Driver(config, Options.model_validate(config.options | {"reply_timeout": 0.3} | options))


def said(device: ShellyDevice) -> list[str]:
    """Return what the device was asked since the last look."""
    asked = []
    for request in device.requests:
        frame = json.loads(request.body) if request.body else {}
        asked.append(
            f"{request.method} {request.target} {frame.get('method', '')} {frame.get('params', '')}".strip()
        )
    device.requests.clear()
    return asked


async def test_later_generations_are_called_absolutely_and_from_0() -> None:
    async with ShellyDevice() as device:
        async with driver(device) as it:
            assert str(it.identity) == "SPSW-104PE16EU hardware generation 2 firmware 1.4.4"
            assert (it.identity.mac, it.identity.port_count) == ("A8:03:2A:B0:00:01", 4)
            await it.set(4, True)
            assert await it.read() == {1: False, 2: False, 3: False, 4: True}
            await it.pulse(4, False, 5)
        assert said(device) == [
            "GET /shelly",
            "POST /rpc Shelly.GetStatus",
            "POST /rpc Switch.Set {'id': 3, 'on': True}",
            "POST /rpc Shelly.GetStatus",
            "POST /rpc Switch.Set {'id': 3, 'on': False, 'toggle_after': 5}",
        ]


async def test_generation_1_gets_plain_requests() -> None:
    async with ShellyDevice(generation=1, outlets=2) as device:
        async with driver(device) as it:
            assert it.identity.model == "SHSW-44"
            await it.set(2, True)
            assert await it.read() == {1: False, 2: True}
            await it.pulse(2, False, 5)
        assert said(device) == [
            "GET /shelly",
            "GET /status",
            "GET /relay/1?turn=on",
            "GET /status",
            "GET /relay/1?turn=off&timer=5",
        ]


async def test_the_generation_may_be_given() -> None:
    async with ShellyDevice(generation=1) as device, driver(device, generation=1) as it:
        await it.set(1, True)
        assert device.outputs[1]


@pytest.mark.parametrize("generation", [1, 2])
async def test_power_is_measured_where_there_is_a_meter(generation: Any) -> None:
    async with ShellyDevice(generation=generation, outlets=2) as device, driver(device) as it:
        await it.set(1, True)
        assert await it.watts() == {1: 12.5, 2: 0.0}
    async with ShellyDevice(generation=generation, outlets=2, metering=False) as device, driver(device) as it:
        assert await it.watts() == {}


@pytest.mark.parametrize("generation", [1, 2])
@pytest.mark.parametrize(("password", "words"), [("apple", "does not accept"), (None, "asks for a password")])
async def test_a_wrong_or_missing_password_is_said_in_words(
    generation: Any, password: str | None, words: str
) -> None:
    async with ShellyDevice(generation=generation, password="pear") as device:
        with pytest.raises(DeviceRefused, match=words):
            async with driver(device, password=password):
                pass
        async with driver(device) as it:
            await it.set(1, True)
        assert device.outputs[1]


@pytest.mark.parametrize(("firmware", "rounds"), [("1.4.4", 2), ("2.0.0", 1)])
async def test_a_nonce_is_used_again_where_the_firmware_allows_it(firmware: str, rounds: int) -> None:
    async with ShellyDevice(password="pear", firmware=firmware) as device, driver(device) as it:
        device.requests.clear()
        for _ in range(3):
            await it.read()
        assert len(device.requests) == 3 * rounds
        assert not device.outputs[1]


async def test_a_restart_between_two_requests_is_noticed() -> None:
    async with ShellyDevice() as device, driver(device) as it:
        await it.read()
        await device.reboot(seconds=0)
        with pytest.raises(DeviceOffline, match="has restarted"):
            await it.read()


async def test_a_refusal_is_said_in_the_devices_own_words() -> None:
    async with ShellyDevice() as device, driver(device) as it:
        device.answer_fail = True
        with pytest.raises(DeviceRefused, match="Switch is in an error state"):
            await it.set(1, True)


@pytest.mark.parametrize("seconds", [0.0, 3601.0])
async def test_a_pulse_that_is_too_long_is_refused_before_anything_moves(seconds: float) -> None:
    async with ShellyDevice() as device, driver(device) as it:
        with pytest.raises(ValueError, match="up to 3600 s"):
            await it.pulse(1, True, seconds)
        assert not device.transitions
