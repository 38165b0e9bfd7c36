"""What people ask about boards, ports and PCs, answered from what the store in memory holds. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from boardherd_collector.freshness import CONFIRMED_S
from boardherd_collector.holdings import Holding, Use, use_status
from boardherd_collector.marks import Marks, Thing
from boardherd_collector.stores.answers import (
    BoardRow,
    CommandRow,
    DiskRow,
    ReportRow,
    SummaryRow,
)
from boardherd_collector.stores.base import BoardFilter, BoardNow
from boardherd_collector.times import SECOND
from boardherd_shared.command import State
from boardherd_shared.inventory import BoardConfig, Lab
from boardherd_shared.model import BoardStatus
from boardherd_shared.records import Blame, HostRecord, Verdict

_ALIVE = {Verdict.ALIVE, Verdict.DEGRADED}
_STRANGER = BoardConfig()
_UNMARKED = Marks()


@dataclass(frozen=True)
class _Word:
    """What is said of a board at the moment, and by whom."""

    verdict: Verdict = Verdict.UNKNOWN
    blame: Blame | None = None
    reason: str | None = None
    since: float | None = None


def _word(told: BoardNow | None, now: float, silent_at: Callable[[str], float]) -> _Word:
    """Return what was told, or from when on it no longer counts and why."""
    if told is None:
        return _Word()
    record, confirmed_at = told.record, told.record.at / SECOND
    silent, unconfirmed = silent_at(told.agent), confirmed_at + CONFIRMED_S
    if now > unconfirmed or now > silent:
        reason = "its agent is silent" if silent < unconfirmed else "not confirmed for 3 min and more"
        return _Word(Verdict.UNKNOWN, Blame.AGENT, reason, min(silent, unconfirmed))
    return _Word(record.verdict, record.blame, record.reason, record.since / SECOND)


def board_row(
    id_: str,
    lab: Lab | None,
    told: BoardNow | None,
    now: float,
    silent_at: Callable[[str], float],
    *,
    holding: Holding,
    marks: Mapping[Thing, Marks],
) -> BoardRow:
    """Return a board as it is at ``now``; ``silent_at`` tells since when a PC is silent unless it speaks."""
    config = lab.board.get(id_, _STRANGER) if lab else _STRANGER
    wiring = told.record.wiring if told else None
    pc = config.pc or (told.agent if told else None)
    told_at = told.record.at / SECOND if told else None
    word = _word(told, now, silent_at)
    alive = word.verdict in _ALIVE
    feed = config.power[0] if config.power else None
    lock = holding.lock if holding.lock and now < holding.lock.until / SECOND else None
    mine = marks.get(("board", id_), _UNMARKED)
    status = _status(alive, holding, mine, use_status(lock))
    serves = pc is not None and now <= silent_at(pc) and not marks.get(("pc", pc), _UNMARKED).maintenance
    return BoardRow(
        id=id_,
        name=mine.name or config.name,
        **config.model_dump(
            include={
                *("hardware_serial_number", "project", "platform", "pg_version", "execution_engine"),
                *("board_ip", "serial_port", "console", "normally", "location", "description"),
            }
        ),
        device_type=config.device_type.value,
        test_farm=config.test_farm.value if config.test_farm else None,
        test_pc=pc,
        relay=feed.relay if feed else None,
        relay_number=feed.port if feed else None,
        capabilities=tuple(sorted(config.capabilities)),
        status=status,
        verdict=word.verdict,
        blame=word.blame,
        reason=word.reason,
        since=word.since,
        last_heartbeat_at=told_at,
        age_s=now - told_at if told_at is not None else None,
        is_alive=alive,
        is_healthy=alive and holding.error_since is None,
        can_execute_test=status is BoardStatus.IDLE and lock is None and serves,
        is_locked=lock is not None,
        lock_owner=lock.owner if lock else None,
        lock_purpose=lock.use if lock else None,
        lock_deadline=lock.until / SECOND if lock else None,
        error_since=_seconds(holding.error_since),
        error_reason=holding.error_reason,
        deactivated_at=mine.deactivated.at / SECOND if mine.deactivated else None,
        deactivated_by=mine.deactivated.by if mine.deactivated else None,
        deactivated_reason=mine.deactivated.reason if mine.deactivated else None,
        sdk_version=holding.sdk_version,
        last_sdk_update_at=_seconds(holding.last_sdk_update_at),
        notes=holding.notes,
        last_used_at=_seconds(holding.last_used_at),
        wiring=wiring.state if wiring else None,
        wiring_at=_seconds(wiring.at if wiring else None),
        wiring_text=(wiring.text or None) if wiring else None,
        slow=told.record.slow if told else None,
    )


def _status(alive: bool, holding: Holding, marks: Marks, use: BoardStatus) -> BoardStatus:
    if marks.deactivated:
        return BoardStatus.DEACTIVATED
    if holding.error_since is not None:
        return BoardStatus.ERROR
    return use if alive else BoardStatus.OFFLINE


def _seconds(at: int | None) -> float | None:
    return None if at is None else at / SECOND


def is_wanted(board: BoardRow, wanted: BoardFilter, now: float) -> bool:
    """Tell whether a board is one of those asked for."""
    pairs = (
        (wanted.board, board.id),
        (wanted.platform, board.platform),
        (wanted.test_farm, board.test_farm),
        (wanted.pc, board.test_pc),
    )
    return (
        all(asked in {None, value} for asked, value in pairs)
        and (board.can_execute_test or not wanted.available)
        and (board.is_locked or not wanted.locked)
        and (wanted.dead_for_s is None or _is_dead(board, now - wanted.dead_for_s))
        and set(wanted.capabilities) <= set(board.capabilities)
    )


def _is_dead(board: BoardRow, since: float) -> bool:
    blamed = board.blame not in {None, Blame.NOBODY}
    return not board.is_alive and blamed and board.since is not None and board.since <= since


def is_switch(row: CommandRow, targets: Iterable[str]) -> bool:
    """Tell whether a command switched one of ``targets``."""
    return row.target in targets and row.state not in {
        State.ACCEPTED,
        State.REFUSED,
        State.EXPIRED,
        State.UNANSWERED,
    }


def summaries(boards: Iterable[BoardRow], by: Literal["test_farm", "platform"]) -> list[SummaryRow]:
    """Return how the boards of each group are, by the name of the group."""
    groups: dict[str | None, list[BoardRow]] = {}
    for board in boards:
        groups.setdefault(board.test_farm if by == "test_farm" else board.platform, []).append(board)
    return [_summary(name, groups[name]) for name in sorted(groups, key=lambda name: name or "")]


def _summary(name: str | None, boards: list[BoardRow]) -> SummaryRow:
    def count(status: BoardStatus) -> int:
        return sum(board.status is status for board in boards)

    return SummaryRow(
        name=name,
        boards=len(boards),
        active=len(boards) - count(BoardStatus.DEACTIVATED) - count(BoardStatus.ERROR),
        idle=count(BoardStatus.IDLE),
        busy=count(BoardStatus.BUSY),
        updating_sdk=count(BoardStatus.UPDATING_SDK),
        offline=count(BoardStatus.OFFLINE),
        deactivated=count(BoardStatus.DEACTIVATED),
        error=count(BoardStatus.ERROR),
        alive=sum(board.is_alive for board in boards),
        locked=sum(board.is_locked for board in boards),
        available=sum(board.can_execute_test for board in boards),
    )


def used(uses: Iterable[Use], since: int, until: int) -> float:
    """Return for how many seconds a board was in use between two times."""
    total = 0
    for use in uses:
        end = use.deadline if use.ended_at is None else use.ended_at
        total += max(0, min(end, until) - max(use.started_at, since))
    return total / SECOND


def report_row(
    board: BoardRow, seconds: Mapping[Verdict, float], cycles: list[CommandRow], used_s: float
) -> ReportRow:
    """Return what a board did; ``used_s`` is for how long it was in use."""

    def hours(*verdicts: Verdict) -> float:
        return sum(seconds.get(verdict, 0.0) for verdict in verdicts) / 3600

    ended = [row for row in cycles if row.state in {State.SUCCEEDED, State.FAILED, State.INTERRUPTED}]
    return ReportRow(
        board=board.id,
        name=board.name,
        pc=board.test_pc,
        platform=board.platform,
        test_farm=board.test_farm,
        used_h=used_s / 3600,
        idle_h=max(0.0, hours(*_ALIVE) - used_s / 3600),
        alive_h=hours(*_ALIVE),
        dead_h=hours(Verdict.SILENT),
        off_h=hours(Verdict.POWERED_OFF),
        other_h=hours(Verdict.BOOTING, Verdict.UNKNOWN),
        cycles=len(ended),
        cycles_succeeded=sum(row.state is State.SUCCEEDED for row in ended),
    )


def disk_row(pc: str, sample: HostRecord, used: Mapping[int, float], within_s: float) -> DiskRow | None:
    """Return when the disk of a PC is full, from what was used by hour; None if that is not within ``within_s``."""
    per_hour = _slope({at / SECOND / 3600: value for at, value in used.items()})
    if per_hour is None or per_hour <= 1e-9 or sample.disk_free is None:
        return None
    free = sample.disk_free / 1e9
    left_s = free / per_hour * 3600
    if left_s > within_s:
        return None
    return DiskRow(pc=pc, free_gb=free, gb_per_day=per_hour * 24, full_at=sample.at / SECOND + left_s)


def _slope(points: Mapping[float, float]) -> float | None:
    """Return by how much a straight line through at least three points rises, by least squares."""
    if len(points) < 3:
        return None
    mean_x, mean_y = sum(points) / len(points), sum(points.values()) / len(points)
    spread = sum((x - mean_x) ** 2 for x in points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points.items()) / spread if spread else None
