"""Gude Expert Power Control."""

from __future__ import annotations

from boardherd.rack.devices.gude import GudeDevice
from support.rigs.rig import Rig

RIGS = {"gude": Rig(lambda: GudeDevice(password="pear"))}
