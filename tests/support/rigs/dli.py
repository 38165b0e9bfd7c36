"""Digital Loggers power switches."""

from __future__ import annotations

from boardherd.rack.devices.dli import DliSwitch
from support.rigs.rig import Rig

RIGS = {"dli": Rig(DliSwitch, drops_outputs=False)}
