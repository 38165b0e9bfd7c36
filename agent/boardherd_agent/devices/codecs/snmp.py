"""What SNMP power strips mean by their numbers: which objects are outlets, and which values are on and off.

Facts: the makers' MIBs as published, and the drivers of labgrid and PDUDaemon. An object is written as the
maker's OID with ``{port}`` where the outlet's number stands. Where one source only vouches for an entry, its
title says so. Objects that switch all outlets at once, delayed switching and native reboots exist with most of
them and are never used.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

PORT = "{port}"
SYS_DESCR = "1.3.6.1.2.1.1.1.0"
PHYS_ADDRESS = "1.3.6.1.2.1.2.2.1.6"
"""Column of the interfaces' hardware addresses."""

_TEMPLATE = re.compile(r"\.?(\d+(?:\.\d+)+\.\{port\})")
_WATTS_TEMPLATE = re.compile(r"\.?(\d+(?:\.\d+)+\.\{port\}(?:\.\d+)*)")
_APC_FIELD = re.compile(r"\b(MN|HR|AF1|PF):\s*([^\s)]+)")
_PARTS = {"MN": "model", "HR": "hardware", "AF1": "firmware"}
_LONGEST_NAME = 60

_APC = "1.3.6.1.4.1.318.1.1"
_RARITAN = "1.3.6.1.4.1.13742.6"


@dataclass(frozen=True)
class Profile:
    """How one family of strips is read and switched."""

    title: str
    state: str
    """The object that tells what an outlet does."""
    command: str
    """The object that switches it."""
    on: int
    off: int
    """What is written into the command."""
    says_on: Collection[int]
    says_off: Collection[int]
    """What the state is while the outlet delivers power, and while it does not; anything else is unknown."""
    off_command: str = ""
    """Where something else switches off."""
    watts: str = ""
    """The object that tells an outlet's power in watts; a strip that does not measure lacks it, or says -1."""


def _same(title: str, object_: str, on: int, off: int, watts: str = "") -> Profile:
    """Return the profile of a strip whose command, when read, is the state."""
    return Profile(title, object_, object_, on, off, {on}, {off}, watts=watts)


PROFILES: Mapping[str, Profile] = {
    "apc-spdu": _same("APC MasterSwitch", f"{_APC}.4.4.2.1.3.{PORT}", 1, 2),
    "apc-rpdu": _same("APC rack PDUs AP79xx", f"{_APC}.12.3.3.1.1.4.{PORT}", 1, 2),
    "apc-rpdu2": _same(
        "APC rack PDUs AP84xx, AP86xx, AP89xx",
        f"{_APC}.26.9.2.4.1.5.{PORT}",
        1,
        2,
        f"{_APC}.26.9.4.3.1.7.{PORT}",
    ),
    "apc-epdu": _same("APC Easy PDUs (one source)", f"{_APC}.30.6.2.1.4.{PORT}", 1, 2),
    "raritan": Profile(
        "Raritan PX2 and PX3",
        f"{_RARITAN}.4.1.2.1.3.1.{PORT}",
        f"{_RARITAN}.4.1.2.1.2.1.{PORT}",
        1,
        0,
        {7},
        {8},
        watts=f"{_RARITAN}.5.4.3.1.4.1.{PORT}.5",
    ),
    # 2 is "on, about to go off" and 3 "off, about to go on": what the outlet does now is what counts.
    "eaton": Profile(
        "Eaton ePDU (one source)",
        f"1.3.6.1.4.1.534.6.6.7.6.6.1.2.0.{PORT}",
        f"1.3.6.1.4.1.534.6.6.7.6.6.1.4.0.{PORT}",
        1,
        0,
        {1, 2},
        {0, 3},
        off_command=f"1.3.6.1.4.1.534.6.6.7.6.6.1.3.0.{PORT}",
    ),
    "sentry3": Profile(
        "Server Technology Sentry3, tower 1, infeed 1 (one source)",
        f"1.3.6.1.4.1.1718.3.2.3.1.10.1.1.{PORT}",
        f"1.3.6.1.4.1.1718.3.2.3.1.11.1.1.{PORT}",
        1,
        2,
        {1, 3, 5},
        {0, 4},
    ),
    "poe": _same("PoE switches (RFC 3621), group 1", f"1.3.6.1.2.1.105.1.1.1.3.1.{PORT}", 1, 2),
}


@dataclass(frozen=True)
class Description:
    """What a device's own description tells of it."""

    model: str
    hardware: str = ""
    firmware: str = ""


def template(text: str) -> str:
    """Return an OID of a state or command, without a dot before it; raises ValueError in words."""
    if match := _TEMPLATE.fullmatch(text):
        return match[1]
    raise ValueError(
        f'"{text}" is no object of an outlet; write for example "1.3.6.1.4.1.318.1.1.4.4.2.1.3.{PORT}"'
    )


def watts_template(text: str) -> str:
    """Return an OID of a measurement; numbers may follow the outlet's there. Raises ValueError in words."""
    if match := _WATTS_TEMPLATE.fullmatch(text):
        return match[1]
    raise ValueError(f'"{text}" is no object of an outlet; write {PORT} where its number belongs')


def object_of(template_: str, index: str) -> str:
    """Return the OID of one outlet."""
    return template_.replace(PORT, index)


def column_of(template_: str) -> str:
    """Return the OID below which the objects of all outlets are."""
    return template_.partition(f".{PORT}")[0]


def index_in(column: str, oid: str) -> str:
    """Return what stands in ``oid`` behind ``column``; empty if it is not below it."""
    return oid.removeprefix(f"{column}.") if oid.startswith(f"{column}.") else ""


def ports_of(indexes: Sequence[str]) -> dict[int, str]:
    """Return which index belongs to which port.

    Some strips put the number of a module before the outlet's. The last number is then the port, unless it
    comes twice, as with several modules: outlets are then counted through in the order of the device.
    """
    numbers = [int(index.rpartition(".")[2]) for index in indexes]
    if len(set(numbers)) < len(numbers) or 0 in numbers:
        numbers = list(range(1, len(indexes) + 1))
    return dict(zip(numbers, indexes, strict=True))


def energised(profile: Profile, value: int) -> bool | None:
    """Return whether an outlet delivers power; None when the strip itself does not know."""
    if value in profile.says_on:
        return True
    return False if value in profile.says_off else None


def describe(text: str) -> Description:
    """Return what a system description tells: APC's fields, or else its first line as the model."""
    found = dict(_APC_FIELD.findall(text))
    if "MN" in found:
        return Description(**{_PARTS[key]: value for key, value in found.items() if key in _PARTS})
    first = next(iter(text.strip().splitlines()), "")
    return Description(first[:_LONGEST_NAME].strip() or "SNMP device")


def mac(address: bytes) -> str:
    """Return a hardware address as people write it; empty for an interface that has none."""
    return address.hex(":").upper() if len(address) == 6 and any(address) else ""


def is_message(datagram: bytes) -> bool:
    """Return whether a datagram is one BER sequence from end to end, as every SNMP message is."""
    if len(datagram) < 2 or datagram[0] != 0x30:
        return False
    length, head = datagram[1], 2
    if length & 0x80:
        head += length & 0x7F
        length = int.from_bytes(datagram[2:head], "big")
    return head + length == len(datagram)
