"""Numato modules."""

from __future__ import annotations

from boardherd.rack.devices.numato import NumatoModule
from support.rigs.rig import Rig

RIGS = {
    "numato": Rig(
        NumatoModule,
        max_connections=0,
        absent="is not there",
        exclusive=True,
        place=("serial_port", "socket://{}"),
    ),
    "numato with 64 relays": Rig(
        lambda: NumatoModule(relays=64),
        port_count=64,
        max_connections=0,
        absent="is not there",
        exclusive=True,
        place=("serial_port", "socket://{}"),
    ),
}
