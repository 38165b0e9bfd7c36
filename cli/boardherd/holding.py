"""Who holds a board, and until when. Pure."""

from __future__ import annotations

from datetime import datetime

from boardherd_shared.locks import UPDATING_SDK, Lock
from boardherd_shared.model import BoardStatus
from boardherd_shared.views import BoardView, LockView


def lock_on(board: BoardView, now: float) -> LockView | None:
    """Return the lock that holds on ``board`` at ``now``, Unix seconds."""
    lock = board.lock
    if lock is None and board.state and board.state.lock:
        lock = shown(board.state.lock)
    return lock if lock and lock.until > now else None


def shown(lock: Lock) -> LockView:
    """Return what everybody may know of a lock: its id, by which the holder acts, is left out."""
    return LockView(
        owner=lock.owner,
        use=lock.use,
        since=lock.since / 1e6,
        until=lock.until / 1e6,
        reason=lock.reason,
        on_behalf_of=lock.on_behalf_of,
    )


def holder(lock: LockView, now: float) -> str:
    """Return who holds a board until when: "ci-1 for anna until 14:05"."""
    whom = f" for {lock.on_behalf_of}" if lock.on_behalf_of else ""
    return f"{lock.owner}{whom} until {deadline(lock.until, now)}"


def deadline(at: float, now: float) -> str:
    """Return a moment to come, Unix seconds, as people say it: "14:05", or with the date of another day."""
    then, today = datetime.fromtimestamp(at).astimezone(), datetime.fromtimestamp(now).astimezone()
    return then.strftime("%H:%M" if then.date() == today.date() else "%Y-%m-%d %H:%M")


def status_under(lock: LockView) -> BoardStatus:
    """Return the status of a board that somebody holds."""
    return BoardStatus.UPDATING_SDK if lock.use == UPDATING_SDK else BoardStatus.BUSY
