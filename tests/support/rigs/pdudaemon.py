"""A PDU behind PDUDaemon."""

from __future__ import annotations

from boardherd.rack.devices.pdudaemon import PduDaemon
from support.rigs.rig import Rig

RIGS = {"pdudaemon": Rig(PduDaemon, reads_back=False)}
