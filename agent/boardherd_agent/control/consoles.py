"""Whose a board's console is: who may write there, and to whom the port is left. Pure."""

from __future__ import annotations

from boardherd_agent.control.locks import held
from boardherd_shared.locks import Lock


def writing_refused(board: str, lock: Lock | None, user: str, lock_id: str | None) -> str:
    """Return why ``user`` may not write on the console of ``board`` now, in words; empty if he may.

    The console belongs to who holds the board: who names the lock's id, which only its taker was told, or the
    owner by his name, unless he fenced his lock. A lock that has ended, or was taken anew, gives no right.

    Args:
        board: the board's id.
        lock: the lock that holds now.
        user: login on this machine.
        lock_id: the lock that he says he holds; None if he names none.
    """
    if lock is None:
        ended = "the lock that was named has ended; " if lock_id else ""
        return f"{ended}nobody has locked {board}; lock it to write"
    if lock_id == lock.id or (lock_id is None and lock.owner == user and not lock.fenced):
        return ""
    if lock_id is not None:
        return f"the lock that was named has ended; {held(board, lock)}"
    hint = "; name the lock's id" if lock.owner == user else ""
    return held(board, lock) + hint


def left_to(lock: Lock | None, *, unsure: bool) -> str:
    """Return to whom the serial port of a board is left, in words; empty while nobody holds the board."""
    if unsure:
        return "closed until it is known who holds the board"
    return f"left to {lock.owner}, who has locked the board" if lock else ""
