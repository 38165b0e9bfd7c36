"""The fleet at one moment, as people and programs read it: every age and everything that ages with it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from boardherd_collector.fleet_state import Agent, FleetState
from boardherd_collector.holdings import use_status
from boardherd_collector.marks import Marks, Thing
from boardherd_collector.times import SECOND, TOLERANCE
from boardherd_shared.inventory import BoardConfig, Inventory, PcConfig
from boardherd_shared.locks import Lock
from boardherd_shared.messages import HostFacts, Standing
from boardherd_shared.model import BoardStatus, PcStatus, RelayStatus
from boardherd_shared.records import BoardRecord, Power, RelayRecord, Verdict
from boardherd_shared.stanzas import pc_stanza
from boardherd_shared.values import one_line
from boardherd_shared.views import BoardView, FleetView, LockView, PcView, PortView, RelayView

STALE_INTERVALS = 3
"""What was not confirmed for so many of its intervals is no longer known."""
REFRESH_S = 60.0
"""How often agents confirm the state of a board or a port."""
_BOARD = BoardConfig()
_PC = PcConfig()
_UNMARKED = Marks()
_ALIVE = {Verdict.ALIVE, Verdict.DEGRADED}


def make(inventory: Inventory, state: FleetState, now: float, banner: str | None) -> FleetView:
    """Return the view at ``now``, Unix seconds."""
    marks = dict(state.marks)
    gone = {thing for thing, mark in marks.items() if mark.retired}
    agents = [agent for agent in tuple(state.agents.values()) if ("pc", agent.id) not in gone]
    pcs = {agent.id: _pc(inventory, agent, marks.get(("pc", agent.id), _UNMARKED), now) for agent in agents}
    silent = {pc.id: pc.text for pc in pcs.values() if not pc.online}
    boards = sorted(id_ for id_ in {*inventory.lab.board, *tuple(state.boards)} if ("board", id_) not in gone)
    claims = contests(inventory, state)
    serving = {pc.id for pc in pcs.values() if pc.status in {PcStatus.ONLINE, PcStatus.INITIALIZING}}
    context = _Context(inventory, state, marks, silent, serving, claims, now)
    return FleetView(
        site=inventory.lab.site,
        at=now,
        banner=banner,
        pcs=tuple(pcs[id_] for id_ in sorted(pcs)),
        boards=tuple(_board(context, id_) for id_ in boards),
        relays=tuple(relay for relay in _relays(context) if ("relay", relay.id) not in gone),
    )


def ago(seconds: float) -> str:
    """Return a duration in words: ``40 s``, ``3 min``, ``2 h``, ``5 d``."""
    seconds = max(0, round(seconds))
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size or (size == 60 and seconds >= size):
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


@dataclass(frozen=True)
class _Context:
    """What the views of boards and relays are made of."""

    inventory: Inventory
    state: FleetState
    marks: Mapping[Thing, Marks]
    silent: Mapping[str, str]
    """Agents that are not heard, each with why in words."""
    serving: Collection[str]
    """Test PCs that are available for testing."""
    claims: Mapping[str, Mapping[str, str]]
    now: float


def contests(inventory: Inventory, state: FleetState) -> dict[str, dict[str, str]]:
    """Return by board which agents declare it though it is another's, each with the owner."""
    found: dict[str, dict[str, str]] = {}
    for agent in tuple(state.agents.values()):
        for board in agent.hello.boards if agent.hello else ():
            config = inventory.lab.board.get(board)
            owner = (inventory.agent_of(config) if config else None) or state.first.get(board)
            if owner is not None and owner != agent.id:
                found.setdefault(board, {})[agent.id] = owner
    return found


def standings(inventory: Inventory, state: FleetState) -> dict[str, Standing]:
    """Return what each agent that has said hello must heed: what is not its own, and what is in maintenance."""
    contested: dict[str, dict[str, str]] = {}
    for board, claims in contests(inventory, state).items():
        for agent, owner in claims.items():
            contested.setdefault(agent, {})[board] = owner
    relays = {
        id_: marks.maintenance.text
        for (kind, id_), marks in state.marks.items()
        if kind == "relay" and marks.maintenance
    }
    return {
        agent.id: Standing(
            contested=contested.get(agent.id, {}),
            maintenance={id_: one_line(text) for id_, text in relays.items() if id_ in agent.hello.relays},
        )
        for agent in state.agents.values()
        if agent.hello is not None
    }


def _pc(inventory: Inventory, agent: Agent, marks: Marks, now: float) -> PcView:
    config = inventory.lab.pc.get(agent.id, _PC)
    hello = agent.hello
    facts = hello.host if hello else None
    status, text = _pc_status(agent, now)
    online = status in {PcStatus.ONLINE, PcStatus.INITIALIZING}
    if marks.maintenance:
        status, text = PcStatus.MAINTENANCE, f"in maintenance by {marks.maintenance.text}; {text}"
    sample = agent.sample
    if sample is not None and now - sample.at / SECOND > STALE_INTERVALS * agent.interval:
        sample = None
    ahead_s = agent.ahead_s if sample is not None else None
    if ahead_s is not None and abs(ahead_s) * SECOND > TOLERANCE:
        text += f", its clock is {ago(abs(ahead_s))} {'fast' if ahead_s > 0 else 'slow'}"
    return PcView(
        id=agent.id,
        name=marks.name or config.name or "",
        status=status,
        hostname=facts.hostname if facts else "",
        ip_address=(facts.ip_address if facts else None) or config.ip,
        os_version=facts.os_version if facts else "",
        rack=config.rack,
        text=text,
        last_seen_s=None if agent.heard_at is None else max(0.0, now - agent.heard_at),
        sample=sample,
        clock_ahead_s=ahead_s,
        inventory_current=hello.inventory == inventory.hash if hello else None,
        inventory=(hello.inventory or None) if hello else None,
        stanza=None if agent.known else _stanza(inventory, agent.id, facts),
        versions=dict(hello.versions) if hello else {},
        known=agent.known,
        online=online,
        maintenance=marks.maintenance.text if marks.maintenance else None,
        notes=marks.notes,
    )


def _stanza(inventory: Inventory, id_: str, facts: HostFacts | None) -> str | None:
    """Return what to add to lab.toml for a PC that it does not name."""
    return pc_stanza(id_, facts, {pc.ip for pc in inventory.lab.pc.values() if pc.ip})


def how_is(agent: Agent, now: float) -> str:
    """Return how an agent is, in words."""
    return _pc_status(agent, now)[1]


def _pc_status(agent: Agent, now: float) -> tuple[PcStatus, str]:
    if agent.state in {"offline", "stopping"}:
        word = "stopped" if agent.state == "stopping" else "offline"
        return PcStatus.OFFLINE, f"{word} for {ago(now - (agent.state_at or now))}"
    if agent.heard_at is None:
        return PcStatus.OFFLINE, "connected, but silent" if agent.state == "online" else "never heard of"
    limit = STALE_INTERVALS * agent.interval
    if agent.data_at is not None and now - agent.data_at <= limit:
        return PcStatus.ONLINE, "online"
    if agent.hello_at is not None and now - agent.hello_at <= limit + REFRESH_S / 2:
        return PcStatus.INITIALIZING, "starting"
    return PcStatus.OFFLINE, f"silent for {ago(now - agent.heard_at)}"


def _board(context: _Context, id_: str) -> BoardView:
    now = context.now
    config = context.inventory.lab.board.get(id_, _BOARD)
    marks = context.marks.get(("board", id_), _UNMARKED)
    told = context.state.boards.get(id_)
    record = told.record if told else None
    pc = told.agent if told else context.inventory.agent_of(config)
    age = None if record is None else max(0.0, now - record.at / SECOND)
    verdict, text = _verdict(record, pc, age, context.silent, now)
    lock = record.lock if record and record.lock and record.lock.until / SECOND > now else None
    status = _board_status(verdict in _ALIVE, record.fault if record else None, marks, lock)
    return BoardView(
        id=id_,
        name=marks.name or config.name or "",
        pc=pc,
        platform=config.platform,
        test_farm=config.test_farm,
        capabilities=config.capabilities,
        power=tuple(feed.name for feed in config.power),
        status=status,
        verdict=verdict,
        is_alive=verdict in _ALIVE,
        text=text,
        age_s=age,
        state=record,
        lock=_lock(lock) if lock else None,
        available=(
            status is BoardStatus.IDLE
            and lock is None
            and pc in context.serving
            and not any(_rests(context, feed.relay) for feed in config.power)
        ),
        fault=(record.fault if record else None) or None,
        deactivated=marks.deactivated.text if marks.deactivated else None,
        contested_by=tuple(sorted(context.claims.get(id_, ()))),
    )


def _rests(context: _Context, relay: str) -> bool:
    """Tell whether a relay is in maintenance: it would refuse to switch the board."""
    return context.marks.get(("relay", relay), _UNMARKED).maintenance is not None


def _board_status(alive: bool, fault: str | None, marks: Marks, lock: Lock | None) -> BoardStatus:
    """Return the one status that people see: administration goes before health, that before reach and use."""
    if marks.deactivated:
        return BoardStatus.DEACTIVATED
    if fault:
        return BoardStatus.ERROR
    return use_status(lock) if alive else BoardStatus.OFFLINE


def _lock(lock: Lock) -> LockView:
    return LockView(
        owner=lock.owner,
        use=lock.use,
        since=lock.since / SECOND,
        until=lock.until / SECOND,
        reason=lock.reason,
        on_behalf_of=lock.on_behalf_of,
    )


def _verdict(
    record: BoardRecord | None, pc: str | None, age: float | None, silent: Mapping[str, str], now: float
) -> tuple[Verdict, str]:
    """Return what is known of a board now: nothing, where its agent is silent."""
    if reason := _doubt(pc, age, silent):
        return Verdict.UNKNOWN, reason
    assert record is not None
    since = ago(now - record.since / SECOND)
    text = f"{record.verdict.replace('_', ' ')} for {since}"
    return record.verdict, f"{text}: {record.reason}" if record.reason else text


def _doubt(pc: str | None, age: float | None, silent: Mapping[str, str]) -> str | None:
    """Return why what was last said by ``pc`` no longer counts, or None if it does."""
    if pc is None:
        return "no test PC controls it"
    if pc in silent:
        return f"agent {pc}: {silent[pc]}"
    if age is None:
        return f"agent {pc} has not said anything about it yet"
    if age > STALE_INTERVALS * REFRESH_S:
        return f"agent {pc} has not confirmed it for {ago(age)}"
    return None


def _relays(context: _Context) -> Iterable[RelayView]:
    inventory, state, silent, now = context.inventory, context.state, context.silent, context.now
    wired = {
        (wire.relay, wire.port): (id_, inventory.agent_of(board))
        for id_, board in inventory.lab.board.items()
        for wire in board.wires
    }
    by_relay: dict[str, list[int]] = {id_: [] for id_ in inventory.lab.relay}
    for relay, port in sorted({*wired, *tuple(state.ports)}):
        by_relay.setdefault(relay, []).append(port)
    for relay, ports in sorted(by_relay.items()):
        views = tuple(_port(state, (relay, port), wired.get((relay, port)), silent, now) for port in ports)
        yield _relay(inventory, relay, views, silent, context.marks.get(("relay", relay), _UNMARKED))


def _port(
    state: FleetState,
    key: tuple[str, int],
    wired: tuple[str, str | None] | None,
    silent: Mapping[str, str],
    now: float,
) -> PortView:
    told = state.ports.get(key)
    board, owner = wired or (told.record.board if told else None, None)
    pc = told.agent if told else owner
    age = None if told is None else max(0.0, now - told.record.at / SECOND)
    record, text = _port_now(told.record if told else None, _doubt(pc, age, silent), now)
    return PortView(relay=key[0], port=key[1], pc=pc, board=board, text=text, age_s=age, state=record)


def _port_now(record: RelayRecord | None, doubt: str | None, now: float) -> tuple[RelayRecord | None, str]:
    """Return the state of a port now, and in words; what nobody confirms is unknown, never off."""
    if record is None:
        return None, f"unknown: {doubt}"
    if doubt is not None:
        was = "" if record.observed is Power.UNKNOWN else f"; was {record.observed.upper()}"
        reason = f"{doubt}{was}"
        doubted = {"observed": Power.UNKNOWN, "reason": reason, "drift_since": None, "watts": None}
        return record.model_copy(update=doubted), f"unknown: {reason}"
    if record.observed is Power.UNKNOWN:
        return record, f"unknown: {record.reason}" if record.reason else "unknown"
    parts = [f"{record.observed.upper()} for {ago(now - record.since / SECOND)}"]
    if record.asked not in {Power.UNKNOWN, record.observed}:
        parts.append(f"asked {record.asked.upper()}")
    if record.expected not in {"any", record.observed}:
        parts.append(f"should be {record.expected.upper()}")
    parts += [record.reason] if record.reason else []
    return record, ", ".join(parts)


def _relay(
    inventory: Inventory, id_: str, ports: tuple[PortView, ...], silent: Mapping[str, str], marks: Marks
) -> RelayView:
    config = inventory.lab.relay.get(id_)
    module = next((port.state.module for port in ports if port.state and port.state.module), "")
    address = config.address if config else None
    if config and config.address and config.tcp_port:
        address = f"{config.address}:{config.tcp_port}"
    return RelayView(
        id=id_,
        name=marks.name or (config.name if config else None) or "",
        model_type=config.model_type if config else "",
        status=RelayStatus.MAINTENANCE if marks.maintenance else _relay_status(ports, silent),
        module=module,
        address=address,
        ports=ports,
        maintenance=marks.maintenance.text if marks.maintenance else None,
        notes=marks.notes,
    )


def _relay_status(ports: tuple[PortView, ...], silent: Mapping[str, str]) -> RelayStatus:
    """ACTIVE while it answers; FAULT when it did once, and an agent that is there says it no longer does."""
    told = [port.state for port in ports if port.state is not None and port.pc not in silent]
    if any(state.observed is not Power.UNKNOWN for state in told):
        return RelayStatus.ACTIVE
    return RelayStatus.FAULT if any(state.module for state in told) else RelayStatus.INACTIVE
