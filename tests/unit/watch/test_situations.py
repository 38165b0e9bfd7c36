"""The table of situations: each gets the verdict, the blame and the words that a lab engineer would give it."""

from __future__ import annotations

import random

import pytest

from boardherd_agent.watch.judging.verdict import judge
from unit.watch.situations import RULES, SITUATIONS, Situation, at, evidence_of, judged, rows

each = pytest.mark.parametrize("situation", SITUATIONS, ids=lambda situation: situation.name)


@each
def test_the_verdict_is_the_engineers(situation: Situation) -> None:
    judgement = judged(situation)
    assert (judgement.verdict, judgement.blame) == (situation.verdict, situation.blame), judgement.reason
    assert situation.says in judgement.reason
    assert not situation.not_said or situation.not_said not in judgement.reason


@each
def test_the_order_of_arrival_changes_no_row(situation: Situation) -> None:
    expected = judged(situation)
    for seed in range(10):
        items = [*situation.story, *situation.story]  # twice: redelivery changes nothing either
        random.Random(seed).shuffle(items)
        assert judge(evidence_of(situation, items), at(situation.now), RULES) == expected


def test_the_table_is_long_enough_and_names_each_situation_once() -> None:
    names = [name for name, _, _, _ in rows()]
    assert len(names) == len(set(names)) >= 60
