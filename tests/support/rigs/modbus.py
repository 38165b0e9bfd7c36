"""Modbus relay boards."""

from __future__ import annotations

from boardherd.rack.devices.modbus import ModbusBoard
from support.rigs.rig import Rig

RIGS = {
    "modbus": Rig(lambda: ModbusBoard(relays=16), port_count=16),
    "modbus, RTU over TCP": Rig(lambda: ModbusBoard(over="rtu", waveshare=True)),
    "modbus, RTU on a serial port": Rig(
        lambda: ModbusBoard(over="serial", unit=255, outputs="registers", first=1, on=0x0100, off=0x0200),
        max_connections=0,
        absent="is not there",
        exclusive=True,
        place=("serial_port", "socket://{}"),
    ),
}
