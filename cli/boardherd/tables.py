"""What the fleet looks like as rows of words. Pure; how it gets onto paper is :mod:`boardherd.output`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Literal

from boardherd.holding import holder, lock_on
from boardherd_shared.model import BoardStatus, PcStatus, RelayStatus
from boardherd_shared.records import Blame, Health, Power, Verdict
from boardherd_shared.spans import coarse
from boardherd_shared.views import BoardView, FleetView, LockView, PcView, PortView, RelayView

if TYPE_CHECKING:
    from boardherd_shared.why.everything import Cause

Tone = Literal["", "good", "bad", "warn", "quiet", "strong"]


@dataclass(frozen=True)
class Cell:
    """Some words and how they should feel."""

    text: str
    tone: Tone = ""


Row = tuple[Cell, ...]


@dataclass(frozen=True)
class Table:
    """Rows under headings. A column whose cells are all empty is left out when printed."""

    headings: tuple[str, ...]
    rows: tuple[Row, ...]
    expendable: tuple[str, ...] = ()
    """Columns that a narrow terminal may leave out, the least important first."""


_VERDICT_TONE: dict[Verdict, Tone] = {
    Verdict.ALIVE: "good",
    Verdict.BOOTING: "warn",
    Verdict.DEGRADED: "warn",
    Verdict.SILENT: "bad",
    Verdict.POWERED_OFF: "quiet",
    Verdict.UNKNOWN: "warn",
}
_PC_TONE: dict[PcStatus, Tone] = {
    PcStatus.ONLINE: "good",
    PcStatus.OFFLINE: "bad",
    PcStatus.MAINTENANCE: "quiet",
    PcStatus.INITIALIZING: "warn",
}
_RELAY_TONE: dict[RelayStatus, Tone] = {
    RelayStatus.ACTIVE: "good",
    RelayStatus.INACTIVE: "warn",
    RelayStatus.MAINTENANCE: "quiet",
    RelayStatus.FAULT: "bad",
}
_POWER_TONE: dict[Power, Tone] = {Power.ON: "good", Power.OFF: "quiet", Power.UNKNOWN: "warn"}


def ago(seconds: float) -> str:
    """Return a length of time as people say it: ``3 s``, ``14 min``, ``2 h``, ``9 d``."""
    return coarse(seconds)


def state_tone(state: str) -> Tone:
    """Return how a verdict, or the status of a PC or a relay, should feel."""
    tones: dict[str, Tone] = {it.value: tone for it, tone in _VERDICT_TONE.items()}
    tones |= {it.value: tone for it, tone in _PC_TONE.items()}
    tones |= {it.value: tone for it, tone in _RELAY_TONE.items()}
    return tones.get(state, "")


def causes_table(causes: Sequence[Cause], now: float) -> Table:
    """Return what keeps boards from being alive, a line for each cause, ``now`` in Unix seconds."""
    tones: dict[str, Tone] = {verdict_word(it): tone for it, tone in _VERDICT_TONE.items()}
    rows = tuple(
        (
            Cell(cause.subject, "strong"),
            Cell(f"● {cause.state}", tones.get(cause.state, "bad" if len(cause.boards) > 1 else "warn")),
            Cell("" if cause.since is None else ago(now - cause.since)),
            Cell(cause.blame.value if cause.blame is not Blame.NOBODY else "", "bad"),
            Cell(cause.text),
        )
        for cause in causes
    )
    return Table(("WHAT", "STATE", "FOR", "BLAME", "WHY"), rows, ("FOR",))


def moment(micros: int, now: float) -> str:
    """Return a time of day, with the date when it was not today."""
    then, today = datetime.fromtimestamp(micros / 1e6).astimezone(), datetime.fromtimestamp(now).astimezone()
    return then.strftime("%H:%M:%S" if then.date() == today.date() else "%Y-%m-%d %H:%M")


def verdict_word(verdict: Verdict) -> str:
    """Return a verdict as two words at most."""
    return verdict.value.replace("_", " ")


def counts(fleet: FleetView) -> dict[str, dict[str, int]]:
    """Return how many PCs there are by status, boards by verdict and relays by status."""
    return {
        "pcs": dict(Counter(pc.status.value for pc in fleet.pcs)),
        "boards": dict(Counter(board.verdict.value for board in fleet.boards)),
        "relays": dict(Counter(relay.status.value for relay in fleet.relays)),
    }


def summary(fleet: FleetView) -> Table:
    """Return the counts in three lines."""
    count = counts(fleet)
    boards = (f"{number} {verdict_word(it)}" for it in Verdict if (number := count["boards"].get(it.value)))
    pcs = (f"{number} {it.label.lower()}" for it in PcStatus if (number := count["pcs"].get(it.value)))
    relays = (
        f"{number} {it.label.lower()}" for it in RelayStatus if (number := count["relays"].get(it.value))
    )
    return Table(
        ("", ""),
        (
            (Cell(_number(len(fleet.pcs), "test PC")), Cell(", ".join(pcs))),
            (Cell(_number(len(fleet.boards), "board")), Cell(", ".join(boards))),
            (Cell(_number(len(fleet.relays), "relay")), Cell(", ".join(relays))),
        ),
    )


def troubles(fleet: FleetView) -> list[tuple[str, Tone, str]]:
    """Return what somebody should look at, as (what, how bad, why): causes only.

    What hangs on an offline PC is not listed beside it, nor a board beside the relay that failed it.
    """
    return [*_pc_troubles(fleet), *_relay_troubles(fleet), *_board_troubles(fleet)]


def _pc_troubles(fleet: FleetView) -> Iterator[tuple[str, Tone, str]]:
    for pc in fleet.pcs:
        if pc.status is PcStatus.OFFLINE:
            boards = sum(board.pc == pc.id for board in fleet.boards)
            of_which = f"; nothing is known of its {_number(boards, 'board')}" if boards else ""
            yield pc.id, "bad", f"{pc.text or 'offline'}{of_which}"
        elif pc.sample and pc.sample.status in {Health.WARNING, Health.CRITICAL}:
            tone: Tone = "bad" if pc.sample.status is Health.CRITICAL else "warn"
            yield pc.id, tone, f"{pc.sample.status.value.lower()}: {_figures(pc)}"
        if pc.inventory_current is False and pc.known:
            yield pc.id, "warn", "runs another lab.toml than the collector"
        if not pc.known:
            add = f"; add: {pc.stanza}" if pc.stanza else ""
            yield pc.id, "warn", f"is a new PC, it is not in lab.toml{add}"


def _relay_troubles(fleet: FleetView) -> Iterator[tuple[str, Tone, str]]:
    dark = _offline(fleet)
    for relay in fleet.relays:
        ports = [port for port in relay.ports if port.pc not in dark]
        if relay.status is RelayStatus.FAULT or (
            ports and all(_silent(port) for port in ports) and relay.status is not RelayStatus.MAINTENANCE
        ):
            why = next(
                (port.state.reason for port in ports if port.state and port.state.reason),
                "it does not answer",
            )
            yield relay.id, "bad", why
            continue
        for port in ports:
            if odd := _oddity(port):
                yield f"{port.relay}:{port.port}", "warn", odd


def _board_troubles(fleet: FleetView) -> Iterator[tuple[str, Tone, str]]:
    dark = _offline(fleet)
    for board in fleet.boards:
        if board.pc in dark or (board.state and board.state.blame is Blame.RELAY):
            continue
        if board.status is BoardStatus.ERROR:
            yield board.id, "bad", board.text or "in error"
        elif board.verdict in {Verdict.SILENT, Verdict.DEGRADED, Verdict.UNKNOWN}:
            yield board.id, _VERDICT_TONE[board.verdict], _why(board, fleet.at)
        if suspect := _wiring_trouble(board):
            yield board.id, "warn", suspect


def _wiring_trouble(board: BoardView) -> str:
    wiring = board.state.wiring if board.state else None
    if wiring is None or wiring.state != "suspect":
        return ""
    return "wiring suspect, power is refused" + (f": {wiring.text}" if wiring.text else "")


def _why(board: BoardView, now: float) -> str:
    """Return ``silent for 14 min, blame board: ping 0/5`` or what is known of that."""
    words = verdict_word(board.verdict)
    if since := lasted(board, now):
        words += f" for {since}"
    if board.state and board.state.blame is not Blame.NOBODY:
        words += f", blame {board.state.blame.value}"
    reason = reason_of(board)
    return f"{words}: {reason}" if reason else words


def lasted(board: BoardView, now: float) -> str:
    """Return how long the verdict that is shown has held, where the record is about that verdict."""
    if board.state is None or board.state.verdict is not board.verdict:
        return ""
    return ago(now - board.state.since / 1e6)


def reason_of(board: BoardView) -> str:
    """Return why the verdict is what it is, empty where it needs no explanation."""
    if board.state is not None and board.state.verdict is board.verdict:
        return board.state.reason if board.verdict is not Verdict.ALIVE else ""
    return board.text


def observed(port: PortView) -> Power:
    """Return what is known of a port; nobody having looked is unknown, never off."""
    return port.state.observed if port.state else Power.UNKNOWN


def _silent(port: PortView) -> bool:
    return port.state is not None and port.state.observed is Power.UNKNOWN


def _oddity(port: PortView) -> str:
    """Return what is odd about a port: unknown, or other than asked for or normal."""
    state = port.state
    if state is None:
        return ""
    if state.observed is Power.UNKNOWN:
        return f"unknown: {state.reason}" if state.reason else "unknown"
    if state.asked is not Power.UNKNOWN and state.asked is not state.observed:
        return f"is {state.observed.value}, but was asked to be {state.asked.value}"
    if state.asked is Power.UNKNOWN and state.expected not in {"any", state.observed.value}:
        return f"is {state.observed.value}, normally {state.expected}"
    return ""


def pcs_table(pcs: Sequence[PcView]) -> Table:
    """Return the test PCs, one line each."""
    headings = ("PC", "STATUS", "SEEN", "CPU", "MEM", "DISK", "LOAD", "TESTS", "OS", "AGENT", "RACK", "NOTE")
    return Table(headings, tuple(_pc_row(pc) for pc in pcs), ("RACK", "TESTS", "AGENT", "OS", "LOAD"))


def _pc_row(pc: PcView) -> Row:
    it = pc.sample
    sick = it is not None and it.status in {Health.WARNING, Health.CRITICAL}
    note = "" if pc.known else "new PC, not in lab.toml"
    if pc.inventory_current is False and pc.known:
        note = "another lab.toml"
    if pc.status is PcStatus.OFFLINE and not note:
        note = pc.text
    note = pc.maintenance or note
    return (
        Cell(pc.id, "strong"),
        Cell(f"● {pc.status.label.lower()}", _PC_TONE[pc.status]),
        Cell("" if pc.last_seen_s is None else ago(pc.last_seen_s)),
        Cell(_percent(it.cpu_percent if it else None), "warn" if sick else ""),
        Cell(_percent(it.memory_percent if it else None), "warn" if sick else ""),
        Cell(_percent(it.disk_percent if it else None), "warn" if sick else ""),
        Cell("" if it is None or it.load_1m is None else f"{it.load_1m:.2f}"),
        Cell("" if it is None or it.process_count is None else str(it.process_count)),
        Cell(pc.os_version, "quiet"),
        Cell(pc.versions.get("boardherd", ""), "quiet"),
        Cell(pc.rack or "", "quiet"),
        Cell(note, "warn"),
    )


def boards_table(boards: Sequence[BoardView], fleet: FleetView) -> Table:
    """Return boards, one line each."""
    headings = ("BOARD", "NAME", "PLATFORM", "PC", "VERDICT", "FOR", "POWER", "HOLDER", "WHY")
    ports = {f"{port.relay}:{port.port}": port for relay in fleet.relays for port in relay.ports}
    dark = _offline(fleet)
    rows = []
    for board in boards:
        feeds = [f"{feed} {_shown(ports.get(feed), dark)}" for feed in board.power]
        rows.append(
            (
                Cell(board.id, "strong"),
                Cell(board.name),
                Cell(board.platform or "", "quiet"),
                Cell(board.pc or "", "quiet"),
                Cell(f"● {verdict_word(board.verdict)}", _VERDICT_TONE[board.verdict]),
                Cell(lasted(board, fleet.at)),
                Cell(", ".join(feeds)),
                Cell(holder(lock, fleet.at) if (lock := lock_on(board, fleet.at)) else ""),
                Cell("; ".join(_standing(board)), "quiet"),
            )
        )
    return Table(headings, tuple(rows), ("PLATFORM", "PC", "FOR", "NAME"))


def _standing(board: BoardView) -> Iterator[str]:
    """Yield what people and interlocks have said of a board, then why its verdict is what it is."""
    if board.deactivated:
        yield f"out of use: {board.deactivated}"
    if board.contested_by:
        yield f"declared by {', '.join(board.contested_by)} too"
    slow = board.state.slow if board.state else None
    told = (board.fault, reason_of(board), _wiring_trouble(board), slow and f"slow boot: {slow}")
    for reason in dict.fromkeys(told):
        if reason:
            yield reason


def held_boards(fleet: FleetView) -> list[tuple[BoardView, LockView]]:
    """Return the boards that somebody holds, each with its lock."""
    return [(board, lock) for board in fleet.boards if (lock := lock_on(board, fleet.at))]


def locks_table(held: Sequence[tuple[BoardView, LockView]], now: float) -> Table:
    """Return who holds which board, one line each, ``now`` in Unix seconds."""
    headings = ("BOARD", "NAME", "HOLDER", "FOR", "USE", "SINCE", "UNTIL", "LEFT", "REASON")
    rows = tuple(
        (
            Cell(board.id, "strong"),
            Cell(board.name),
            Cell(lock.owner),
            Cell(lock.on_behalf_of or ""),
            Cell(lock.use),
            Cell(moment(round(lock.since * 1e6), now), "quiet"),
            Cell(moment(round(lock.until * 1e6), now)),
            Cell(ago(lock.until - now)),
            Cell(lock.reason or "", "quiet"),
        )
        for board, lock in held
    )
    return Table(headings, rows, ("SINCE", "NAME", "FOR"))


def holders_table(held: Sequence[tuple[BoardView, LockView]], now: float) -> Table:
    """Return who holds which board until when, in short."""
    rows = tuple(
        (Cell(board.id, "strong"), Cell(holder(lock, now)), Cell(lock.use), Cell(lock.reason or "", "quiet"))
        for board, lock in held
    )
    return Table(("HELD", "BY", "USE", "REASON"), rows)


def ports_table(ports: Sequence[PortView], fleet: FleetView) -> Table:
    """Return relay ports, one line each."""
    headings = ("PORT", "STATE", "FOR", "BOARD", "ASKED", "SWITCHED", "LAST", "BY", "NOTE")
    dark = _offline(fleet)
    rows = tuple(_port_row(port, fleet.at, port.pc in dark) for port in ports)
    return Table(headings, rows, ("SWITCHED", "LAST", "FOR", "BY"))


def _port_row(port: PortView, now: float, dark: bool) -> Row:
    state = port.state
    power = Power.UNKNOWN if dark else observed(port)
    known = state if power is not Power.UNKNOWN else None
    if dark:
        note = f"{port.pc} is offline"
    elif state is None:
        note = port.text
    else:
        note = (_oddity(port) if power is not Power.UNKNOWN else "") or state.reason
    return (
        Cell(f"{port.relay}:{port.port}", "strong"),
        Cell(f"{_MARK[power]} {power.value}", _POWER_TONE[power]),
        Cell(ago(now - known.since / 1e6) if known else ""),
        Cell(port.board or ""),
        Cell(state.asked.value if state and state.asked is not Power.UNKNOWN else ""),
        Cell(f"{state.switch_count}x" if state and state.switch_count else "", "quiet"),
        Cell(moment(state.switched_at, now) if state and state.switched_at else "", "quiet"),
        Cell((state.switched_by or "") if state else ""),
        Cell(note, "warn"),
    )


_MARK = {Power.ON: "●", Power.OFF: "○", Power.UNKNOWN: "?"}


def probes_table(board: BoardView, now: float) -> Table:
    """Return what each probe of a board saw last, ``now`` in Unix seconds."""
    tones: dict[str, Tone] = {"yes": "good", "no": "bad", "unavailable": "warn"}
    rows = tuple(
        (
            Cell(probe.probe, "strong"),
            Cell(f"● {probe.answer}", tones[probe.answer]),
            Cell(f"{ago(now - probe.at / 1e6)} ago", "quiet"),
            Cell("" if probe.duration_s is None else f"{probe.duration_s * 1e3:.0f} ms"),
            Cell(probe.text),
        )
        for probe in (board.state.probes if board.state else ())
    )
    return Table(("PROBE", "ANSWER", "SEEN", "TOOK", "WHAT"), rows, ("TOOK",))


def relay_heading(relay: RelayView) -> Row:
    """Return what stands above the ports of a relay."""
    told = [relay.module, relay.address or "", relay.maintenance or ""]
    return (
        Cell(relay.id, "strong"),
        Cell(relay.name),
        Cell(relay.status.label.lower(), _RELAY_TONE[relay.status]),
        *(Cell(text, "quiet") for text in told if text),
    )


def _shown(port: PortView | None, dark: set[str]) -> str:
    return (Power.UNKNOWN if port is None or port.pc in dark else observed(port)).value


def _offline(fleet: FleetView) -> set[str]:
    return {pc.id for pc in fleet.pcs if pc.status is PcStatus.OFFLINE}


def _figures(pc: PcView) -> str:
    it = pc.sample
    if it is None:
        return ""
    shares = (("cpu", it.cpu_percent), ("memory", it.memory_percent), ("disk", it.disk_percent))
    return ", ".join(f"{name} {_percent(share)}" for name, share in shares if share is not None)


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.0f}%"


def _number(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"
