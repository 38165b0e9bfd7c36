"""What was said last of each agent, board and relay port."""

from __future__ import annotations

from dataclasses import dataclass, field

from boardherd_collector.marks import Marks, Thing
from boardherd_shared.messages import Hello
from boardherd_shared.records import BoardRecord, HostRecord, RelayRecord


@dataclass
class Agent:
    """What is known of one agent and its PC. Times are Unix seconds by the collector's clock."""

    id: str
    known: bool
    state: str | None = None
    """What its status topic says: online, stopping, offline; None when nothing does."""
    session: str | None = None
    state_at: float | None = None
    heard_at: float | None = None
    """When anything came from it that was not merely kept by the broker."""
    data_at: float | None = None
    """When it last sent telemetry."""
    hello: Hello | None = None
    hello_at: float | None = None
    sample: HostRecord | None = None
    clock: int | None = None
    """Offset of the clock of the boot that its hello names, microseconds."""
    ahead_s: float | None = None
    """By how much its wall clock was ahead of ours at the newest sample."""

    @property
    def interval(self) -> float:
        """How often it samples, in seconds."""
        return self.hello.sample_interval_s if self.hello else 10.0


@dataclass(frozen=True)
class Told:
    """What an agent said of a board."""

    agent: str
    record: BoardRecord


@dataclass(frozen=True)
class ToldPort:
    """What an agent said of a relay port."""

    agent: str
    record: RelayRecord


@dataclass
class FleetState:
    """Everything that is current; read by the view."""

    agents: dict[str, Agent] = field(default_factory=dict)
    boards: dict[str, Told] = field(default_factory=dict)
    ports: dict[tuple[str, int], ToldPort] = field(default_factory=dict)
    marks: dict[Thing, Marks] = field(default_factory=dict)
    """What people decided."""
    first: dict[str, str] = field(default_factory=dict)
    """Boards that the inventory gives to nobody, each with the agent that declared it first."""
