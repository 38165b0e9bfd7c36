"""The fleet as the broker's retained topics tell it: what is left when the collector does not answer.

Pure: messages in, views and changes out. Names, platforms and statistics of PCs are not in those topics; they
come from an older view where there is one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from boardherd.availability import hindrance
from boardherd.holding import holder, shown, status_under
from boardherd_shared.command import CommandStep
from boardherd_shared.messages import BoardState, Hello, PortState, ProtocolError, Status, decode
from boardherd_shared.model import BoardStatus, PcStatus, RelayStatus
from boardherd_shared.records import Power, Verdict
from boardherd_shared.topics import Address, Kind
from boardherd_shared.views import BoardView, FleetView, LockView, PcView, PortView, RelayView

WATCHED = (Kind.STATUS, Kind.HELLO, Kind.RELAY_STATE, Kind.BOARD_STATE)
"""The topics to subscribe to; the filter for statuses covers the collector's too."""


@dataclass(frozen=True)
class Change:
    """Something that became different, or was said for the first time."""

    at: float
    """When, Unix seconds, by the clock of who said it."""
    subject: str
    """``board/evm-07``, ``relay/eth-1/3``, ``pc/pc-01``, ``collector``, ``broker`` or ``command/<id>``."""
    text: str
    """What is true now, for a person."""
    initial: bool
    """True for what was already so when the watching began."""
    detail: dict[str, Any]
    """The message itself."""


class Retained:
    """What has been heard of one site."""

    def __init__(self, site: str, base: FleetView | None = None) -> None:
        """Start from nothing, or from ``base``, an older view that also knows names and statistics."""
        self.site = site
        self._base = base or FleetView(site=site, at=0.0)
        self._collector: Status | None = None
        self._status: dict[str, Status] = {}
        self._hello: dict[str, Hello] = {}
        self._boards: dict[str, tuple[str, BoardState]] = {}
        self._ports: dict[tuple[str, int], tuple[str, PortState]] = {}
        self._steps: dict[str, CommandStep] = {}

    def apply(self, address: Address, payload: bytes, *, retain: bool = False) -> Change | None:
        """Take in a message; returns the change it brought, if a person would call it one.

        What cannot be understood is passed over: it is somebody else's fault and told elsewhere.
        """
        try:
            match address.kind:
                case Kind.COLLECTOR_STATUS:
                    return self._take_collector(payload, retain)
                case Kind.STATUS:
                    return self._take_status(address.agent, payload, retain)
                case Kind.HELLO if payload:
                    self._hello[address.agent] = decode(Hello, payload)
                case Kind.BOARD_STATE:
                    return self._take_board(address, payload, retain)
                case Kind.RELAY_STATE:
                    return self._take_port(address, payload, retain)
                case Kind.RESULT if payload and not retain:
                    return self._take_step(payload)
                case _:
                    pass
        except ProtocolError:
            pass
        return None

    def _take_collector(self, payload: bytes, retain: bool) -> Change | None:
        before, now = self._collector, decode(Status, payload) if payload else None
        self._collector = now
        if now is None or (before and before.state == now.state):
            return None
        return Change(now.at, "collector", now.text or now.state, retain and before is None, _plain(now))

    def _take_status(self, agent: str, payload: bytes, retain: bool) -> Change | None:
        before = self._status.pop(agent, None)
        if not payload:
            return None
        now = decode(Status, payload)
        if before and now.state == "offline" and now.session != before.session:
            now = before  # the will of a connection that has long been followed by another
        self._status[agent] = now
        if before and before.state == now.state:
            return None
        return Change(now.at, f"pc/{agent}", now.text or now.state, retain and before is None, _plain(now))

    def _take_board(self, address: Address, payload: bytes, retain: bool) -> Change | None:
        owner, before = self._boards.get(address.board, ("", None))
        if not payload:
            if owner == address.agent:  # else the board has moved, and its old PC tidies up
                del self._boards[address.board]
            return None
        now = decode(BoardState, payload)
        self._boards[address.board] = (address.agent, now)
        if before and _board_core(before) == _board_core(now):
            return None
        subject = f"board/{address.board}"
        return Change(now.record.at / 1e6, subject, _told(now), retain and before is None, _plain(now))

    def _take_port(self, address: Address, payload: bytes, retain: bool) -> Change | None:
        key = (address.relay, address.port)
        owner, before = self._ports.get(key, ("", None))
        if not payload:
            if owner == address.agent:
                del self._ports[key]
            return None
        now = decode(PortState, payload)
        self._ports[key] = (address.agent, now)
        if before and _port_core(before) == _port_core(now):
            return None
        subject = f"relay/{address.relay}/{address.port}"
        return Change(now.record.at / 1e6, subject, now.text, retain and before is None, _plain(now))

    def _take_step(self, payload: bytes) -> Change | None:
        step = decode(CommandStep, payload)
        if self._steps.get(step.id) == step:
            return None
        self._steps[step.id] = step
        if step.final:
            del self._steps[step.id]
        return Change(step.at, f"command/{step.id}", step.text, False, _plain(step))

    def view(self, now: float, banner: str | None = None) -> FleetView:
        """Return the fleet at ``now``, Unix seconds."""
        base = self._base
        pcs = {pc.id: pc for pc in base.pcs} | {id_: self._pc(id_, now) for id_ in self._agents()}
        online = {id_ for id_, pc in pcs.items() if pc.online}
        known = {board.id: board for board in base.boards}
        for agent, hello in self._hello.items():
            for id_ in hello.boards:
                known.setdefault(id_, _unheard(id_, agent))
        boards = known | {id_: self._board(id_, known.get(id_), now, online) for id_ in self._boards}
        view = FleetView(
            site=self.site,
            source=base.source if base.at else "broker",
            at=now,
            banner=banner or base.banner,
            pcs=tuple(pcs[id_] for id_ in sorted(pcs)),
            boards=tuple(boards[id_] for id_ in sorted(boards)),
            relays=self._relays(now, online),
        )
        told = (it.model_copy(update={"available": not hindrance(it, view)}) for it in view.boards)
        return view.model_copy(update={"boards": tuple(told)})

    @property
    def collector_text(self) -> str:
        """What the collector last said of itself."""
        return (self._collector.text or self._collector.state) if self._collector else ""

    def _agents(self) -> set[str]:
        return {*self._status, *self._hello}

    def _pc(self, id_: str, now: float) -> PcView:
        said, hello = self._status.get(id_), self._hello.get(id_)
        if said is None or said.state == "offline":
            status = PcStatus.OFFLINE
        else:
            status = PcStatus.ONLINE if hello else PcStatus.INITIALIZING
        older = next((pc for pc in self._base.pcs if pc.id == id_), None)
        if older and older.status is PcStatus.MAINTENANCE:
            status = older.status  # only the collector knows of it, and only a person ends it
        found: dict[str, Any] = {
            "status": status,
            "online": said is not None and said.state != "offline",
            "text": (said.text or said.state) if said else "offline",
            "last_seen_s": self._last_seen(id_, now),
        }
        if hello:
            found |= {
                "hostname": hello.host.hostname,
                "ip_address": hello.host.ip_address,
                "os_version": hello.host.os_version,
                "versions": hello.versions,
            }
        return older.model_copy(update=found) if older else PcView(id=id_, **found)

    def _last_seen(self, agent: str, now: float) -> float | None:
        """Return the age of the newest sign of life: any state is one, a will tells when its session began."""
        signs = [board.record.at / 1e6 for owner, board in self._boards.values() if owner == agent]
        signs += [port.record.at / 1e6 for owner, port in self._ports.values() if owner == agent]
        if agent in self._status:
            signs.append(self._status[agent].at)
        if agent in self._hello:
            signs.append(self._hello[agent].wall / 1e6)
        return max(0.0, now - max(signs)) if signs else None

    def _board(self, id_: str, older: BoardView | None, now: float, online: set[str]) -> BoardView:
        agent, state = self._boards[id_]
        record = state.record
        verdict, text = record.verdict, state.text
        if agent not in online:
            verdict, text = Verdict.UNKNOWN, f"{agent} is offline; before that: {state.text}"
        alive = verdict in {Verdict.ALIVE, Verdict.DEGRADED}
        feeds = (
            f"{relay}:{port}"
            for (relay, port), (_, it) in self._ports.items()
            if it.record.board == id_ and not it.record.line
        )
        lock = shown(record.lock) if record.lock and record.lock.until / 1e6 > now else None
        return (older or _unheard(id_, agent)).model_copy(
            update={
                "pc": agent,
                "status": _status(alive, lock, older),
                "lock": lock,
                "verdict": verdict,
                "is_alive": alive,
                "text": text,
                "age_s": max(0.0, now - record.at / 1e6),
                "state": record,
                "power": older.power if older and older.power else tuple(sorted(feeds)),
            }
        )

    def _relays(self, now: float, online: set[str]) -> tuple[RelayView, ...]:
        older = {relay.id: relay for relay in self._base.relays}
        ports = {relay.id: {port.port: port for port in relay.ports} for relay in self._base.relays}
        for (relay, number), (agent, state) in self._ports.items():
            ports.setdefault(relay, {})[number] = _port(agent, state, now, agent in online)
        return tuple(_relay(id_, older.get(id_), ports[id_]) for id_ in sorted(ports))


def _status(alive: bool, lock: LockView | None, older: BoardView | None) -> BoardStatus:
    """Return a board's status; what only the collector knows comes from the older view."""
    if older and older.status is BoardStatus.DEACTIVATED:
        return older.status
    if lock:
        return status_under(lock)
    usual = {BoardStatus.IDLE, BoardStatus.OFFLINE}
    was_held = older is not None and older.lock is not None
    if older and alive and not was_held and older.status not in usual:
        return older.status
    return BoardStatus.IDLE if alive else BoardStatus.OFFLINE


def _plain(message: Status | BoardState | PortState | CommandStep) -> dict[str, Any]:
    return message.model_dump(mode="json", exclude_none=True)


def _board_core(state: BoardState) -> tuple[object, ...]:
    record, lock = state.record, state.record.lock
    wiring = record.wiring.state if record.wiring else None
    held = lock and (lock.id, lock.until)
    return record.verdict, record.blame, record.reason, held, wiring, record.slow


def _told(state: BoardState) -> str:
    """Return what is said of a board, and who holds it."""
    lock, wiring = state.record.lock, state.record.wiring
    text = f"{state.text}; held by {holder(shown(lock), state.record.at / 1e6)}" if lock else state.text
    return f"{text}; wiring suspect: {wiring.text}" if wiring and wiring.state == "suspect" else text


def _port_core(state: PortState) -> tuple[object, ...]:
    return state.record.observed, state.record.asked, state.record.reason, state.record.switch_count


def _unheard(id_: str, agent: str) -> BoardView:
    return BoardView(
        id=id_,
        pc=agent,
        status=BoardStatus.OFFLINE,
        verdict=Verdict.UNKNOWN,
        is_alive=False,
        text="not heard yet",
    )


def _port(agent: str, state: PortState, now: float, online: bool) -> PortView:
    record, text = state.record, state.text
    if not online:
        text = f"{agent} is offline; before that: {text}"
        record = record.model_copy(update={"observed": Power.UNKNOWN, "reason": f"{agent} is offline"})
    return PortView(
        relay=record.relay,
        port=record.port,
        pc=agent,
        board=record.board,
        text=text,
        age_s=max(0.0, now - record.at / 1e6),
        state=record,
    )


def _relay(id_: str, older: RelayView | None, ports: dict[int, PortView]) -> RelayView:
    ordered = tuple(ports[number] for number in sorted(ports))
    states = [port.state for port in ordered if port.state]
    answers = any(state.observed is not Power.UNKNOWN for state in states)
    module = next((state.module for state in states if state.module), "")
    if older is None:
        status = RelayStatus.ACTIVE if answers else RelayStatus.INACTIVE
        return RelayView(id=id_, status=status, module=module, ports=ordered)
    return older.model_copy(update={"ports": ordered, "module": module or older.module})
