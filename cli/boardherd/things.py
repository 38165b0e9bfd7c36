"""What a name on the command line means: a board, a test PC, a relay or one of its ports. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from boardherd.exit_codes import Exit, Failure
from boardherd.targets import board_of, port_of
from boardherd_shared.views import FleetView

_PLACES = {"board": "boards", "pc": "pcs", "relay": "relays"}


@dataclass(frozen=True)
class Thing:
    """One thing of the lab."""

    kind: Literal["board", "pc", "relay", "port"]
    id: str
    port: int = 0

    @property
    def path(self) -> str:
        """Where the API tells about it; of a port, about it and its past."""
        if self.kind == "port":
            return f"relays/{self.id}/ports/{self.port}"
        return f"{_PLACES[self.kind]}/{self.id}"

    @property
    def subject(self) -> str:
        """What events about it name; of a PC, what it reported."""
        return f"relay/{self.id}/{self.port}" if self.kind == "port" else f"{self.kind}/{self.id}"


def find(fleet: FleetView, name: str) -> Thing:
    """Return what ``name`` means: a board, a test PC or a relay by id or name, a port as eth-1:3; raises Failure."""
    wanted = name.lower()
    if any(board.id == name for board in fleet.boards):
        return Thing("board", name)
    for pc in fleet.pcs:
        if wanted in {pc.id, pc.name.lower()}:
            return Thing("pc", pc.id)
    for relay in fleet.relays:
        if name in {relay.id, relay.name}:
            return Thing("relay", relay.id)
    relay_id, colon, number = name.rpartition(":")
    if colon and number.isascii() and number.isdigit() and relay_id in {it.id for it in fleet.relays}:
        port = port_of(fleet, name)
        return Thing("port", port.relay, port.port)
    try:
        return Thing("board", board_of(fleet, name).id)
    except Failure as failure:
        if failure.message.startswith("there is no board"):
            sentence = failure.message.replace("there is no board", "there is no board, PC or relay", 1)
            raise Failure(Exit(failure.exit_code), sentence) from failure
        raise
