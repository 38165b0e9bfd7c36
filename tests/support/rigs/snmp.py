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
PATIENCE = 0.8
"""pysnmp computes at both ends, and version 3 begins with several exchanges: 0.3 s is no silence yet."""

RIGS = {
    "snmp": Rig(
        SnmpStrip,
        {"reply_timeout": PATIENCE, "connect_timeout": PATIENCE},
        patience=PATIENCE,
        max_connections=0,
        drops_outputs=False,
        absent="does not answer",
    ),
    "snmp version 3": Rig(
        lambda: SnmpStrip(profile="raritan", **ENCRYPTED),
        {"reply_timeout": PATIENCE, "connect_timeout": PATIENCE},
        patience=PATIENCE,
        max_connections=0,
        drops_outputs=False,
        absent="does not answer",
    ),
}
