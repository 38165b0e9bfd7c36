"""What was found, as lab.toml: a whole file, or only what an existing one lacks. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from boardherd.discovery.found import Found
from boardherd.printable import printable
from boardherd_shared.lab import Lab
from boardherd_shared.model import Platform

_BY_ID = "/dev/serial/by-id/"
_IDS = {"devantech": "eth", "snmp": "pdu", "hid_relay": "usb", "usb_rly": "usb", "numato": "usb"}
"""What the ids of a kind begin with, where that is not the kind itself."""
_LOGIN = {
    "netio": ("user", "password"),
    "gude": ("user", "password"),
    "dli": ("user", "password"),
    "shelly": ("password",),
    "tasmota": ("password",),
    "devantech": ("password",),
    "snmp": ("write_community",),
}
"""What a person may have to add before a relay of a kind can be switched."""
_COLUMN = 38


@dataclass(frozen=True)
class Setting:
    """What a new lab.toml says beside what was found."""

    site: str
    pc: str
    """Id of this machine."""
    community: str | None = None
    """What stands in the file for the SNMP community: "public", or a reference to a secret."""
    found_at: str = ""
    """When and where, for the first line."""


def lab_toml(found: Iterable[Found], setting: Setting) -> str:
    """Return a whole lab.toml with ``found`` in it, which a person completes."""
    lines = [
        f"# Found by `boardherd discover` {setting.found_at}; nothing was written to any device.".replace(
            "  ", " "
        ),
        "# Fill in the boards below, then: boardherd inventory check",
        f'site = "{setting.site}"',
        "admins = []                       # broker user names that may do what others may not",
        "",
    ]
    return "\n".join([*lines, *_body(list(found), setting, Lab(site=setting.site), generic=True)]) + "\n"


def additions(found: Iterable[Found], setting: Setting, known: Lab) -> str:
    """Return what is to be appended to the lab.toml that ``known`` stands in; empty when that has it all."""
    fresh = new_to(found, known)
    if not any(it.role in {"relay", "console"} for it in fresh):
        return ""
    lines = [f"# Found by `boardherd discover` {setting.found_at}".rstrip()]
    return "\n".join([*lines, *_body(fresh, setting, known, generic=False)]) + "\n"


def new_to(found: Iterable[Found], known: Lab) -> list[Found]:
    """Return what of ``found`` is not in a lab yet: by hardware address, address and port, or name of the port."""
    macs = {relay.mac for relay in known.relay.values() if relay.mac}
    places = {_place(relay.address, relay.tcp_port) for relay in known.relay.values() if relay.address}
    ports = {_port(board.serial_port) for board in known.board.values() if board.serial_port}
    ports |= {
        _port(str(name)) for relay in known.relay.values() if (name := relay.options.get("serial_port"))
    }
    has_hid = any(relay.driver == "hid_relay" for relay in known.relay.values())

    def is_known(it: Found) -> bool:
        named = it.keys.get("serial_port")
        return (
            it.keys.get("mac") in macs
            or (it.address != "" and _place(it.address, it.keys.get("tcp_port")) in places)
            or (named is not None and not ports.isdisjoint({named, *it.others}))
            or (it.keys.get("kind") == "hid_relay" and has_hid)
        )

    return [it for it in found if not is_known(it)]


def _place(address: object, port: object) -> tuple[str, object]:
    return str(address).lower(), port


def _port(name: str) -> str:
    return re.sub(r"-port0$", "", name.removeprefix(_BY_ID))


def _body(found: Sequence[Found], setting: Setting, known: Lab, *, generic: bool) -> Iterator[str]:
    """Yield the stanzas: this PC, relays, then boards as comments."""
    if setting.pc not in known.pc:
        yield f"[pc.{setting.pc}]"
        yield ""
    taken, first_relay = set(known.relay), ""
    for it in found:
        if it.role == "relay":
            id_ = _new_id(_IDS.get(it.keys["kind"], it.keys["kind"]).replace("_", "-"), taken)
            first_relay = first_relay or (id_ if it.sure else "")
            yield from _relay(id_, it, setting)
    for it in found:
        if it.role == "other":
            yield f"# {printable(f'{it.title} at {it.where}: {it.text}')}"
    consoles: list[Found | None] = [it for it in found if it.role == "console"]
    power = first_relay or next(iter(known.relay), "eth-1")
    if consoles or generic:
        yield "# The boards. Take the # away, and write what each one is and what powers it."
        yield ""
    boards = set(known.board)
    for console in consoles or [None] * generic:
        yield from _board(_new_id("board", boards), console, setting.pc, power)


def _relay(id_: str, it: Found, setting: Setting) -> Iterator[str]:
    """Yield one relay; a guess as a comment, for a wrong driver would write to whatever it is."""
    mark = "" if it.sure else "# "
    words = "; ".join(filter(None, [f"{it.title} at {it.where}", it.outputs, it.text]))
    yield f"# {printable(words)}"  # words of the network stay within their line
    if not it.sure:
        yield "# Only a guess: look first, then take the # away."
    yield f"{mark}[relay.{id_}]"
    for key, value in it.keys.items():
        yield f"{mark}{key} = {_value(value)}"
    if it.keys["kind"] == "devantech" and it.title.endswith("ETH008"):
        yield '# model_type = "ETH_008_B"         # or ETH_008_A: the module does not tell'
    if it.keys["kind"] == "snmp" and setting.community:
        yield f"community = {_value(setting.community)}"
    for key in _LOGIN.get(it.keys["kind"], ()):
        yield f'# {key} = "{"admin" if key == "user" else f"secret:{id_}"}"'
    yield ""


def _board(id_: str, console: Found | None, pc: str, relay: str) -> Iterator[str]:
    """Yield one board as a comment; its values are examples but for the console."""
    number = id_.rpartition("-")[2]
    port = console.keys["serial_port"] if console else "usb-..."
    more = f"or {', '.join(console.others)}; " if console and console.others else ""
    remarks = printable(more + (console.text if console else "a name below /dev/serial/by-id"))
    rows = [
        (f"[board.{id_}]", "its id"),
        (f'name = "EVM #{number}"', "free text for people"),
        (f'pc = "{pc}"', "the test PC that it hangs on"),
        ('platform = "j721e"', f"one of {', '.join(code.value for code in Platform)}"),
        (f'board_ip = "10.0.6.{number}"', "for ping and ssh"),
        (f'serial_port = "{port}"', remarks),
        (f'power = ["{relay}:{number}"]', "the relay port that powers it"),
        ('probes = ["ping", "ssh", "console"]', "how to tell that it lives"),
    ]
    for text, remark in rows:
        yield f"# {text:<{_COLUMN}}# {remark}".rstrip("# ")
    yield ""


def _new_id(stem: str, taken: set[str]) -> str:
    number = 1
    while f"{stem}-{number}" in taken:
        number += 1
    taken.add(f"{stem}-{number}")
    return f"{stem}-{number}"


def _value(value: Any) -> str:
    """Return a text or number as TOML has it; JSON's texts are TOML's basic strings."""
    return json.dumps(printable(value) if isinstance(value, str) else value)
