"""The Denkovi board with 16 relays."""

from __future__ import annotations

from boardherd.rack.devices.denkovi import DenkoviBoard
from support.rigs.rig import Rig

RIGS = {
    "denkovi": Rig(
        DenkoviBoard,
        port_count=16,
        max_connections=0,
        absent="is not there",
        exclusive=True,
        place=("serial_port", "socket://{}"),
    )
}
