"""What a person typed, before anybody was asked what it means. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from boardherd.targets import Target
    from boardherd_shared.views import FleetView


@dataclass(frozen=True)
class Aim:
    """A name, and what kind of thing it should be the name of."""

    name: str
    kind: Literal["board", "port", "pc", "relay", "port or board"] = "board"
    pc: str | None = None
    """Which test PC should answer, where several could."""

    def among(self, fleet: FleetView) -> Target:
        """Return what it means in the fleet; raises Failure in words."""
        from boardherd import targets

        if self.kind == "relay":
            return targets.relay_target(fleet, self.name, self.pc)
        find = {"board": targets.board_target, "port": targets.port_target, "pc": targets.pc_target}
        return find[self._plain_kind](fleet, self.name)

    def here(self) -> Target:
        """Return what it means to the agent of this machine; raises Failure in words."""
        from boardherd.targets import relay_here, target_here

        if self.kind == "relay":
            return relay_here(self.name)
        return target_here(self._plain_kind, self.name)

    @property
    def _plain_kind(self) -> Literal["board", "port", "pc"]:
        from boardherd.targets import is_port

        match self.kind:
            case "port or board" | "relay":
                return "port" if is_port(self.name) else "board"
            case kind:
                return kind
