"""LCUS relay boards."""

from __future__ import annotations

from boardherd.rack.devices.lcus import LcusBoard
from support.rigs.rig import QUICK, Rig

KEYS = {**QUICK, "read_back": True, "pause": 0.01}
MUTE = {**QUICK, "read_back": False, "pause": 0.01}
PLACE = ("serial_port", "socket://{}")

RIGS = {
    "lcus": Rig(LcusBoard, KEYS, max_connections=0, absent="is not there", exclusive=True, place=PLACE),
    "lcus without read-back": Rig(
        lambda: LcusBoard(answers="nothing"),
        MUTE,
        max_connections=0,
        reads_back=False,
        acknowledges=False,
        absent="is not there",
        exclusive=True,
        place=PLACE,
    ),
}
