"""SNMP power strips."""

from __future__ import annotations

from typing import Any

from boardherd.rack.devices.snmp import SnmpStrip
from support.rigs.rig import Rig

ENCRYPTED: dict[str, Any] = {
    "version": "3",
    "user": "lab",
    "auth_password": "an apple",
    "privacy_password": "a big pear",
}
PATIENCE = 0.5
"""The first request of version 3 is several exchanges, each of them with arithmetic in Python at both ends."""

RIGS = {
    "snmp": Rig(SnmpStrip, max_connections=0, drops_outputs=False, absent="does not answer"),
    "snmp version 3": Rig(
        lambda: SnmpStrip(profile="raritan", **ENCRYPTED),
        {"reply_timeout": PATIENCE, "connect_timeout": PATIENCE},
        patience=PATIENCE,
        max_connections=0,
        drops_outputs=False,
        absent="does not answer",
    ),
}
