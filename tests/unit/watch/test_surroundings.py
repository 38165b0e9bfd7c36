"""Boards that fall silent together, told from boards that fall silent one by one."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boardherd_agent.watch.judging.evidence import Evidence, Item
from boardherd_agent.watch.judging.surroundings import Common, Sighting, common_silence, sighting
from boardherd_shared.records import Power
from unit.watch.situations import LONG_ON, ON, OPEN, alive, at, boot, cannot, no, power, silent, yes

EVERY = 13.0


def seen(
    name: str, answered: float, missed: float | None = None, *, sure: bool = False, anew: bool = False
) -> Sighting:
    misses = () if missed is None else (at(missed), at(missed + 2)) if sure else (at(missed),)
    return Sighting(name, at(answered), misses, sure, anew, at(EVERY))


def fell(name: str, answered: float, missed: float, *, anew: bool = False) -> Sighting:
    return seen(name, answered, missed, sure=True, anew=anew)


def well(name: str, answered: float) -> Sighting:
    return seen(name, answered)


@pytest.mark.parametrize(
    ("sightings", "together"),
    [
        ([], set()),
        ([fell("a", 100, 110)], set()),  # the only board of its PC
        ([well("a", 100), well("b", 105)], set()),
        ([fell("a", 100, 110), well("b", 125)], set()),  # b has answered since
        ([fell("a", 100, 110), fell("b", 103, 113)], {"a", "b"}),
        ([fell("a", 100, 110), seen("b", 103, 113)], {"a", "b"}),  # b was missed once, that is enough
        ([seen("a", 100, 110), seen("b", 103, 113)], set()),  # nothing is confirmed
        ([fell("a", 100, 110), fell("b", 103, 113), well("c", 120)], set()),  # c has answered since
        ([fell("a", 100, 110), fell("b", 103, 113), well("c", 114)], set()),  # and even here
        ([fell("a", 100, 102), fell("b", 103, 113), seen("c", 101, 112)], {"a", "b", "c"}),  # one lost packet before
        ([fell("a", 100, 110), fell("b", 103, 113), well("c", 105)], {"a", "b"}),  # c was not asked since
        ([fell("a", 100, 110), fell("b", 103, 113), *(well(f"c{n}", 105) for n in range(9))], set()),  # too few yet
        ([fell("a", 10, 20), fell("b", 103, 113)], set()),  # a has been dead for long
        ([fell("a", 10, 20), fell("b", 103, 113), fell("c", 101, 111)], {"b", "c"}),
        ([fell("a", 100, 110), fell("b", 103, 113, anew=True)], set()),  # b restarted: it has its own story
    ],
)  # fmt: skip
def test_who_fell_silent_together(sightings: list[Sighting], together: set[str]) -> None:
    common = common_silence(sightings)
    assert (set(common.boards) if common else set()) == together


def test_it_goes_on_until_one_answers_whatever_is_tried_with_single_boards() -> None:
    common = common_silence([fell("a", 100, 110), fell("b", 103, 113), fell("old", 10, 20)])
    assert common == Common(at(110), frozenset("ab"))
    cycled = [fell("a", 100, 150, anew=True), fell("b", 103, 160), fell("old", 10, 20)]
    assert common_silence(cycled, common) == common
    assert common_silence([], common) == Common(at(110), frozenset())
    assert common_silence([well("a", 170), fell("b", 103, 160)], common) is None


SIGHTINGS = st.lists(
    st.builds(
        seen,
        st.sampled_from("abcdef"),
        st.integers(0, 40).map(lambda n: n * 5.0),
        st.none() | st.integers(0, 40).map(lambda n: n * 5.0),
        sure=st.booleans(),
        anew=st.booleans(),
    ),
    max_size=6,
    unique_by=lambda it: it.board,
)


@given(SIGHTINGS, st.randoms())
def test_the_order_of_the_boards_changes_nothing(sightings: list[Sighting], chance: random.Random) -> None:
    expected = common_silence(sightings)
    chance.shuffle(sightings)
    assert common_silence(sightings) == expected
    if expected:
        assert len(expected.boards) >= 2
        assert all(it.answered < expected.since for it in sightings)


@pytest.mark.parametrize(
    ("story", "expected"),
    [
        ([], None),
        (silent(5, 15), None),  # it has never answered
        (alive(5), (5, [], False)),
        ([*alive(5), *no("ping", 15)], (5, [15], False)),
        ([*alive(5), *silent(15, 25)], (5, [15, 15, 25, 25], True)),
        ([*alive(5), *silent(15, 25), *yes("ping", 27)], (27, [], False)),
        ([*alive(5), *cannot("ping", 15), *no("ssh", 16, 26)], (5, [16, 26], True)),
        ([*alive(5), power(Power.OFF, 9), *silent(15, 25)], None),
        ([*cannot("ping", 15), *cannot("ssh", 16)], None),
    ],
)
def test_how_a_board_was_last_seen(
    story: list[Item], expected: tuple[float, list[float], bool] | None
) -> None:
    found = sighting("a", _evidence([*LONG_ON, *story]), 2, at(EVERY))
    if expected is None:
        assert found is None
    else:
        answered, missed, sure = expected
        misses = tuple(at(when) for when in missed)
        assert found == Sighting("a", at(answered), misses, sure, anew=False, every=at(EVERY))


def test_a_board_that_was_cycled_or_restarted_since_has_begun_anew() -> None:
    for story in ([*alive(5), *ON], [*LONG_ON, OPEN, *alive(5), *boot(8)]):
        found = sighting("a", _evidence(story), 2, at(EVERY))
        assert found is not None
        assert found.anew


def test_probes_that_do_not_use_the_network_tell_nothing_of_it() -> None:
    evidence = Evidence(probes=("usb-1-1.4", "command-check"))
    for item in yes("usb-1-1.4", 5):
        evidence = evidence.add(item)
    assert sighting("a", evidence, 2, at(EVERY)) is None


def _evidence(story: list[Item]) -> Evidence:
    evidence = Evidence(probes=("ping", "ssh"))
    for item in story:
        evidence = evidence.add(item)
    return evidence
