"""From what a person typed to what a command is addressed to. Pure."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from boardherd.exit_codes import Exit, Failure
from boardherd.tables import ago
from boardherd_shared.collector_command import ThingKind
from boardherd_shared.ids import is_slug
from boardherd_shared.model import PcStatus
from boardherd_shared.views import BoardView, FleetView, PortView

HERE = "the agent of this machine"
_PORT = re.compile(r"(?P<relay>.+):(?P<port>[1-9][0-9]{0,2})")


@dataclass(frozen=True)
class Target:
    """What a command is for: a board, one relay port, a relay's ports at one test PC, or else the whole test PC."""

    site: str
    pc: str
    """The agent that should answer."""
    board: str | None = None
    relay: str | None = None
    port: int | None = None
    belongs_to: str | None = field(default=None, compare=False)
    """The board that the port feeds, or that its line belongs to."""

    @property
    def label(self) -> str:
        """What people call it."""
        if self.relay is not None:
            return f"{self.relay}:{self.port}" if self.port else self.relay
        return self.board or self.pc


def board_of(fleet: FleetView, name: str) -> BoardView:
    """Return the board whose id, or else whose name is ``name``; raises Failure in words."""
    for board in fleet.boards:
        if board.id == name:
            return board
    named = [board for board in fleet.boards if board.name == name]
    named = named or [board for board in fleet.boards if name.lower() in {board.id, board.name.lower()}]
    match named:
        case [board]:
            return board
        case []:
            known = [board.id for board in fleet.boards] + [
                board.name for board in fleet.boards if board.name
            ]
            raise Failure(Exit.USAGE, f'there is no board "{name}"{_near(name, known, fleet)}')
        case _:
            ids = ", ".join(board.id for board in named)
            raise Failure(Exit.USAGE, f'"{name}" is the name of several boards: {ids}; use the id')


def board_target(fleet: FleetView, name: str) -> Target:
    """Return the board that ``name`` means, as a target; raises Failure in words."""
    board = board_of(fleet, name)
    if board.pc is None:
        raise Failure(Exit.USAGE, f"{board.id} belongs to no test PC, so nobody can switch it")
    return Target(fleet.site, board.pc, board=board.id)


def port_of(fleet: FleetView, name: str) -> PortView:
    """Return the relay port that ``name`` ("eth-1:3") means; raises Failure in words."""
    match = _PORT.fullmatch(name)
    if match is None:
        raise Failure(Exit.USAGE, f'"{name}" is no relay port; write RELAY:PORT, for example eth-1:3')
    wanted, number = match["relay"], int(match["port"])
    relays = [relay for relay in fleet.relays if wanted in {relay.id, relay.name}]
    if not relays:
        known = [relay.id for relay in fleet.relays]
        raise Failure(Exit.USAGE, f'there is no relay "{wanted}"{_near(wanted, known, fleet)}')
    for port in relays[0].ports:
        if port.port == number:
            return port
    used = ", ".join(str(port.port) for port in relays[0].ports) or "none"
    raise Failure(
        Exit.USAGE,
        f"port {number} of {relays[0].id} belongs to no test PC, so nobody can switch it (in use: {used})",
    )


def port_target(fleet: FleetView, name: str) -> Target:
    """Return the relay port that ``name`` means, as a target; raises Failure in words."""
    port = port_of(fleet, name)
    if port.pc is None:
        raise Failure(Exit.USAGE, f"{port.relay}:{port.port} belongs to no test PC, so nobody can switch it")
    return Target(fleet.site, port.pc, relay=port.relay, port=port.port, belongs_to=port.board)


def relay_target(fleet: FleetView, name: str, pc: str | None = None) -> Target:
    """Return the ports of the relay that ``name`` means at one test PC, as a target; raises Failure in words."""
    relay = named(fleet, name, "relay").id
    users = sorted({port.pc for it in fleet.relays if it.id == relay for port in it.ports if port.pc})
    if pc is not None:
        users = [user for user in users if user == pc_target(fleet, pc).pc]
    match users:
        case [one]:
            return Target(fleet.site, one, relay=relay)
        case []:
            who = f"{pc} uses no port of it" if pc else "no test PC uses it"
            raise Failure(Exit.USAGE, f"{relay} cannot be traced: {who}")
        case _:
            raise Failure(Exit.USAGE, f"{', '.join(users)} all use {relay}; choose one with --pc")


def relay_here(name: str) -> Target:
    """Return the ports of a relay at the agent of this machine, which knows ids and no names; raises Failure."""
    if not is_slug(name):
        raise Failure(Exit.USAGE, f'"{name}" is no id of a relay, and the agent knows no names')
    return Target("", HERE, relay=name)


def pc_target(fleet: FleetView, name: str) -> Target:
    """Return the test PC that ``name`` means, as a target; raises Failure in words."""
    for pc in fleet.pcs:
        if name.lower() in {pc.id, pc.name.lower()}:
            return Target(fleet.site, pc.id)
    known = [pc.id for pc in fleet.pcs]
    raise Failure(Exit.USAGE, f'there is no test PC "{name}"{_near(name, known, fleet)}')


@dataclass(frozen=True)
class Named:
    """A thing of the lab that has an id."""

    kind: ThingKind
    id: str


def named(fleet: FleetView, name: str, kind: ThingKind | None = None, *, gone: bool = False) -> Named:
    """Return the test PC, board or relay whose id, or else whose name is ``name``; raises Failure in words.

    With ``gone`` an id that is not known is believed where ``kind`` says what it is: what has been retired is
    shown no more.
    """
    things = [
        *((Named("pc", pc.id), pc.name) for pc in fleet.pcs),
        *((Named("board", board.id), board.name) for board in fleet.boards),
        *((Named("relay", relay.id), relay.name) for relay in fleet.relays),
    ]
    things = [(thing, free) for thing, free in things if kind in {None, thing.kind}]
    found = [thing for thing, _ in things if thing.id == name]
    found = found or [thing for thing, free in things if free and free.lower() == name.lower()]
    match found:
        case [thing]:
            return thing
        case []:
            if gone and is_slug(name) and kind:
                return Named(kind, name)
            what = kind.upper() if kind == "pc" else kind or "PC, board or relay"
            ids = [thing.id for thing, _ in things]
            raise Failure(Exit.USAGE, f'there is no {what} "{name}"{_near(name, ids, fleet)}')
        case _:
            kinds = ", ".join(f"{thing.kind} {thing.id}" for thing in found)
            raise Failure(
                Exit.USAGE, f'"{name}" means several things ({kinds}); choose with --kind, or use the id'
            )


def target_here(kind: Literal["board", "port", "pc"], name: str) -> Target:
    """Return what ``name`` means to the agent of this machine, which knows ids and no names; raises Failure."""
    if kind == "pc":
        return Target("", name)
    match = _PORT.fullmatch(name)
    if kind == "port" and match and is_slug(match["relay"]):
        return Target("", HERE, relay=match["relay"], port=int(match["port"]))
    if kind == "board" and is_slug(name):
        return Target("", HERE, board=name)
    what = "relay port; write RELAY:PORT" if kind == "port" else "id of a board, and the agent knows no names"
    raise Failure(Exit.USAGE, f'"{name}" is no {what}')


def is_port(name: str) -> bool:
    """Tell whether ``name`` is written like a relay port: "eth-1:3"."""
    return _PORT.fullmatch(name) is not None


def whereabouts(fleet: FleetView, pc: str) -> str:
    """Return what is known of the agent that should answer, as the end of a sentence."""
    view = next((it for it in fleet.pcs if it.id == pc), None)
    if view is None:
        return f"{pc} has never been heard of"
    seen = "" if view.last_seen_s is None else f", last seen {ago(view.last_seen_s)} ago"
    state = "offline" if view.status is PcStatus.OFFLINE else view.status.label.lower()
    return f"{pc} is {state}{seen}"


def _near(name: str, known: Iterable[str], fleet: FleetView) -> str:
    """Return a hint at what may have been meant."""
    if close := difflib.get_close_matches(name, list(known), n=3, cutoff=0.6):
        return f"; did you mean {' or '.join(close)}?"
    if fleet.source == "broker":
        return " among those that agents report (the collector, which knows the names, does not answer)"
    return ""
