"""Why a test PC or a relay is as it is, in the same five lines as a board. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from boardherd_shared.drift import should_be
from boardherd_shared.model import PcStatus, RelayStatus
from boardherd_shared.records import Health, Power
from boardherd_shared.spans import coarse, fine
from boardherd_shared.values import one_line
from boardherd_shared.views import BoardView, FleetView, PcView, PortView, RelayView
from boardherd_shared.why.answer import UnknownThingError, did_you_mean
from boardherd_shared.why.case import ROOM, WIDTH

_LABELS = {"pc": ("boards", "evidence", "holder", "try"), "relay": ("ports", "evidence", "holder", "try")}
_CLOCK_S = 5.0
"""A clock that is further off than this is worth a word."""


class WhyParent(BaseModel):
    """Why a test PC or a relay is as it is; each text is a line without its label."""

    model_config = ConfigDict(frozen=True, extra="ignore", validate_by_name=True, serialize_by_alias=True)

    kind: Literal["pc", "relay"]
    id: str
    name: str = Field("", description="its name, where it has one")
    state: str = Field(description="its status: ONLINE, OFFLINE, ACTIVE, FAULT, ...")
    headline: str = Field(description="id, state, for how long")
    parts: str = Field(description="the boards of a PC, or the ports of a relay, and how they are")
    evidence: str = Field(description="what was heard of it, and how long ago")
    holder: str = Field(description="who has put it into maintenance, or has boards that hang on it")
    try_: str = Field(
        validation_alias="try",
        serialization_alias="try",
        description="what to do next, a command where there is one",
    )
    banner: str | None = Field(None, description="what everybody should know of the collector now")
    source: str = Field("collector", description='"collector", or "broker"')

    def lines(self) -> tuple[str, ...]:
        """Return the five lines as people read them."""
        texts = (self.parts, self.evidence, self.holder, self.try_)
        labelled = (f"  {label:<8} {text}" for label, text in zip(_LABELS[self.kind], texts, strict=True))
        return (self.headline, *labelled)


def explain_pc(fleet: FleetView, id_: str) -> WhyParent:
    """Return why a test PC is as it is; raises UnknownThingError."""
    pc = next((pc for pc in fleet.pcs if pc.id == id_), None)
    if pc is None:
        known = [pc.id for pc in fleet.pcs]
        raise UnknownThingError(f'there is no test PC "{id_}"{did_you_mean(id_, known)}')
    boards = [board for board in fleet.boards if board.pc == pc.id]
    lasted = f" for {coarse(pc.last_seen_s)}" if not pc.online and pc.last_seen_s is not None else ""
    text = pc.text if pc.text and pc.status is not PcStatus.ONLINE else ""
    return _parent(
        fleet,
        "pc",
        pc,
        headline=f"{pc.status}{lasted}" + (f": {text}" if text else ""),
        parts=_boards(boards),
        evidence=", ".join(_heard(pc)) or "nothing has been heard of it",
        holder=_holder(pc.maintenance, boards, fleet.at),
        try_=_pc_remedy(pc, boards),
    )


def explain_relay(fleet: FleetView, id_: str) -> WhyParent:
    """Return why a relay is as it is; raises UnknownThingError."""
    relay = next((relay for relay in fleet.relays if relay.id == id_), None)
    if relay is None:
        known = [relay.id for relay in fleet.relays]
        raise UnknownThingError(f'there is no relay "{id_}"{did_you_mean(id_, known)}')
    fed = {port.board for port in relay.ports}
    boards = [board for board in fleet.boards if board.id in fed]
    reason = next((port.state.reason for port in relay.ports if _unread(port) and port.state), "")
    return _parent(
        fleet,
        "relay",
        relay,
        headline=f"{relay.status}" + (f": {reason}" if reason else ""),
        parts=", ".join(map(_port, relay.ports)) or "none is in use",
        evidence=_said_of_itself(relay),
        holder=_holder(relay.maintenance, boards, fleet.at),
        try_=_relay_remedy(relay),
    )


def _parent(
    fleet: FleetView,
    kind: Literal["pc", "relay"],
    thing: PcView | RelayView,
    *,
    headline: str,
    parts: str,
    evidence: str,
    holder: str,
    try_: str,
) -> WhyParent:
    return WhyParent(
        kind=kind,
        id=thing.id,
        name=thing.name,
        state=thing.status.value,
        headline=f"{thing.id}  {one_line(headline, WIDTH - len(thing.id) - 2)}",
        parts=one_line(parts, ROOM),
        evidence=one_line(evidence, ROOM),
        holder=one_line(holder, ROOM),
        try_=one_line(try_, ROOM),
        banner=fleet.banner,
        source=fleet.source,
    )


def _boards(boards: Sequence[BoardView]) -> str:
    """Return how many boards there are and how, and which of them are in trouble."""
    if not boards:
        return "none"
    counts = Counter(board.verdict.replace("_", " ") for board in boards)
    told = ", ".join(f"{count} {verdict}" for verdict, count in counts.most_common())
    bad = [board.id for board in boards if board.verdict in {"silent", "degraded"}]
    return told + (f" ({', '.join(bad)})" if bad else "")


def _heard(pc: PcView) -> Iterator[str]:
    if pc.last_seen_s is not None:
        yield f"last heard {fine(pc.last_seen_s)} ago"
    sample = pc.sample
    if sample is not None:
        shares = {"cpu": sample.cpu_percent, "memory": sample.memory_percent, "disk": sample.disk_percent}
        yield from (f"{name} {share:.0f}%" for name, share in shares.items() if share is not None)
        if sample.status in {Health.WARNING, Health.CRITICAL}:
            yield sample.status.value
    if pc.clock_ahead_s is not None and abs(pc.clock_ahead_s) > _CLOCK_S:
        yield f"its clock is {coarse(abs(pc.clock_ahead_s))} {'fast' if pc.clock_ahead_s > 0 else 'slow'}"
    if pc.inventory_current is False:
        yield "it runs another lab.toml than the collector"
    if not pc.known:
        yield "lab.toml does not name it"


def _holder(maintenance: str | None, boards: Iterable[BoardView], now: float) -> str:
    if maintenance:
        return f"in maintenance by {maintenance}"
    held = [f"{it.id} by {it.lock.owner}" for it in boards if it.lock and it.lock.until > now]
    return ", ".join(held) or "nobody has a board of it"


def _pc_remedy(pc: PcView, boards: Sequence[BoardView]) -> str:
    if pc.maintenance:
        return f'once it is done: boardherd maintenance {pc.id} off --reason "..."'
    if not pc.online:
        return _silent_pc_remedy(pc)
    if not pc.known:
        return f"name it in lab.toml: {pc.stanza or f'pc.{pc.id} = {{}}'}"
    if pc.inventory_current is False:
        return "give it the lab.toml of the collector, then on it: sudo systemctl reload boardherd-agent"
    if pc.sample and pc.sample.status in {Health.WARNING, Health.CRITICAL}:
        return f"boardherd history {pc.id} --since 24h"
    worst = next((board.id for board in boards if board.verdict in {"silent", "degraded"}), None)
    return f"boardherd why {worst}" if worst else "nothing"


def _silent_pc_remedy(pc: PcView) -> str:
    if pc.last_seen_s is None:
        return f"install and start the agent on {pc.id}: systemctl status boardherd-agent"
    if pc.text.startswith(("stopped", "stopping")):
        return f"on {pc.id}: sudo systemctl start boardherd-agent"
    return f"see whether {pc.id} runs; on it: systemctl status boardherd-agent, boardherd doctor"


def _unread(port: PortView) -> bool:
    return port.state is None or port.state.observed is Power.UNKNOWN


def _port(port: PortView) -> str:
    state = port.state
    told = f"{port.port} {state.observed.upper() if state else 'UNKNOWN'}"
    told += f" {port.board}" if port.board else ""
    told += f" ({state.line})" if state and state.line else ""
    wanted = should_be(state) if state else None
    return told + (f" should be {wanted.upper()}" if wanted else "")


def _said_of_itself(relay: RelayView) -> str:
    ages = [port.age_s for port in relay.ports if port.age_s is not None and not _unread(port)]
    told = [relay.module or relay.model_type, relay.address or ""]
    told.append(f"last read {fine(min(ages))} ago" if ages else "not read now")
    return ", ".join(text for text in told if text)


def _relay_remedy(relay: RelayView) -> str:
    if relay.maintenance:
        return f'once it is done: boardherd maintenance {relay.id} off --reason "..."'
    if relay.ports and all(_unread(port) for port in relay.ports):
        where = f" ({relay.address})" if relay.address else ""
        return f"check power and network of {relay.id}{where}; boardherd show {relay.id}"
    drifting = next((port for port in relay.ports if port.state and should_be(port.state)), None)
    if drifting is not None:
        port = f"{relay.id}:{drifting.port}"
        return f"boardherd relay restore {port}, or boardherd relay accept {port}"
    if relay.status is RelayStatus.INACTIVE:
        return "name a port of it in lab.toml: nobody reads it"
    return "nothing"
