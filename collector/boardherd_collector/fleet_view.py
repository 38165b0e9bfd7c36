"""The fleet at one moment, as people and programs read it: every age and everything that ages with it."""

from __future__ import annotations

from collections.abc import Iterable

from boardherd_collector.fleet_state import Agent, FleetState
from boardherd_collector.times import SECOND, TOLERANCE
from boardherd_shared.inventory import BoardConfig, Inventory, PcConfig
from boardherd_shared.model import BoardStatus, PcStatus, RelayStatus
from boardherd_shared.records import BoardRecord, Power, RelayRecord, Verdict
from boardherd_shared.views import BoardView, FleetView, PcView, PortView, RelayView

STALE_INTERVALS = 3
"""What was not confirmed for so many of its intervals is no longer known."""
REFRESH_S = 60.0
"""How often agents confirm the state of a board or a port."""
_BOARD = BoardConfig()
_PC = PcConfig()
_ALIVE = {Verdict.ALIVE, Verdict.DEGRADED}


def make(inventory: Inventory, state: FleetState, now: float, banner: str | None) -> FleetView:
    """Return the view at ``now``, Unix seconds."""
    pcs = {agent.id: _pc(inventory, agent, now) for agent in tuple(state.agents.values())}
    silent = {pc.id: pc.text for pc in pcs.values() if not _speaks(pc)}
    boards = sorted({*inventory.lab.board, *tuple(state.boards)})
    return FleetView(
        site=inventory.lab.site,
        at=now,
        banner=banner,
        pcs=tuple(pcs[id_] for id_ in sorted(pcs)),
        boards=tuple(_board(inventory, state, id_, silent, now) for id_ in boards),
        relays=tuple(_relays(inventory, state, silent, now)),
    )


def ago(seconds: float) -> str:
    """Return a duration in words: ``40 s``, ``3 min``, ``2 h``, ``5 d``."""
    seconds = max(0, round(seconds))
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size or (size == 60 and seconds >= size):
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def _speaks(pc: PcView) -> bool:
    return pc.status in {PcStatus.ONLINE, PcStatus.INITIALIZING}


def _pc(inventory: Inventory, agent: Agent, now: float) -> PcView:
    config = inventory.lab.pc.get(agent.id, _PC)
    hello = agent.hello
    facts = hello.host if hello else None
    status, text = _pc_status(agent, now)
    sample = agent.sample
    if sample is not None and now - sample.at / SECOND > STALE_INTERVALS * agent.interval:
        sample = None
    ahead_s = agent.ahead_s if sample is not None else None
    if ahead_s is not None and abs(ahead_s) * SECOND > TOLERANCE:
        text += f", its clock is {ago(abs(ahead_s))} {'fast' if ahead_s > 0 else 'slow'}"
    return PcView(
        id=agent.id,
        name=config.name or "",
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
        versions=dict(hello.versions) if hello else {},
        known=agent.known,
    )


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


def _board(
    inventory: Inventory, state: FleetState, id_: str, silent: dict[str, str], now: float
) -> BoardView:
    config = inventory.lab.board.get(id_, _BOARD)
    told = state.boards.get(id_)
    record = told.record if told else None
    pc = told.agent if told else config.pc
    age = None if record is None else max(0.0, now - record.at / SECOND)
    verdict, text = _verdict(record, pc, age, silent, now)
    return BoardView(
        id=id_,
        name=config.name or "",
        pc=pc,
        platform=config.platform,
        test_farm=config.test_farm,
        capabilities=config.capabilities,
        power=tuple(feed.name for feed in config.power),
        status=BoardStatus.IDLE if verdict in _ALIVE else BoardStatus.OFFLINE,
        verdict=verdict,
        is_alive=verdict in _ALIVE,
        text=text,
        age_s=age,
        state=record,
    )


def _verdict(
    record: BoardRecord | None, pc: str | None, age: float | None, silent: dict[str, str], now: float
) -> tuple[Verdict, str]:
    """Return what is known of a board now: nothing, where its agent is silent."""
    if reason := _doubt(pc, age, silent):
        return Verdict.UNKNOWN, reason
    assert record is not None
    since = ago(now - record.since / SECOND)
    text = f"{record.verdict.replace('_', ' ')} for {since}"
    return record.verdict, f"{text}: {record.reason}" if record.reason else text


def _doubt(pc: str | None, age: float | None, silent: dict[str, str]) -> str | None:
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


def _relays(
    inventory: Inventory, state: FleetState, silent: dict[str, str], now: float
) -> Iterable[RelayView]:
    wired = {
        (feed.relay, feed.port): (id_, board.pc)
        for id_, board in inventory.lab.board.items()
        for feed in board.power
    }
    by_relay: dict[str, list[int]] = {id_: [] for id_ in inventory.lab.relay}
    for relay, port in sorted({*wired, *tuple(state.ports)}):
        by_relay.setdefault(relay, []).append(port)
    for relay, ports in sorted(by_relay.items()):
        views = tuple(_port(state, (relay, port), wired.get((relay, port)), silent, now) for port in ports)
        yield _relay(inventory, relay, views, silent)


def _port(
    state: FleetState,
    key: tuple[str, int],
    wired: tuple[str, str | None] | None,
    silent: dict[str, str],
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


def _relay(inventory: Inventory, id_: str, ports: tuple[PortView, ...], silent: dict[str, str]) -> RelayView:
    config = inventory.lab.relay.get(id_)
    module = next((port.state.module for port in ports if port.state and port.state.module), "")
    address = config.address if config else None
    if config and config.address and config.tcp_port:
        address = f"{config.address}:{config.tcp_port}"
    return RelayView(
        id=id_,
        name=(config.name if config else None) or "",
        model_type=config.model_type if config else "",
        status=_relay_status(ports, silent),
        module=module,
        address=address,
        ports=ports,
    )


def _relay_status(ports: tuple[PortView, ...], silent: dict[str, str]) -> RelayStatus:
    """ACTIVE while it answers; FAULT when it did once, and an agent that is there says it no longer does."""
    told = [port.state for port in ports if port.state is not None and port.pc not in silent]
    if any(state.observed is not Power.UNKNOWN for state in told):
        return RelayStatus.ACTIVE
    return RelayStatus.FAULT if any(state.module for state in told) else RelayStatus.INACTIVE
