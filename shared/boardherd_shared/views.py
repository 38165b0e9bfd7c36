"""The current state of the fleet as the collector tells it: body of ``/api/v1/fleet``, input of the command line.

Ages are computed when the view is made, never stored.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from boardherd_shared.model import BoardStatus, PcStatus, RelayStatus
from boardherd_shared.records import BoardRecord, HostRecord, RelayRecord, Verdict


class _View(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class LockView(_View):
    """Who has a board to himself. The id, by which the holder acts, is not told."""

    owner: str = Field(description="broker user name of the holder")
    use: str = Field(description="what for: busy, updating-sdk, or a word of the lab")
    since: float = Field(description="when it was taken, Unix seconds")
    until: float = Field(description="when it ends by itself, Unix seconds")
    reason: str | None = Field(None, description="why, in the holder's words")
    on_behalf_of: str | None = Field(None, description="the person a service holds it for")


class PcView(_View):
    """One test PC."""

    id: str
    name: str = ""
    status: PcStatus
    hostname: str = ""
    ip_address: str | None = None
    os_version: str = ""
    rack: str | None = None
    text: str = Field("", description='for a person: "online", "silent for 3 min", ...')
    last_seen_s: float | None = Field(None, description="seconds since anything was heard of it")
    sample: HostRecord | None = Field(None, description="its newest statistics")
    clock_ahead_s: float | None = Field(
        None,
        description="seconds by which its wall clock is ahead of the collector's; its times are corrected",
    )
    inventory_current: bool | None = Field(
        None, description="false when it acts on another lab.toml than the collector"
    )
    inventory: str | None = Field(None, description="hash of the lab.toml it acts on")
    stanza: str | None = Field(
        None, description="of an agent that lab.toml does not name: the line to add there; none for others"
    )
    versions: dict[str, str] = Field(default_factory=dict)
    known: bool = Field(True, description="false for an agent that the inventory does not name")
    online: bool = Field(False, description="whether its agent is heard now, maintenance or not")
    maintenance: str | None = Field(
        None, description="who put it into maintenance and why; none while it is not"
    )
    notes: str | None = None


class BoardView(_View):
    """One board."""

    id: str
    name: str = ""
    pc: str | None = None
    platform: str | None = None
    test_farm: str | None = None
    capabilities: tuple[str, ...] = ()
    power: tuple[str, ...] = Field((), description='its feeds: "eth-1:3"')
    status: BoardStatus
    verdict: Verdict
    is_alive: bool
    text: str = Field("", description='for a person: "alive since 09:14:30"')
    age_s: float | None = Field(None, description="seconds since the verdict was last confirmed")
    state: BoardRecord | None = None
    lock: LockView | None = Field(None, description="who has it to himself; none when nobody does")
    available: bool = Field(
        False, description="can run a test now: alive, idle, not locked, and its test PC is available"
    )
    fault: str | None = Field(None, description="why it is in ERROR; none while it is not")
    deactivated: str | None = Field(
        None, description="who took it out of use and why; none while it is in use"
    )
    contested_by: tuple[str, ...] = Field(
        (), description="other agents that declare it too: their word about it does not count"
    )
    notes: str | None = None


class PortView(_View):
    """One relay port."""

    relay: str
    port: int
    pc: str | None = Field(None, description="the agent that reads it")
    board: str | None = None
    text: str = ""
    age_s: float | None = Field(None, description="seconds since it was last confirmed")
    state: RelayRecord | None = None


class RelayView(_View):
    """One relay with the ports that are in use."""

    id: str
    name: str = ""
    model_type: str = ""
    status: RelayStatus
    module: str = Field("", description="what the module says it is")
    address: str | None = None
    ports: tuple[PortView, ...] = ()
    maintenance: str | None = Field(
        None, description="who put it into maintenance and why; none while it is not"
    )
    notes: str | None = None


class FleetView(_View):
    """Everything that is current."""

    site: str
    source: str = Field(
        "collector", description='"collector", or "broker" when put together from retained topics'
    )
    at: float = Field(description="when this was put together, Unix seconds")
    banner: str | None = Field(
        None, description='what everybody should know: "history not stored since 02:10"'
    )
    pcs: tuple[PcView, ...] = ()
    boards: tuple[BoardView, ...] = ()
    relays: tuple[RelayView, ...] = ()
