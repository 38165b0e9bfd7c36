"""Devantech ETH modules."""

from __future__ import annotations

from boardherd.rack.devices.devantech import DevantechModule
from support.rigs.rig import Rig

RIGS = {
    "devantech": Rig(lambda: DevantechModule(mac="00:04:A3:12:34:56")),
    "devantech ETH8020": Rig(lambda: DevantechModule(module_id=21), port_count=20),
    "devantech with a password": Rig(lambda: DevantechModule(password="apple")),
}
