"""NETIO power sockets."""

from __future__ import annotations

from boardherd.rack.devices.netio import NetioDevice
from support.rigs.rig import Rig

RIGS = {"netio": Rig(lambda: NetioDevice(outlets=8, password="pear"))}
