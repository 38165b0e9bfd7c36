"""What the Tasmota driver says over HTTP and MQTT, and what it makes of other people's messages."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections.abc import AsyncIterator
from typing import Any

import pytest

from boardherd.rack.devices.tasmota import TasmotaDevice
from boardherd_agent.devices.device import DeviceGarbled, DeviceOffline, DeviceRefused
from boardherd_agent.devices.drivers.tasmota import Driver, Options
from boardherd_shared.inventory import RelayConfig
from boardherd_shared.link import BrokerSettings, Link, Session
from support.broker import Mosquitto


def driver(device: TasmotaDevice, **options: Any) -> Driver:
    config = RelayConfig.model_validate(device.stanza())
    return Driver(config, Options.model_validate(config.options | {"reply_timeout": 0.3} | options))


def said(device: TasmotaDevice) -> list[str]:
    """Return what the device was asked over HTTP since the last look."""
    asked = [request.query["cmnd"] for request in device.requests]
    device.requests.clear()
    return asked


@contextlib.asynccontextmanager
async def somebody(broker: Mosquitto) -> AsyncIterator[Session]:
    """Somebody else at the same broker."""
    async with Link(BrokerSettings.model_validate({"url": broker.url}), name="somebody").session() as session:
        yield session


async def test_the_words_over_http() -> None:
    async with TasmotaDevice() as device:
        async with driver(device) as it:
            assert str(it.identity) == "Tasmota hardware ESP8266EX firmware 14.3.0(tasmota)"
            assert (it.identity.mac, it.identity.port_count) == ("A4:CF:12:A1:B2:C3", 4)
            await it.set(3, True)
            assert await it.read() == {1: False, 2: False, 3: True, 4: False}
        assert said(device) == ["Status 11", "Status 2", "Status 5", "Power3 ON", "Status 11"]


async def test_a_pulse_of_a_single_relay_waits_in_the_device() -> None:
    async with TasmotaDevice(outlets=1) as device, driver(device) as it:
        assert it.max_pulse_s == 360
        await it.set(1, True)
        device.requests.clear()
        await it.pulse(1, False, 5)
        assert said(device) == ["Backlog", "Power1 OFF", "Backlog Delay 50; Power1 ON"]
        assert not device.outputs[1]


async def test_a_later_switch_is_not_undone_by_the_end_of_a_pulse() -> None:
    """CMD-1: an operator's off stays, though the device had an on in its queue."""
    async with TasmotaDevice(outlets=1) as device, driver(device) as it:
        await it.pulse(1, False, 5)
        assert device._backlog
        await it.set(1, False)
        assert not device._backlog


async def test_several_relays_share_a_queue_and_are_not_pulsed() -> None:
    async with TasmotaDevice(outlets=2) as device, driver(device) as it:
        assert it.max_pulse_s == 0
        with pytest.raises(ValueError, match="single relay"):
            await it.pulse(1, True, 1)
        assert not device.transitions


@pytest.mark.parametrize("numbered", [False, True])
async def test_a_single_relay_is_understood_under_both_names(numbered: bool) -> None:
    async with (
        TasmotaDevice(outlets=1, single_is_numbered=numbered, metering=True) as device,
        driver(device) as it,
    ):
        await it.set(1, True)
        assert await it.read() == {1: True}
        assert await it.watts() == {1: 7}


async def test_a_number_that_does_not_exist_never_reaches_the_device() -> None:
    """CMD-1: some firmware would take it for the first relay."""
    async with TasmotaDevice(outlets=2) as device, driver(device) as it:
        device.requests.clear()
        with pytest.raises(DeviceRefused, match="has no relay 3"):
            await it.set(3, True)
        assert not device.requests
        assert not device.transitions


@pytest.mark.parametrize("denies_with", [200, 401])
@pytest.mark.parametrize("password", ["apple", None])
async def test_a_wrong_or_missing_password_is_said_in_words(denies_with: Any, password: str | None) -> None:
    async with TasmotaDevice(password="pear", denies_with=denies_with) as device:
        with pytest.raises(DeviceRefused, match=r"login|password"):
            async with driver(device, password=password):
                pass
        async with driver(device) as it:
            await it.set(1, True)
        assert device.outputs[1]
        assert "authorization" not in device.requests[-1].headers


async def test_a_wrong_password_is_not_called_a_missing_one() -> None:
    async with TasmotaDevice(password="pear", denies_with=401) as device:
        with pytest.raises(DeviceRefused, match="does not accept"):
            async with driver(device, password="apple"):
                pass


async def test_the_password_in_the_query_shows_nowhere(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with TasmotaDevice(password="pear") as device, driver(device) as it:
        await it.read()
        device.garble = b"nonsense"
        with pytest.raises(DeviceGarbled) as garbled:
            await it.read()
        await device.hang()
        with pytest.raises(DeviceOffline) as offline:
            await it.read()
    assert "pear" not in caplog.text + str(garbled.value) + str(offline.value) + repr(it._line)


async def test_a_restart_between_two_requests_is_noticed() -> None:
    async with TasmotaDevice() as device, driver(device) as it:
        await it.read()
        await device.reboot(seconds=0)
        with pytest.raises(DeviceOffline, match="has restarted"):
            await it.read()


async def test_the_words_over_mqtt(mosquitto: Mosquitto) -> None:
    async with TasmotaDevice(broker=mosquitto.url, topic="words", outlets=1) as device, driver(device) as it:
        device.published.clear()
        await it.set(1, True)
        assert (await it.read())[1]
        await it.pulse(1, False, 0.2)
        assert list(device.published) == [
            ("Backlog", ""),
            ("Power1", "ON"),
            ("Status", "11"),
            ("Backlog", ""),
            ("Power1", "OFF"),
            ("Backlog", "Delay 2; Power1 ON"),
            ("Status", "11"),
        ]
        async with asyncio.timeout(5):
            while not device.outputs[1]:  # noqa: ASYNC110 - the device's own clock ends the pulse
                await asyncio.sleep(0.01)


async def test_nothing_is_published_with_the_retain_flag(mosquitto: Mosquitto) -> None:
    """CMD-2: a retained command would switch again at each connect of the device."""
    async with TasmotaDevice(broker=mosquitto.url, topic="retained", outlets=1) as device:
        async with driver(device) as it:
            await it.set(1, True)
            await it.pulse(1, False, 0.2)
        await device.reboot(seconds=0)
        device.published.clear()
        async with somebody(mosquitto) as other:
            await other.publish("cmnd/retained/Status", b"2")
            async with asyncio.timeout(5):
                while not device.published:  # noqa: ASYNC110 - a state of the outside world has no event
                    await asyncio.sleep(0.01)
        assert list(device.published) == [("Status", "2")]


async def test_other_peoples_answers_are_not_taken_for_ours(mosquitto: Mosquitto) -> None:
    async with (
        TasmotaDevice(broker=mosquitto.url, topic="crowd") as device,
        driver(device, reply_timeout=1) as it,
        somebody(mosquitto) as other,
    ):
        device.delay = 0.2
        setting = asyncio.create_task(it.set(1, True), name="set")
        await asyncio.sleep(0.05)
        for answer in (b'{"POWER2":"ON"}', b'{"POWER1":"OFF"}', b'{"Dimmer":5}'):
            await other.publish("stat/crowd/RESULT", answer)
        await other.publish("stat/crowd/POWER1", b"ON")
        await other.publish("stat/crowd/RESULT", b'{"POWER1":"ON"}', retain=True)
        assert not setting.done() or device.outputs[1]
        await setting
        assert device.outputs[1]
        await other.publish("stat/crowd/RESULT", b"", retain=True)


async def test_old_answers_are_thrown_away(mosquitto: Mosquitto) -> None:
    async with (
        TasmotaDevice(broker=mosquitto.url, topic="late", outlets=1) as device,
        driver(device) as it,
        somebody(mosquitto) as other,
    ):
        heard = it._line._mqtt._inbox  # type: ignore[attr-defined]
        await other.publish("stat/late/STATUS11", b'{"StatusSTS":{"POWER":"ON"}}')
        async with asyncio.timeout(5):
            while heard.empty():  # noqa: ASYNC110 - a state of the outside world has no event
                await asyncio.sleep(0.01)
        assert await it.read() == {1: False}


async def test_a_device_that_was_never_there_is_silent(mosquitto: Mosquitto) -> None:
    options = Options.model_validate({"broker": mosquitto.url, "topic": "nobody", "reply_timeout": 0.2})
    with pytest.raises(
        DeviceOffline, match=r"nobody at mqtt://127\.0\.0\.1:\d+ does not answer within 0\.2 s"
    ):
        async with Driver(RelayConfig(), options):
            pass


async def test_a_device_that_left_the_broker_is_offline_at_once_and_must_be_opened_again(
    mosquitto: Mosquitto,
) -> None:
    async with TasmotaDevice(broker=mosquitto.url, topic="leaver") as device:
        async with driver(device, reply_timeout=30) as it:
            reading = asyncio.create_task(it.read(), name="read")
            await device.hang()
            await device.dead()
            with pytest.raises(DeviceOffline, match=r"leaver .* is offline, says the broker"):
                await reading
            await device.heal()
            with pytest.raises(DeviceOffline, match="offline"):
                await it.read()
        async with driver(device) as it:
            assert await it.read()


async def test_a_broker_that_dies_is_named(own_mosquitto: Mosquitto) -> None:
    async with TasmotaDevice(broker=own_mosquitto.url) as device, driver(device) as it:
        own_mosquitto.stop(signal.SIGKILL)
        with pytest.raises(
            DeviceOffline, match=r"the broker of tasmota_A1B2C3 at mqtt://\S+ has closed the connection"
        ):
            await it.read()
        own_mosquitto.start()


async def test_changed_words_for_states_are_garbled_not_guessed() -> None:
    async with TasmotaDevice() as device, driver(device) as it:
        device.garble = b'{"StatusSTS":{"POWER1":"EIN"}}'
        with pytest.raises(DeviceGarbled, match="EIN"):
            await it.read()


def test_a_changed_full_topic_is_followed() -> None:
    options = Options.model_validate(
        {"broker": "mqtt://10.0.5.1", "topic": "strip_1", "full_topic": "lab/%topic%/%prefix%/"}
    )
    line = Driver(RelayConfig(), options)._line
    assert line._topic("cmnd", "Power1") == "lab/strip_1/cmnd/Power1"  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("address", "options", "words"),
    [
        (None, {}, '"address", or "broker" and "topic"'),
        (None, {"broker": "mqtt://10.0.5.1"}, 'needs "topic"'),
        ("10.0.5.44", {"broker": "mqtt://10.0.5.1", "topic": "x"}, "not both"),
        (None, {"broker": "http://10.0.5.1", "topic": "x"}, "no broker address"),
        (None, {"broker": "mqtt://10.0.5.1", "topic": "a/b"}, "topic"),
        (None, {"broker": "mqtt://10.0.5.1", "topic": "a", "full_topic": "%topic%"}, "full_topic"),
    ],
)
def test_a_wrong_configuration_is_refused_in_words(
    address: str | None, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        Driver(RelayConfig(address=address), Options.model_validate(options))
