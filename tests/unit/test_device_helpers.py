"""Small helpers of drivers: uptimes that fall, and libraries that are missing."""

from __future__ import annotations

import importlib

import pytest

from boardherd_agent.devices.device import DeviceOffline, DeviceRefused
from boardherd_agent.devices.extras import needs
from boardherd_agent.devices.uptime import Uptime


def test_a_rising_or_missing_uptime_says_nothing() -> None:
    uptime = Uptime("10.0.5.40:80")
    for seconds in (3600, 3605, None, 3610, 3609, 3610):
        uptime.reported(seconds)


def test_a_fallen_uptime_is_a_restart_once() -> None:
    uptime = Uptime("10.0.5.40:80")
    uptime.reported(3600)
    with pytest.raises(DeviceOffline, match=r"10\.0\.5\.40:80 has restarted 4 s ago"):
        uptime.reported(4)
    uptime.reported(5)


def test_a_missing_library_is_named_with_the_extra_that_brings_it() -> None:
    with pytest.raises(DeviceRefused, match=r"no_such_library .* boardherd-agent\[http\]"), needs("http"):
        importlib.import_module("no_such_library")
