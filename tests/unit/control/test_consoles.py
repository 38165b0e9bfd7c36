"""Whose a console is."""

from __future__ import annotations

import pytest

from boardherd_agent.control.consoles import left_to, writing_refused
from boardherd_shared.command import State
from boardherd_shared.locks import Lock
from support.control import Lab

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


async def test_a_console_is_closed_before_its_board_is_locked(lab: Lab) -> None:
    """Closed first, then locked; free again once it is known that the lock holds, or that it was refused."""
    seen: list[tuple[str, ...]] = []
    changed = lab.desk.locks._changed
    lab.desk.locks._changed = lambda *change: (seen.append(tuple(lab.bench.console)), changed(*change))
    body = {"action": "lock", "board": "evm-07"}
    assert (await lab.send(body))[-1].state is State.SUCCEEDED
    assert seen == [("evm-07 closed",)]
    assert lab.bench.console == ["evm-07 closed", "evm-07 free"]
    lab.bench.console.clear()
    assert (await lab.send(body, operator="ops2"))[-1].state is State.REFUSED
    assert lab.bench.console == [], "who may not have the board does not close its console"
    longer = {**body, "for": "100h"}
    assert (await lab.send(longer))[-1].state is State.REFUSED
    assert lab.bench.console == ["evm-07 closed", "evm-07 free"]
