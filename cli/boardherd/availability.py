"""Whether somebody could take a board now, and why not. Pure."""

from __future__ import annotations

from collections.abc import Collection

from boardherd.holding import holder, lock_on
from boardherd.tables import lasted, verdict_word
from boardherd_shared.model import BoardStatus, PcStatus, RelayStatus
from boardherd_shared.views import BoardView, FleetView, PcView

_TAKEN = {BoardStatus.BUSY, BoardStatus.UPDATING_SDK}


def suits(board: BoardView, platform: str | None, capabilities: Collection[str]) -> bool:
    """Tell whether a board is of ``platform``, if one is named, and has all ``capabilities``; case does not matter."""
    able = {capability.lower() for capability in board.capabilities}
    of = (board.platform or "").lower()
    return (platform is None or platform.lower() == of) and {it.lower() for it in capabilities} <= able


def hindrance(board: BoardView, fleet: FleetView) -> str:
    """Return why nobody can take ``board`` for a test now, in a few words; empty when somebody can."""
    pc = next((pc for pc in fleet.pcs if pc.id == board.pc), None)
    return (
        _hindrance_of_pc(board, pc)
        or _hindrance_of_board(board, fleet.at)
        or _hindrance_of_relays(board, fleet)
    )


def _hindrance_of_pc(board: BoardView, pc: PcView | None) -> str:
    if pc is None:
        return f"{board.pc or 'its test PC'} is unknown"
    if pc.status is PcStatus.MAINTENANCE:
        return f"{pc.id} is in maintenance"
    return f"{pc.id} is offline" if pc.status is PcStatus.OFFLINE else ""


def _hindrance_of_board(board: BoardView, now: float) -> str:
    if board.status is BoardStatus.DEACTIVATED:
        return "deactivated"
    if lock := lock_on(board, now):
        return f"locked by {holder(lock, now)}"
    if board.status is BoardStatus.ERROR:
        return f"in error: {board.fault}" if board.fault else "in error"
    if board.status in _TAKEN:
        return board.status.label.lower()
    if board.is_alive:
        return ""
    since = lasted(board, now)
    return verdict_word(board.verdict) + (f" for {since}" if since else "")


def _hindrance_of_relays(board: BoardView, fleet: FleetView) -> str:
    feeds = {feed.rpartition(":")[0] for feed in board.power}
    resting = (r.id for r in fleet.relays if r.id in feeds and r.status is RelayStatus.MAINTENANCE)
    return next((f"its relay {relay} is in maintenance" for relay in resting), "")
