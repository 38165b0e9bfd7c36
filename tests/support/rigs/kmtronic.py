"""KMTronic relay boards."""

from __future__ import annotations

from boardherd.rack.devices.kmtronic import KmtronicBoard
from support.rigs.rig import Rig

RIGS = {
    "kmtronic": Rig(
        KmtronicBoard,
        max_connections=0,
        absent="is not there",
        exclusive=True,
        place=("serial_port", "socket://{}"),
    )
}
