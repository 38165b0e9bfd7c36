"""Devantech USB-RLY modules."""

from __future__ import annotations

from boardherd.rack.devices.usb_rly import UsbRlyModule
from support.rigs.rig import Rig

RIGS = {
    "usb_rly": Rig(
        UsbRlyModule,
        max_connections=0,
        absent="is not there",
        exclusive=True,
        place=("serial_port", "socket://{}"),
    )
}
