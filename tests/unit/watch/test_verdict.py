"""What holds for every verdict, whatever the evidence; the table is in test_situations.py."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boardherd_agent.watch.booting.boot_patterns import Notice, Stage
from boardherd_agent.watch.judging.case import next_change
from boardherd_agent.watch.judging.evidence import (
    ConsoleState,
    Evidence,
    Heard,
    Item,
    Look,
    NetworkSeen,
    PowerSeen,
    RelaySeen,
    Stalled,
    WiringSeen,
)
from boardherd_agent.watch.judging.verdict import console_answer, judge
from boardherd_shared.records import Blame, Power, Verdict
from unit.watch.situations import (
    OFF,
    ON,
    OPEN,
    PANIC,
    RULES,
    Situation,
    alive,
    at,
    evidence_of,
    power,
    sign,
    yes,
)

V, B = Verdict, Blame
BOARD = Situation("", [], 0, V.UNKNOWN, probes=("ping", "ssh", "usb-1-1.4"))

MOMENTS = st.integers(0, 60).map(lambda second: at(second * 5))
WORDS = st.sampled_from(["", "x", "eth0: Link is Down", "eth1: Link is Up"])
LOOKS = st.builds(
    Look,
    up=MOMENTS,
    probe=st.sampled_from(BOARD.probes),
    answer=st.sampled_from(["yes", "no", "unavailable"]),
    text=st.sampled_from(["a", "b"]),
    stack_up=st.booleans(),
    loader=st.sampled_from(["", "in fastboot"]),
)
READINGS = st.builds(PowerSeen, up=MOMENTS, power=st.sampled_from(Power), by_us=st.booleans())
HEARD = st.builds(
    Heard, up=MOMENTS, words=WORDS, stage=st.none() | st.sampled_from(Stage) | st.sampled_from(Notice)
)
STATES = st.builds(ConsoleState, up=MOMENTS, trouble=st.sampled_from(["", "busy: x", "left to ops1", "gone"]))
RELAYS = st.builds(RelaySeen, up=MOMENTS, text=WORDS, at_fault=st.booleans(), partly=st.booleans())
WIRING = st.builds(
    WiringSeen, up=MOMENTS, state=st.sampled_from(["unproved", "proved", "suspect"]), text=WORDS
)
NETWORK = st.builds(NetworkSeen, up=MOMENTS, trouble=WORDS)
STALLS = st.builds(lambda one, other: Stalled(max(one, other), min(one, other)), MOMENTS, MOMENTS)
ITEMS = st.lists(
    LOOKS | LOOKS | READINGS | HEARD | HEARD | STATES | RELAYS | WIRING | NETWORK | STALLS, max_size=40
)
EVIDENCE = st.builds(
    lambda items, switched: evidence_of(
        Situation("", items, 0, V.UNKNOWN, probes=BOARD.probes, switched=switched)
    ),
    ITEMS,
    st.booleans(),
)
NOW = st.integers(0, 700)


@given(ITEMS, st.randoms(), st.booleans(), NOW)
def test_any_order_of_arrival_gives_the_same_verdict(
    items: list[Item], chance: random.Random, switched: bool, now: int
) -> None:
    case = Situation("", [], 0, V.UNKNOWN, probes=BOARD.probes, switched=switched)
    one, reverse = evidence_of(case, items), evidence_of(case, items[::-1])
    twice = [*items, *items]
    chance.shuffle(twice)
    shuffled = evidence_of(case, twice)
    assert one == reverse == shuffled
    assert judge(one, at(now), RULES) == judge(shuffled, at(now), RULES)
    assert console_answer(one, V.ALIVE) == console_answer(shuffled, V.ALIVE)


@given(EVIDENCE, NOW, NOW)
def test_time_alone_never_makes_a_bad_board_alive(evidence: Evidence, now: int, later: int) -> None:
    before = judge(evidence, at(now), RULES)
    after = judge(evidence, at(now + later), RULES)
    if before.verdict in {V.SILENT, V.DEGRADED}:
        assert after.verdict is not V.ALIVE, f"{before.reason} -> {after.reason}"


@given(EVIDENCE, NOW, NOW)
def test_nothing_changes_before_the_moment_that_is_foretold(evidence: Evidence, now: int, later: int) -> None:
    foretold = next_change(evidence, at(now), RULES)
    moment = at(now + later) if foretold is None else min(at(now + later), foretold - 1)
    assert judge(evidence, moment, RULES) == judge(evidence, at(now), RULES)


@pytest.mark.parametrize(
    ("items", "now", "foretold"),
    [
        ([], 1, None),
        ([*alive(5), *yes("ping", 8)], 9, at(185) + 1),  # the oldest of the newest looks is stale first
        ([*alive(5), *yes("ping", 8)], 186, at(188) + 1),
        (ON, 20, at(100)),  # the boot time is over
        ([*ON, Stalled(at(60), began=at(30))], 61, at(130)),  # and later by the time in which nobody looked
        (ON, 100, None),
    ],
)
def test_when_time_alone_may_change_a_verdict(items: list[Item], now: float, foretold: int | None) -> None:
    assert next_change(evidence_of(BOARD, items), at(now), RULES) == foretold


@given(ITEMS, NOW)
def test_power_that_is_off_explains_silence_and_an_answer_blames_relay_or_wiring(
    items: list[Item], now: int
) -> None:
    off = [*items, power(Power.OFF, 400), RelaySeen(at(400))]
    judgement = judge(evidence_of(BOARD, off), at(now), RULES)
    suspect = (V.UNKNOWN, B.WIRING)
    assert (judgement.verdict, judgement.blame) in {
        (V.POWERED_OFF, B.NOBODY), (V.DEGRADED, B.WIRING), (V.DEGRADED, B.RELAY), suspect,
    }  # fmt: skip


@given(EVIDENCE, NOW)
def test_who_is_well_blames_nobody_and_who_is_silent_is_to_blame_himself(
    evidence: Evidence, now: int
) -> None:
    judgement = judge(evidence, at(now), RULES)
    assert judgement.reason
    if judgement.verdict in {V.ALIVE, V.BOOTING}:
        assert judgement.blame is B.NOBODY
    if judgement.verdict is V.SILENT:
        assert judgement.blame is B.BOARD


@pytest.mark.parametrize(
    ("items", "answer", "says"),
    [
        ([ConsoleState(at(1), "busy: process 17 has locked ttyUSB0")], "unavailable", "process 17"),
        ([OPEN], "unavailable", "quiet"),
        ([*ON, OPEN], "no", "nothing since power-on"),
        ([*ON, OPEN, sign(Stage.UBOOT, 12, "U-Boot 2024.04")], "no", "U-Boot: U-Boot 2024.04"),
        ([*ON, OPEN, sign(Stage.UBOOT, 12), sign(Stage.LOGIN, 20, "evm login:")], "yes", "evm login:"),
        ([OPEN, Heard(at(5), "tick")], "yes", "tick"),
        ([*ON, OPEN, sign(Stage.PANIC, 12, PANIC)], "no", PANIC),
        ([*OFF, OPEN, sign(Stage.LOGIN, 20)], "no", "power is off"),
    ],
)
def test_what_the_console_says_for_itself(items: list[Item], answer: str, says: str) -> None:
    found, text = console_answer(evidence_of(BOARD, items), V.UNKNOWN)
    assert found == answer
    assert says in text


def test_a_prompt_is_no_sign_of_life_of_a_board_that_fell_silent() -> None:
    evidence = evidence_of(BOARD, [OPEN, sign(Stage.LOGIN, 5, "evm login:")])
    assert console_answer(evidence, V.ALIVE)[0] == "yes"
    assert console_answer(evidence, V.SILENT) == ("unavailable", "quiet, last line: evm login:")
