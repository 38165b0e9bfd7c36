"""What belongs to one board or relay of lab.toml alone, and the sentence for each that is claimed twice."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from boardherd_shared.addresses import canonical, is_loopback
from boardherd_shared.lab import BoardConfig, Feed, Lab, Line, RelayConfig
from boardherd_shared.probes import KINDS, parse_probe
from boardherd_shared.settings import Document, Key

Claim = tuple[Key, str, str]
"""Where it stands in lab.toml, whose it is, and what is claimed."""

Fault = tuple[Key, str]
"""Where something is wrong, and the sentence about it."""

_LOOPBACK = ("localhost", "127.", "::1")
_MQTT_PORTS = {"mqtt": 1883, "mqtts": 8883}


def double_claims(lab: Lab, document: Document) -> Iterator[Fault]:
    """Yield a fault for everything that a second board, relay or test PC claims."""
    pcs = _pcs_of_relays(lab)
    for what, claims in (
        ("", _ports(lab)),
        ("the name ", _names(lab.pc, "pc")),
        ("the name ", _names(lab.relay, "relay")),
        ("the name ", _names(lab.board, "board")),
        ("the UUID ", _uuids(lab)),
        ("the address ", _addresses(lab)),
        ("the address ", _pc_addresses(lab)),
        ("the address ", _board_addresses(lab)),
        ("the hardware address ", _macs(lab)),
        ("the serial number ", _serial_numbers(lab)),
        ("the serial port ", _serial_ports(lab, pcs)),
        ("the TCP port ", _console_ports(lab)),
        ("the USB serial number ", _usb_serial_numbers(lab)),
        ("the topic ", _topics(lab, pcs)),
        ("the desk ", _desks(lab, pcs)),
    ):
        yield from _twice(document, claims, what)


def wires(board: BoardConfig) -> Iterator[tuple[Key, Feed | Line]]:
    """Yield each relay port of a board with the key where it stands below the board."""
    for index, feed in enumerate(board.power):
        yield ("power", index), feed
    for name, line in board.lines.items():
        yield ("lines", name), line


def _ports(lab: Lab) -> Iterator[Claim]:
    for id_, board in lab.board.items():
        for key, wire in wires(board):
            yield ("board", id_, *key), id_, wire.name


def _names(things: Mapping[str, Any], kind: str) -> Iterator[Claim]:
    for id_, thing in things.items():
        if thing.name:
            yield (kind, id_, "name"), id_, f'"{thing.name}"'


def _uuids(lab: Lab) -> Iterator[Claim]:
    kinds: Mapping[str, Mapping[str, Any]] = {"pc": lab.pc, "relay": lab.relay, "board": lab.board}
    for kind, things in kinds.items():
        for id_, thing in things.items():
            if thing.uuid:
                yield (kind, id_, "uuid"), id_, thing.uuid


def _pc_addresses(lab: Lab) -> Iterator[Claim]:
    for id_, pc in lab.pc.items():
        if pc.ip:
            yield ("pc", id_, "ip"), id_, pc.ip


def _board_addresses(lab: Lab) -> Iterator[Claim]:
    """Yield the address of each board with each probe of it: the same two could not tell boards apart.

    Boards behind one address with ports of their own are nothing unusual.
    """
    for id_, board in lab.board.items():
        if board.board_ip and not is_loopback(board.board_ip):
            asked = [spec for spec in map(parse_probe, board.probes) if KINDS[spec.kind].needs == "board_ip"]
            for spec in dict.fromkeys(asked):
                claimed = f"{canonical(board.board_ip)} with the probe {spec.name}"
                yield ("board", id_, "board_ip"), id_, claimed


def _addresses(lab: Lab) -> Iterator[Claim]:
    for id_, relay in lab.relay.items():
        if relay.endpoint:
            parts = (str(part) for part in relay.endpoint if part is not None)
            yield ("relay", id_, "address"), id_, ":".join(parts)


def _macs(lab: Lab) -> Iterator[Claim]:
    for id_, relay in lab.relay.items():
        if relay.mac:
            yield ("relay", id_, "mac"), id_, relay.mac.replace("-", ":")


def _serial_numbers(lab: Lab) -> Iterator[Claim]:
    for id_, board in lab.board.items():
        if board.hardware_serial_number:
            yield ("board", id_, "hardware_serial_number"), id_, board.hardware_serial_number


def _serial_ports(lab: Lab, pcs: dict[str, list[str]]) -> Iterator[Claim]:
    """Yield the serial ports of consoles and of relays; the same name on two PCs is two ports."""
    for id_, board in lab.board.items():
        if board.serial_port:
            yield ("board", id_, "serial_port"), id_, _on(board.serial_port, board.pc)
    for id_, relay in lab.relay.items():
        if isinstance(port := relay.options.get("serial_port"), str):
            for pc in pcs.get(id_, [None]):
                yield ("relay", id_, "serial_port"), id_, _on(port, pc)


def _console_ports(lab: Lab) -> Iterator[Claim]:
    """Yield the TCP ports of shared consoles; the same number on two PCs is two ports."""
    for id_, board in lab.board.items():
        if board.console_tcp:
            yield ("board", id_, "console_tcp"), id_, _on(str(board.console_tcp), board.pc)


def _usb_serial_numbers(lab: Lab) -> Iterator[Claim]:
    for id_, relay in lab.relay.items():
        if "serial" in relay.options:
            yield ("relay", id_, "serial"), id_, str(relay.options["serial"])


def _topics(lab: Lab, pcs: dict[str, list[str]]) -> Iterator[Claim]:
    """Yield the topics of devices behind a broker; a broker on this machine is another one on each PC."""
    for id_, relay in lab.relay.items():
        topic, broker = _topic(relay), _broker(relay)
        if relay.driver != "tasmota" or not topic or not broker:
            continue
        for pc in pcs.get(id_, [None]) if broker.startswith(_LOOPBACK) else [None]:
            yield ("relay", id_, "topic"), id_, _on(f"{topic} at {broker}", pc)


def _desks(lab: Lab, pcs: dict[str, list[str]]) -> Iterator[Claim]:
    """Yield the desks of relays that people switch; the same name on two PCs is two desks."""
    for id_, relay in lab.relay.items():
        if relay.driver == "manual" and isinstance(desk := relay.options.get("desk"), str):
            for pc in pcs.get(id_, [None]):
                yield ("relay", id_, "desk"), id_, _on(desk, pc)


def _topic(relay: RelayConfig) -> str:
    """Return the topic of a device behind a broker, with what is put around it; empty for none."""
    topic, pattern = relay.options.get("topic"), relay.options.get("full_topic", "%topic%")
    if not isinstance(topic, str) or not isinstance(pattern, str):
        return ""
    return pattern.removeprefix("%prefix%/").replace("%topic%", topic).rstrip("/")


def _broker(relay: RelayConfig) -> str:
    """Return the host and port of the broker in a relay's own keys, without the login; empty for none."""
    said = relay.options.get("broker")
    url = said.get("url", "mqtt://127.0.0.1") if isinstance(said, dict) else said
    try:
        parts = urlsplit(url if isinstance(url, str) else "")
        host, port = parts.hostname, parts.port or _MQTT_PORTS.get(parts.scheme)
    except ValueError:  # the driver says what is wrong with it
        return ""
    return f"{host}:{port}" if host and port else ""


def _pcs_of_relays(lab: Lab) -> dict[str, list[str]]:
    """Return for each relay that a board hangs on the PCs that switch it."""
    pcs: dict[str, list[str]] = {}
    for board in lab.board.values():
        for relay in {wire.relay for wire in board.wires}:
            if board.pc and board.pc not in pcs.setdefault(relay, []):
                pcs[relay].append(board.pc)
    return pcs


def _on(what: str, pc: str | None) -> str:
    return what if "://" in what or pc is None else f"{what} of {pc}"


def _twice(document: Document, claims: Iterable[Claim], what: str) -> Iterator[Fault]:
    """Yield a fault for each key whose claim was made before."""
    first: dict[str, tuple[Key, str]] = {}
    said: set[Key] = set()
    for key, id_, claimed in claims:
        if claimed not in first:
            first[claimed] = (key, id_)
        elif key not in said:
            said.add(key)
            other_key, other = first[claimed]
            line = document.line(other_key)
            yield key, f"{what}{claimed} is also claimed by {other} (line {line})"
