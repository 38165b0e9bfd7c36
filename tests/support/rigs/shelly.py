"""Shelly devices of both generations."""

from __future__ import annotations

from boardherd.rack.devices.shelly import ShellyDevice
from support.rigs.rig import Rig

RIGS = {
    "shelly generation 1": Rig(lambda: ShellyDevice(generation=1, outlets=8)),
    "shelly generation 2": Rig(lambda: ShellyDevice(outlets=8)),
    "shelly generation 2 with a password": Rig(lambda: ShellyDevice(outlets=8, password="pear")),
}
