"""What relays say of a board's power besides on and off."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from boardherd_agent.devices.causes import AWAY, OUTSIDE, REBOOTED
from boardherd_agent.devices.ports import PortStatus
from boardherd_agent.watch.judging.evidence import RelaySeen
from boardherd_agent.watch.judging.feeds import relay_seen
from boardherd_shared.records import Power

WALL = 1_700_000_000_000_000
SINCE = time.strftime("%H:%M:%S", time.localtime(WALL / 1e6))
ON, OFF, UNKNOWN = Power.ON, Power.OFF, Power.UNKNOWN


def port(observed: Power, number: int = 3, *, asked: Power = ON, reason: str = "") -> PortStatus:
    status = PortStatus("eth-1", number, "evm-07", observed, asked, "on", WALL, 0, None, None, reason, "")
    return replace(status, drift_since=WALL if status.drifts else None)


@pytest.mark.parametrize(
    ("feeds", "text", "at_fault", "partly"),
    [
        ([], "", False, False),
        ([port(ON)], "", False, False),
        ([port(OFF, asked=OFF)], "", False, False),
        ([port(OFF, reason=REBOOTED)], f"eth-1 rebooted {SINCE}, eth-1:3 should be ON", True, False),
        ([port(OFF, reason=AWAY)], f"eth-1:3 {AWAY} {SINCE}, it should be ON", True, False),
        ([port(OFF, reason=OUTSIDE)], f"eth-1:3 switched from outside {SINCE}, it should be ON", False, False),
        ([port(UNKNOWN, reason="no answer from 10.0.5.21")], "eth-1: no answer from 10.0.5.21", False, False),
        ([port(UNKNOWN, 3, reason="gone"), port(UNKNOWN, 5, reason="gone")], "eth-1: gone", False, False),
        ([port(ON, 3), port(OFF, 5, asked=OFF)], "eth-1:5 is off", False, True),
        ([port(ON, 3), port(OFF, 5, reason=REBOOTED)], f"eth-1 rebooted {SINCE}, eth-1:5 should be ON", True, True),
        ([port(OFF, 3, asked=OFF), port(OFF, 5, asked=OFF)], "", False, False),
    ],
)  # fmt: skip
def test_what_is_odd_is_said(feeds: list[PortStatus], text: str, at_fault: bool, partly: bool) -> None:
    assert relay_seen(feeds, 7) == RelaySeen(7, text, at_fault, partly)


def test_a_state_that_is_merely_not_normal_is_said_as_well() -> None:
    assert relay_seen([port(OFF, asked=UNKNOWN)], 7).text == f"eth-1:3 is off {SINCE}, it should be ON"


def test_a_port_in_the_middle_of_a_pulse_is_nothing_odd() -> None:
    held = replace(port(OFF, reason="off for a while by the module's own clock"), drift_since=None)
    assert relay_seen([held], 7) == RelaySeen(7)
