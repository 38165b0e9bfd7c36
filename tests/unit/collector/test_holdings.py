"""Who has a board follows from what is told of it, whatever comes when."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boardherd_collector.holdings import Holding, use_status
from boardherd_shared.locks import Lock
from boardherd_shared.model import BoardStatus
from boardherd_shared.records import BoardRecord, Verdict

HOUR = 3600
Word = Callable[[Holding], None]


def lock(number: int, since: int, until: int) -> Lock:
    return Lock(id=f"{number:032x}", owner=f"ops{number}", since=since, until=until)


def board(at: int, held: Lock | None = None) -> BoardRecord:
    return BoardRecord(at=at, up=at, board="evm-07", verdict=Verdict.ALIVE, since=at, lock=held)


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[Word], dict[str, tuple[int, int]], str | None]:
    """Return what an agent says of some uses one after the other; their true spans; and who has the board at last."""
    words: list[Word] = []
    spans: dict[str, tuple[int, int]] = {}
    at, holder = 1000, None
    for number in range(draw(st.integers(1, 4))):
        since = at = at + draw(st.integers(2, 50))
        held = lock(number, since, since + HOUR)
        words.append(lambda known, at=at, held=held: known.held(at, held))
        for _ in range(draw(st.integers(0, 2))):
            at += draw(st.integers(1, 50))
            held = held.model_copy(update={"until": at + HOUR})
            words.append(lambda known, at=at, held=held: known.held(at, held))
            at += 1
            words.append(lambda known, at=at, held=held: known.told(at, board(at, held)))
        at += draw(st.integers(1, 50))
        holder = held.id
        if number < 3 or draw(st.booleans()):
            words.append(lambda known, at=at, held=held: known.ended(at, held))
            spans[held.id] = since, at
            holder = None
            if draw(st.booleans()):
                at += 1
                words.append(lambda known, at=at: known.told(at, board(at)))
    return words, spans, holder


@given(history=histories(), data=st.data())
def test_the_order_of_words_changes_nothing(
    history: tuple[list[Word], dict[str, tuple[int, int]], str | None], data: st.DataObject
) -> None:
    """Late and doubled words leave each use with its true beginning and end, and the right holder."""
    words, spans, holder = history
    doubled = words + data.draw(st.lists(st.sampled_from(words), max_size=5))
    known = Holding()
    for word in data.draw(st.permutations(doubled)):
        word(known)
    assert (known.lock.id if known.lock else None) == holder
    assert {id_: (use.started_at, use.ended_at) for id_, use in known.uses.items() if id_ in spans} == spans
    assert [use.lock_id for use in known.uses.values() if use.ended_at is None] == (
        [holder] if holder else []
    )


def test_an_end_is_never_after_the_deadline_nor_before_the_beginning() -> None:
    known, held = Holding(), lock(1, 100, 200)
    known.held(100, held)
    known.ended(201, held)
    assert known.uses[held.id].ended_at == 200
    other = lock(2, 300, 400)
    known.ended(250, other)
    assert known.uses[other.id].ended_at == 300


def test_a_lock_that_follows_ends_the_one_before() -> None:
    known, first, second = Holding(), lock(1, 100, 900), lock(2, 300, 400)
    known.held(100, first)
    known.held(301, second)
    assert (known.uses[first.id].ended_at, known.uses[second.id].ended_at) == (300, None)
    known.ended(250, first)
    assert known.uses[first.id].ended_at == 250


def test_a_lock_that_was_missed_for_a_while_goes_on() -> None:
    """An agent that lost its memory says that nobody has the board, until the mirror tells it otherwise."""
    known, held = Holding(), lock(1, 100, 900)
    known.told(100, board(100, held))
    known.told(200, board(200))
    assert known.lock is None
    known.told(210, board(210, held))
    assert known.lock == held
    assert known.uses[held.id].ended_at is None


@pytest.mark.parametrize(
    ("use", "status"),
    [("busy", BoardStatus.BUSY), ("updating-sdk", BoardStatus.UPDATING_SDK), ("nightly", BoardStatus.BUSY)],
)
def test_a_lock_makes_a_board_stand_by_its_use(use: str, status: BoardStatus) -> None:
    assert use_status(lock(1, 0, 9).model_copy(update={"use": use})) is status
    assert use_status(None) is BoardStatus.IDLE


def test_of_two_notes_the_later_one_counts() -> None:
    known = Holding()
    known.note(20, "later")
    known.note(10, "earlier")
    assert known.notes == "later"
    known.note(30, "")
    assert known.notes is None
