"""The rules of lab.toml that need the whole file, and the sentence for each that is broken. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from boardherd_shared.addresses import canonical, is_loopback
from boardherd_shared.claims import Fault, double_claims, wires
from boardherd_shared.fault_words import ID_FORM
from boardherd_shared.ids import RESERVED_AGENT_IDS, is_slug
from boardherd_shared.lab import MIN_OFF_TIME_S, BoardConfig, Lab
from boardherd_shared.model import Capability, Platform
from boardherd_shared.near import did_you_mean, near
from boardherd_shared.probes import KINDS, ProbeSpec, parse_probe
from boardherd_shared.secrets import is_reference
from boardherd_shared.settings import Document, Key

_NO_DEFAULT = {
    "board": ("uuid", "name", "hardware_serial_number", "board_ip", "serial_port", "power", "lines"),
    "relay": ("uuid", "name", "mac"),
}
"""What belongs to one thing alone, and so cannot be what all of them have in common."""


def faults(lab: Lab, document: Document) -> Iterator[Fault]:
    """Yield everything that is wrong with the file as a whole, in no order."""
    yield from _ids(lab)
    yield from _names(lab, document)
    yield from _codes(lab)
    yield from _defaults(lab)
    yield from _watchers(lab)
    for id_, relay in lab.relay.items():
        yield from _secrets(("relay", id_), relay.options)
    addresses = {canonical(relay.address): id_ for id_, relay in lab.relay.items() if relay.address}
    for id_, board in lab.board.items():
        for key, message in _board(lab, document, board, ("board", id_), addresses):
            yield ("board", id_, *key), message
    yield from double_claims(lab, document)


def _ids(lab: Lab) -> Iterator[Fault]:
    for part, things in (("pc", lab.pc), ("relay", lab.relay), ("board", lab.board)):
        for id_ in things:
            if not is_slug(id_):
                yield (part, id_), ID_FORM
    for id_ in lab.pc:
        if id_ in RESERVED_AGENT_IDS:
            yield ("pc", id_), f'"{id_}" is a reserved word; give the PC another id'


def _names(lab: Lab, document: Document) -> Iterator[Fault]:
    """Yield names that are the id of something else: the command line takes both."""
    kinds: Mapping[str, Mapping[str, Any]] = {"pc": lab.pc, "relay": lab.relay, "board": lab.board}
    for kind, things in kinds.items():
        for id_, thing in things.items():
            others = [other for other in kinds if thing.name in kinds[other]]
            if thing.name != id_ and others:
                line = document.line((others[0], thing.name))
                what = {"pc": "test PC"}.get(others[0], others[0])
                whose = f"another {what}" if others[0] == kind else f"a {what}"
                yield (kind, id_, "name"), f'"{thing.name}" is the id of {whose} (line {line})'


def _codes(lab: Lab) -> Iterator[Fault]:
    for key, own, known in (
        ("platform", lab.codes.platform, [code.value for code in Platform]),
        ("capability", lab.codes.capability, [code.value for code in Capability]),
    ):
        for index, code in enumerate(own):
            if same := [other for other in known if other.lower() == code]:
                yield ("codes", key, index), f'"{same[0]}" is known already'
            elif code in own[:index]:
                yield ("codes", key, index), f'"{code}" stands here twice'


def _defaults(lab: Lab) -> Iterator[Fault]:
    for part, given in (("board", lab.defaults.board), ("relay", lab.defaults.relay)):
        for key in given:
            if key in _NO_DEFAULT[part]:
                yield ("defaults", part, key), f"belongs to one {part} alone and cannot be a default"


def _watchers(lab: Lab) -> Iterator[Fault]:
    for id_, pc in lab.pc.items():
        watcher = pc.watched_by
        if watcher is None:
            continue
        if watcher == id_:
            yield ("pc", id_, "watched_by"), "a test PC cannot watch itself; leave the key out"
        elif watcher not in lab.pc:
            yield ("pc", id_, "watched_by"), _no_pc(lab, watcher)
        elif other := lab.pc[watcher].watched_by:
            text = f"{watcher} is watched by {other}, so it has no agent that could watch others"
            yield ("pc", id_, "watched_by"), text


def _secrets(key: Key, value: Any) -> Iterator[Fault]:
    """Yield what looks like a reference to a secret and is none."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _secrets((*key, name), inner)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _secrets((*key, index), inner)
    elif isinstance(value, str) and value.startswith("secret:") and not is_reference(value):
        yield key, f'"{value}" names no secret; a file name of letters, digits and . _ - follows the colon'


def _board(
    lab: Lab, document: Document, board: BoardConfig, place: Key, relays: Mapping[str, str]
) -> Iterator[Fault]:
    """Yield the faults of one board, with keys that are relative to it."""
    if board.pc is not None and board.pc not in lab.pc:
        yield ("pc",), _no_pc(lab, board.pc)
    yield from _choices(lab, board)
    yield from _times(board)
    yield from _feeds(lab, board)
    if (
        board.board_ip
        and not is_loopback(board.board_ip)
        and (relay := relays.get(canonical(board.board_ip)))
    ):
        line = document.line(("relay", relay, "address"))
        yield ("board_ip",), f"{board.board_ip} is the address of the relay {relay} (line {line})"
    yield from _needs(document, board, place)


def _no_pc(lab: Lab, id_: str) -> str:
    other = near(id_, lab.pc)
    meant = f'did you mean "{other}"? Else add' if other else "add"
    return f'there is no test PC "{id_}"; {meant} pc.{id_} = {{}}'


def _choices(lab: Lab, board: BoardConfig) -> Iterator[Fault]:
    platforms = [*(code.value for code in Platform), *lab.codes.platform]
    if board.platform is not None and board.platform not in platforms:
        yield ("platform",), _unknown("platform", board.platform, platforms)
    capabilities = [*(code.value for code in Capability), *lab.codes.capability]
    for index, capability in enumerate(board.capabilities):
        if capability not in capabilities:
            yield ("capabilities", index), _unknown("capability", capability, capabilities)
        elif capability in board.capabilities[:index]:
            yield ("capabilities", index), f'"{capability}" stands here twice'


def _unknown(what: str, code: str, known: Iterable[str]) -> str:
    other = near(code, known)
    meant = f'did you mean "{other}"? Else add it' if other else "add it"
    return f'unknown {what} "{code}"; {meant} to codes.{what}{"" if other else " if it is right"}'


def _times(board: BoardConfig) -> Iterator[Fault]:
    times: list[tuple[Key, float | None]] = [(("off_time",), board.off_time), (("min_off",), board.min_off)]
    times += [(("power", index, "off_time"), feed.off_time) for index, feed in enumerate(board.power)]
    for key, seconds in times:
        if seconds is not None and seconds < MIN_OFF_TIME_S:
            yield key, f"a board must stay off for at least {MIN_OFF_TIME_S:g} s, not {seconds:g} s"
    if board.power and board.power[0].after:
        yield (
            ("power", 0, "after"),
            "it is the first feed, so there is none before it that it could come after",
        )


def _feeds(lab: Lab, board: BoardConfig) -> Iterator[Fault]:
    for key, wire in wires(board):
        relay = lab.relay.get(wire.relay)
        if relay is None:
            yield key, f'there is no relay "{wire.relay}"{did_you_mean(wire.relay, lab.relay)}'
        elif wire.port > relay.port_count:
            yield (
                key,
                f"{wire.relay} has {relay.port_count} ports, there is no port {wire.port} (see port_count)",
            )


def _needs(document: Document, board: BoardConfig, place: Key) -> Iterator[Fault]:
    """Yield what a board has to have because of something else it has."""
    own = document.has((*place, "probes"))
    yield from _probes(board, ("probes",) if own else (), "" if own else " of defaults.board")
    if board.console == "tap" and not board.serial_port and document.has((*place, "console")):
        yield ("console",), '"tap" needs serial_port'


def _probes(board: BoardConfig, key: Key, whose: str) -> Iterator[Fault]:
    """Yield each key that a probe lacks, once, and two probes that nobody could tell apart."""
    lacking: set[str] = set()
    named: dict[str, tuple[str, ProbeSpec]] = {}
    for probe in board.probes:
        spec = parse_probe(probe)
        needs = KINDS[spec.kind].needs
        if needs and needs not in lacking and not getattr(board, needs):
            lacking.add(needs)
            yield key, f'the probe "{probe}"{whose} needs {needs}'
        other, same = named.setdefault(spec.name, (probe, spec))
        if same != spec:
            yield (
                key,
                f'the probes "{other}" and "{probe}" would both be called "{spec.name}"; keep one of them',
            )
