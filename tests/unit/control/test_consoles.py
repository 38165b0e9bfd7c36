"""Whose a console is."""

from __future__ import annotations

import pytest

from boardherd_agent.control.consoles import left_to, writing_refused
from boardherd_shared.locks import Lock

ID = "a" * 32
MINE = Lock(id=ID, owner="ops1", use="busy", since=0, until=60_000_000)
FENCED = MINE.model_copy(update={"fenced": True})


@pytest.mark.parametrize(
    ("lock", "user", "lock_id", "refusal"),
    [
        (MINE, "ops1", None, ""),
        (MINE, "ops1", ID, ""),
        (MINE, "jenkins", ID, ""),
        (FENCED, "ops1", ID, ""),
        (FENCED, "ops1", None, "name the lock's id"),
        (MINE, "ops2", None, "evm-07 is locked by ops1"),
        (MINE, "", None, "evm-07 is locked by ops1"),
        (MINE, "ops1", "b" * 32, "the lock that was named has ended"),
        (None, "ops1", None, "nobody has locked evm-07"),
        (None, "ops1", ID, "the lock that was named has ended"),
    ],
)
def test_who_may_write(lock: Lock | None, user: str, lock_id: str | None, refusal: str) -> None:
    """CMD-4: a lock that has ended, or was taken anew, gives no right to write."""
    said = writing_refused("evm-07", lock, user, lock_id)
    assert refusal in said
    assert bool(said) == bool(refusal)


def test_to_whom_the_port_is_left() -> None:
    assert left_to(None, unsure=False) == ""
    assert left_to(MINE, unsure=False) == "left to ops1, who has locked the board"
    assert "until it is known" in left_to(None, unsure=True)
