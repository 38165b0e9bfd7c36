"""USB HID relay boards."""

from __future__ import annotations

from boardherd.rack.devices.hid_relay import HidRelayBoard
from support.rigs.rig import Rig

RIGS = {"hid_relay": Rig(HidRelayBoard, place=("simulator", "{}"))}
