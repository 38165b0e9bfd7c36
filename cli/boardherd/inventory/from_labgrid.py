"""The places and resources of a labgrid coordinator, as lab.toml. Pure.

A coordinator keeps ``places.yaml`` (each place with its matches: exporter, group and class of the resources it is made
of) and ``resources.yaml`` (what each exporter offers: exporter, group, name, class, parameters). An exporter's own
configuration (group, class, parameters) will do in place of the latter. Each place becomes a board, each power
switch a relay, each exporter a test PC.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from boardherd.inventory.draft import Draft, Thing, platform
from boardherd_shared.settings import ConfigError

_MODELS: Mapping[str, tuple[Mapping[str, str], int]] = {
    "eth008": ({"model_type": "ETH_008_B"}, 0),
    "gude": ({"kind": "gude"}, 0),
    "gude24": ({"kind": "gude"}, 0),
    "gude8031": ({"kind": "gude"}, 0),
    "gude8225": ({"kind": "gude"}, 0),
    "gude8316": ({"kind": "gude"}, 0),
    "netio": ({"kind": "netio"}, 0),
    "raritan": ({"kind": "snmp", "profile": "raritan"}, 0),
    "sentry": ({"kind": "snmp", "profile": "sentry3"}, 0),
    "eaton": ({"kind": "snmp", "profile": "eaton"}, 0),
    "poe_mib": ({"kind": "snmp", "profile": "poe"}, 0),
    "shelly_gen1": ({"kind": "shelly"}, 1),
    "shelly_gen2": ({"kind": "shelly"}, 1),
}
"""What switches the models of labgrid here, and what is added to its index to get a port from 1."""

ANY = "*"
"""Of an exporter's own configuration, which does not say which exporter it is."""

_CONSOLES = {"RawSerialPort", "USBSerialPort", "NetworkSerialPort"}
_POWER = {"NetworkPowerPort", "PDUDaemonPort"}


@dataclass(frozen=True)
class Resource:
    """Something that an exporter offers."""

    exporter: str
    group: str
    cls: str
    name: str
    params: Mapping[str, Any]

    @property
    def path(self) -> str:
        """The resource as labgrid writes it."""
        return f"{self.exporter}/{self.group}/{self.cls}/{self.name}"


def from_labgrid(places: Any, resources: Any, source: str) -> Draft:
    """Return what ``places`` and ``resources`` say, both as parsed YAML; ``resources`` may be None.

    Raises ConfigError in words when ``places`` are none.
    """
    if not isinstance(places, Mapping) or not all(isinstance(place, Mapping) for place in places.values()):
        raise ConfigError(f"{source}: these are no places of labgrid: a table for each place is expected")
    offered = list(_resources(resources))
    draft = Draft(source)
    if not offered:
        draft.notes.append(
            "no resources were given, so nothing is known of hosts and ports (see --resources)"
        )
    for name, place in places.items():
        _place(draft, str(name), place, offered)
    return draft


def _place(draft: Draft, name: str, place: Mapping[str, Any], offered: list[Resource]) -> None:
    tags = {str(key): str(value) for key, value in (place.get("tags") or {}).items()}
    board = draft.add(
        "board",
        name,
        description=str(place.get("comment") or ""),
        platform=platform(tags.pop("platform", None) or tags.pop("board", None)),
        location=tags.pop("location", None),
    )
    board.notes += [f"tag {key} = {value}" for key, value in sorted(tags.items())]
    for key in ("aliases", "allowed"):
        if place.get(key):
            board.notes.append(f"{key}: {', '.join(map(str, place[key]))}")
    if place.get("acquired"):
        board.notes.append(f"acquired by {place['acquired']} there; locks are not taken over")
    for match in place.get("matches") or ():
        found = [resource for resource in offered if _matches(match, resource)]
        if not found:
            board.notes.append(f"match {_pattern(match)}: no such resource is known")
            _claim(draft, board, str(_part(match, "exporter")))
        for resource in found:
            anybody = resource.exporter == ANY
            _claim(draft, board, str(_part(match, "exporter")) if anybody else resource.exporter)
            _take(draft, board, resource)


def _claim(draft: Draft, board: Thing, exporter: str) -> None:
    """Give the board to the test PC that is its exporter."""
    if exporter and not set(exporter) & set("*?["):
        pc = draft.once("pc", exporter.partition(".")[0]).id
        if board.keys.setdefault("pc", pc) != pc:
            board.notes.append(
                f"the exporter {exporter} has resources of it too; a board belongs to one test PC"
            )


def _take(draft: Draft, board: Thing, resource: Resource) -> None:
    params = resource.params
    if resource.cls in _POWER:
        port = _power(draft, resource)
        board.keys["power"] = [*board.keys.get("power", []), port] if port else board.keys.get("power", [])
        if not port:
            board.notes.append(f"{resource.path}: has no index that is a port")
    elif resource.cls in _CONSOLES and "serial_port" not in board.keys:
        console = _console(resource)
        if console:
            board.keys["serial_port"] = console
        if isinstance(params.get("speed"), int) and params["speed"] != 115200:
            board.keys["serial_baud"] = params["speed"]
        if not console:
            board.notes.append(
                f"{resource.path}: say which serial port that is, a name below /dev/serial/by-id"
            )
    elif resource.cls == "NetworkService" and params.get("address"):
        board.keys.setdefault("board_ip", str(params["address"]))
    else:
        board.notes.append(f"{resource.path} has no counterpart here")
    if not board.keys.get("power", True):
        del board.keys["power"]


def _power(draft: Draft, resource: Resource) -> str | None:
    """Return the relay port of a power switch, with its relay added to the draft."""
    params = resource.params
    host, index = str(params.get("host", "")), str(params.get("index", ""))
    if not (index.isascii() and index.isdigit()):
        return None
    if resource.cls == "PDUDaemonPort":
        pdu = str(params.get("pdu", ""))
        relay = draft.once("relay", pdu or host, kind="pdudaemon", address=host, pdu=pdu)
        return _port(relay, int(index))
    model = str(params.get("model", ""))
    keys, added = _MODELS.get(model, ({}, 0))
    relay = draft.once("relay", host or resource.group, address=host, **keys)
    if not keys:
        text = f"labgrid calls it {model}; say with which driver it is switched, and whether its ports count from 1"
        relay.notes = list(dict.fromkeys([*relay.notes, text]))
    return _port(relay, int(index) + added)


def _port(relay: Thing, port: int) -> str:
    """Return a port as people write it; the relay has at least as many."""
    if port > relay.keys.get("port_count", 8):
        relay.keys["port_count"] = port
    return f"{relay.id}:{port}"


def _console(resource: Resource) -> str | None:
    params = resource.params
    if resource.cls == "NetworkSerialPort":
        scheme = "rfc2217" if params.get("protocol", "rfc2217") == "rfc2217" else "socket"
        return (
            f"{scheme}://{params['host']}:{params['port']}"
            if params.get("host") and params.get("port")
            else None
        )
    if resource.cls == "RawSerialPort":
        return str(params["port"]).removeprefix("/dev/serial/by-id/") if params.get("port") else None
    return None


def _matches(match: Any, resource: Resource) -> bool:
    parts = ("exporter", "group", "cls", "name")
    pairs = ((str(getattr(resource, part)), str(_part(match, part) or ANY)) for part in parts)
    return all(offered == ANY or fnmatchcase(offered, wanted) for offered, wanted in pairs)


def _part(match: Any, part: str) -> Any:
    """Return one part of a match, which is a table, or text as labgrid-client shows it."""
    if isinstance(match, Mapping):
        return match.get(part)
    parts = str(match).partition(" -> ")[0].split("/")
    return dict(zip(("exporter", "group", "cls", "name"), parts, strict=False)).get(part)


def _pattern(match: Any) -> str:
    return "/".join(
        str(_part(match, part)) for part in ("exporter", "group", "cls", "name") if _part(match, part)
    )


def _resources(said: Any) -> Iterator[Resource]:
    """Yield what a coordinator's resources.yaml names, or an exporter's configuration, which names no exporter."""
    if not isinstance(said, Mapping):
        return
    for name, groups in said.items():
        if not isinstance(groups, Mapping):
            continue
        if any(_is_resource(inner) for inner in groups.values()):
            yield from _group(ANY, str(name), groups)
        else:
            for group, members in groups.items():
                if isinstance(members, Mapping):
                    yield from _group(str(name), str(group), members)


def _is_resource(said: Any) -> bool:
    return isinstance(said, Mapping) and not all(isinstance(inner, Mapping) for inner in said.values())


def _group(exporter: str, group: str, members: Mapping[str, Any]) -> Iterator[Resource]:
    for name, said in members.items():
        if isinstance(said, Mapping):
            params = said["params"] if isinstance(said.get("params"), Mapping) else said
            yield Resource(exporter, group, str(said.get("cls", name)), str(name), params)
