"""What is particular about SNMP strips: their objects, versions and logins, and a responder made by others."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from boardherd.rack.devices._snmp_makes import MAKES
from boardherd.rack.devices.snmp import SnmpStrip
from boardherd_agent.devices import drivers
from boardherd_agent.devices.codecs.snmp import PROFILES
from boardherd_agent.devices.device import DeviceGarbled, DeviceOffline, DeviceRefused
from boardherd_shared.inventory import RelayConfig
from support.ports import free_port

QUICK: dict[str, Any] = {"reply_timeout": 0.3}
"""Where silence is what is tested."""
SIGNED: dict[str, Any] = {"version": "3", "user": "lab", "auth_password": "an apple"}
ENCRYPTED: dict[str, Any] = SIGNED | {"privacy_password": "a big pear"}


def driver(keys: dict[str, Any], **options: object) -> Any:
    config = RelayConfig.model_validate({"kind": "snmp"} | keys | options)
    module = drivers.load("snmp")
    return module.Driver(config, module.Options.model_validate(config.options))


def on(states: dict[int, bool]) -> set[int]:
    return {port for port, energised in states.items() if energised}


@pytest.mark.parametrize("profile", list(PROFILES))
async def test_every_profile_switches_reads_and_measures(profile: str) -> None:
    make = MAKES[profile]
    async with SnmpStrip(profile=profile, outlets=3) as strip, driver(strip.stanza()) as device:
        assert await device.read() == {1: False, 2: False, 3: False}
        await device.set(2, True)
        assert strip.outputs == {1: False, 2: True, 3: False}
        assert on(await device.read()) == {2}
        assert await device.watts() == ({1: 0.0, 2: 40.0, 3: 0.0} if make.watts else {})
        await device.set(2, False)
        assert await device.read() == {1: False, 2: False, 3: False}
        assert strip.writes == [
            (f"{make.command}.2", make.on),
            (f"{make.off_command or make.command}.2", make.off),
        ]


def test_every_profile_can_be_simulated() -> None:
    assert set(MAKES) == set(PROFILES)


@pytest.mark.parametrize(
    "login",
    [{"version": "1"}, {"version": "2c"}, {"version": "3"}, SIGNED, ENCRYPTED],
    ids=["1", "2c", "3 open", "3 signed", "3 encrypted"],
)
async def test_every_version_is_spoken(login: dict[str, Any]) -> None:
    strip = SnmpStrip(outlets=12, **login)
    async with strip, driver(strip.stanza(), mac=strip.mac) as device:
        await device.set(12, True)
        assert on(await device.read()) == {12}
        assert str(device.identity) == "AP8941 hardware 05 firmware v6.8.0"
        assert device.identity.mac == strip.mac


@pytest.mark.parametrize("version", ["1", "2c"])
async def test_a_wrong_community_is_met_with_silence(version: str) -> None:
    async with SnmpStrip(version=version) as strip:
        with pytest.raises(DeviceOffline, match="is the community right"):
            async with driver(strip.stanza() | QUICK, community="guessed"):
                pass


@pytest.mark.parametrize(
    "wrong",
    [
        {"user": "nobody"},
        {"auth_password": "not apple"},
        {"auth": "sha256"},
        {"privacy_password": "not a pear"},
    ],
    ids=lambda wrong: next(iter(wrong)),
)
async def test_a_wrong_user_or_password_of_version_3_is_not_let_in(wrong: dict[str, str]) -> None:
    async with SnmpStrip(**ENCRYPTED) as strip:
        with pytest.raises((DeviceRefused, DeviceOffline)) as caught:
            async with driver(strip.stanza() | QUICK | wrong):
                pass
        assert f"{strip.host}:{strip.port}" in str(caught.value)
        assert "apple" not in str(caught.value)
        assert "pear" not in str(caught.value)


@pytest.mark.parametrize("version", ["1", "2c"])
async def test_a_community_that_may_only_read_is_said(version: str) -> None:
    async with SnmpStrip(version=version) as strip:
        async with driver(strip.stanza() | {"write_community": strip.community}) as device:
            assert await device.read()
            with pytest.raises(DeviceRefused, match="may this login write"):
                await device.set(1, True)
        assert not strip.transitions


@pytest.mark.parametrize("version", ["1", "2c"])
async def test_a_strip_that_is_smaller_than_thought_is_walked_through(version: str) -> None:
    async with SnmpStrip(version=version, outlets=3) as strip, driver(strip.stanza(), port_count=8) as device:
        assert device.identity.port_count == 3
        assert set(await device.read()) == {1, 2, 3}
        with pytest.raises(DeviceRefused, match="AP8941 has no outlet 4"):
            await device.set(4, True)


@pytest.mark.parametrize("version", ["1", "2c"])
async def test_the_number_of_a_module_before_the_outlets_is_found_out(version: str) -> None:
    async with SnmpStrip(version=version, module="1.", outlets=4) as strip, driver(strip.stanza()) as device:
        await device.set(3, True)
        assert on(strip.outputs) == {3}
        assert on(await device.read()) == {3}


async def test_a_profile_that_does_not_fit_is_said() -> None:
    async with SnmpStrip(profile="raritan") as strip:
        with pytest.raises(DeviceRefused, match="is the profile right"):
            async with driver(strip.stanza() | {"profile": "apc-spdu"}):
                pass


@pytest.mark.parametrize("version", ["1", "2c"])
async def test_a_model_that_does_not_measure_switches_all_the_same(version: str) -> None:
    async with SnmpStrip(version=version, watts=None) as strip, driver(strip.stanza()) as device:
        assert await device.watts() == {}
        assert await device.watts() == {}
        assert await device.read()


async def test_a_measurement_that_is_not_supported_is_left_out() -> None:
    async with SnmpStrip(watts=-1.0) as strip, driver(strip.stanza()) as device:
        await device.set(1, True)
        assert await device.watts() == dict.fromkeys(range(2, 9), 0.0)


async def test_an_outlet_that_follows_late_is_read_as_it_is_now() -> None:
    async with SnmpStrip(profile="eaton", late=30.0) as strip, driver(strip.stanza()) as device:
        strip.switch(2, True)
        await device.set(1, True)
        await device.set(2, False)
        assert on(await device.read()) == {2}, "neither has moved yet"


async def test_a_strip_whose_objects_stand_in_the_inventory() -> None:
    async with SnmpStrip(profile="eaton", version="2c") as strip:
        named = {
            "profile": "generic",
            "state_oid": ".1.3.6.1.4.1.534.6.6.7.6.6.1.2.0.{port}",
            "set_oid": "1.3.6.1.4.1.534.6.6.7.6.6.1.4.0.{port}",
            "off_oid": "1.3.6.1.4.1.534.6.6.7.6.6.1.3.0.{port}",
            "on": 1,
            "off": 0,
            "read_on": [1, 2],
            "read_off": [0, 3],
        }
        async with driver(strip.stanza() | named) as device:
            await device.set(4, True)
            assert on(await device.read()) == on(strip.outputs) == {4}
            await device.set(4, False)
            assert not on(await device.read())


async def test_what_is_no_snmp_is_shown() -> None:
    async with SnmpStrip() as strip, driver(strip.stanza() | QUICK) as device:
        strip.garble = b"HTTP/1.1 400 Bad Request\r\n" * 4
        with pytest.raises(DeviceGarbled, match=r"answers 48 54 54 50 .* \.\.\., which is no SNMP"):
            await device.read()
        await strip.heal()
        assert await device.read(), "the way is open still"


async def test_a_strip_that_restarts_is_understood_by_version_3_again() -> None:
    """After a restart the counter of boots has risen, and what the agent believed of it is out of date."""
    async with SnmpStrip(**ENCRYPTED) as strip:
        async with driver(strip.stanza() | QUICK) as device:
            await device.set(1, True)
            await strip.reboot()
            with contextlib.suppress(DeviceOffline):  # the worker closes and opens it again
                await device.read()
        async with driver(strip.stanza()) as device:
            assert on(await device.read()) == {1}


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"community": "x"}, 'an snmp relay needs "address"'),
        ({"address": "10.0.0.1"}, 'version 1 needs "community"'),
        ({"address": "10.0.0.1", "version": 3}, 'version 3 needs "user"'),
        (
            {"address": "10.0.0.1", "version": "3", "user": "x", "privacy_password": "a big pear"},
            'needs "auth_password" too',
        ),
        ({"address": "10.0.0.1", "community": "x", "on": 1}, '"on" is for profile = "generic" only'),
        (
            {"address": "10.0.0.1", "community": "x", "profile": "generic"},
            'needs "state_oid", "on" and "off"',
        ),
        (
            {
                "address": "10.0.0.1",
                "community": "x",
                "profile": "generic",
                "state_oid": "1.3.{port}",
                "on": 1,
                "off": 1,
            },
            "the state 1 cannot mean both",
        ),
    ],
)
def test_keys_that_do_not_fit_are_refused_in_words(keys: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        driver({"profile": "apc-rpdu"} | keys)


@pytest.mark.parametrize(
    "keys", [{"state_oid": "1.3.6"}, {"watts_oid": "1.3.6"}, {"version": "4"}, {"auth_password": "short"}]
)
def test_values_that_can_be_none_are_refused(keys: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        drivers.load("snmp").Options.model_validate({"profile": "generic"} | keys)


def test_a_profile_that_nobody_knows_is_refused_in_words() -> None:
    with pytest.raises(ValueError, match=r'no "ups" can be simulated; known profiles are apc-spdu'):
        SnmpStrip(profile="ups")


def test_no_secret_shows() -> None:
    secrets = {"community": "s3cret-1", "write_community": "s3cret-2", "auth_password": "s3cret-3"}
    options = drivers.load("snmp").Options.model_validate({"profile": "apc-rpdu"} | secrets)
    assert "s3cret" not in repr(options)


@contextlib.asynccontextmanager
async def snmpsim(directory: Path, outlets: int) -> AsyncIterator[int]:
    """Run snmpsim's responder with the outlets of an APC MasterSwitch, and yield its UDP port."""
    data, cache, modules = directory / "data", directory / "cache", directory / "modules"
    for path in (data, cache, modules):
        path.mkdir()
    records = "".join(
        f"1.3.6.1.4.1.318.1.1.4.4.2.1.3.{outlet}|2:writecache|value=2\n" for outlet in range(1, outlets + 1)
    )
    (data / "private.snmprec").write_text("1.3.6.1.2.1.1.1.0|4|A MasterSwitch of snmpsim\n" + records)
    (modules / "pysmi.py").write_text(
        '__version__ = "unused"\n'
    )  # it names its version, and does no more with it
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        str(Path(sys.executable).with_name("snmpsim-command-responder")),
        f"--data-dir={data}",
        f"--cache-dir={cache}",
        f"--agent-udpv4-endpoint=127.0.0.1:{port}",
        *(["--process-user=root", "--process-group=root"] if os.geteuid() == 0 else []),
        env=os.environ | {"PYTHONPATH": str(modules), "TMPDIR": str(directory)},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        yield port
    finally:
        process.kill()
        await process.wait()


async def test_the_driver_at_snmpsim(tmp_path: Path) -> None:
    """A responder with a memory of its own; nothing of our simulator takes part."""
    async with snmpsim(tmp_path, outlets=8) as port, asyncio.timeout(60):
        keys = {"address": "127.0.0.1", "tcp_port": port, "profile": "apc-spdu", "community": "private"}
        while True:
            try:
                async with driver(keys, version="2c") as device:
                    await device.set(5, True)
                    break
            except DeviceOffline:  # not up yet
                continue
        async with driver(keys, version="1") as device:
            assert str(device.identity) == "A MasterSwitch of snmpsim"
            assert on(await device.read()) == {5}
            with pytest.raises(DeviceRefused):
                await device.set(9, True)
