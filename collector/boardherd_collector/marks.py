"""What people decide about a thing beside the inventory, which nothing but people changes again. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from boardherd_shared.collector_command import ThingKind
from boardherd_shared.command import CommandStep


@dataclass(frozen=True)
class Mark:
    """A decision: when, whose, and why."""

    at: int
    """Microseconds since 1970 UTC."""
    by: str
    reason: str

    @property
    def text(self) -> str:
        """Who decided and why: "ops-lead: the fuse is being replaced"."""
        return f"{self.by}: {self.reason}"


@dataclass(frozen=True)
class Marks:
    """Everything that people decided about one thing."""

    maintenance: Mark | None = None
    """Of a test PC or a relay."""
    deactivated: Mark | None = None
    """Of a board."""
    retired: Mark | None = None
    """Shown no more; only of what the inventory does not name."""
    name: str | None = None
    """Goes before the name that the inventory gives."""
    notes: str | None = None


Thing = tuple[ThingKind, str]
"""A kind and an id."""

MARKS: dict[ThingKind, tuple[Literal["maintenance", "deactivated", "retired"], ...]] = {
    "pc": ("maintenance", "retired"),
    "relay": ("maintenance", "retired"),
    "board": ("deactivated", "retired"),
}
"""Which decisions there are about each kind of thing."""
TIMES = {"maintenance": "maintenance_since", "deactivated": "deactivated_at", "retired": "retired_at"}
"""The column of the databases that tells when it was decided; the others end in ``_by`` and ``_reason``."""


@dataclass(frozen=True)
class Order:
    """A command to the collector that has been decided on, for the database to keep and to carry out."""

    id: str
    fingerprint: str
    at: int
    """When it was decided, microseconds since 1970 UTC."""
    step: CommandStep
    """Its last step: succeeded or refused."""
    thing: Thing | None = None
    marks: Marks | None = None
    """What holds of the thing from now on; None when nothing changes."""
    shown_name: str | None = None
    """The name of the thing from now on: the given one, or that of the inventory."""


@dataclass(frozen=True)
class Done:
    """What became of an earlier command of the same id."""

    fingerprint: str
    step: CommandStep
