"""Credit for many agents: who may send its backlog, by examples and for any order of events."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from boardherd_collector.turns import (
    CREDIT,
    IDLE_S,
    MAX_WINDOW,
    MIN_WINDOW,
    TURN_ENVELOPES,
    TURN_S,
    Grant,
    Turns,
)

SLOTS = CREDIT // MIN_WINDOW
FRESH_ONLY = Grant(1, wait=True)


def crowd(turns: Turns, count: int, owed: int = 1000) -> list[str]:
    """Have agents say hello whose spools hold ``owed`` envelopes that the ledger lacks."""
    names = [f"pc-{number}" for number in range(count)]
    for name in names:
        turns.greeted(name, {name: owed}, owed)
    return names


def drain(turns: Turns, agent: str, first: int, last: int, now: float = 0.0) -> None:
    for seq in range(first, last + 1):
        turns.arrived(agent, agent, seq, now)
        turns.settled(agent, agent, seq, now, new=True)


def test_a_few_agents_all_have_their_turn() -> None:
    turns = Turns()
    names = crowd(turns, SLOTS)
    assert turns.go_round(0) == names
    assert not turns.crowded
    assert {turns.grant(name, SLOTS) for name in names} == {Grant(MIN_WINDOW)}


def test_one_alone_gets_no_more_than_an_agent_can_use() -> None:
    turns = Turns()
    crowd(turns, 1)
    turns.go_round(0)
    assert turns.grant("pc-0", 1000) == Grant(MAX_WINDOW)


def test_of_many_some_have_a_turn_and_the_others_send_only_what_is_new() -> None:
    """The sum of the windows stays below the credit, however many agents there are."""
    turns = Turns()
    names = crowd(turns, 1000)
    assert turns.go_round(0) == names[:SLOTS]
    grants = [turns.grant(name, 1000) for name in names]
    assert sum(grant.window for grant in grants if not grant.wait) <= CREDIT
    assert grants[SLOTS:] == [FRESH_ONLY] * (1000 - SLOTS)


def test_who_owes_nothing_never_waits() -> None:
    turns = Turns()
    crowd(turns, 1000)
    turns.greeted("idle", {"idle": 7}, 0)
    turns.go_round(0)
    assert not turns.grant("idle", 1000).wait
    assert turns.grant("never heard of", 1000) == Grant(1)
    assert turns.grant("never heard of", 10) == Grant(20)


def test_a_turn_ends_with_the_backlog_and_the_next_begins() -> None:
    turns = Turns()
    names = crowd(turns, SLOTS + 1, owed=3)
    turns.go_round(0)
    drain(turns, names[0], 1, 2)
    assert turns.go_round(0) == []
    drain(turns, names[0], 3, 3)
    assert turns.go_round(0) == [names[SLOTS]]
    assert not turns.grant(names[0], 1000).wait


def test_a_long_backlog_takes_several_turns() -> None:
    turns = Turns()
    names = crowd(turns, SLOTS + 1)
    turns.go_round(0)
    drain(turns, names[0], 1, TURN_ENVELOPES)
    assert turns.go_round(0) == [names[SLOTS]]
    assert turns.grant(names[0], 1000) == FRESH_ONLY
    drain(turns, names[1], 1, TURN_ENVELOPES)
    assert turns.go_round(0) == [names[0]]


def test_without_anybody_waiting_a_turn_goes_on() -> None:
    turns = Turns()
    (name,) = crowd(turns, 1)
    turns.go_round(0)
    drain(turns, name, 1, 2 * TURN_ENVELOPES)
    assert turns.go_round(0) == []
    assert turns.grant(name, 1) == Grant(MAX_WINDOW)


def test_a_slow_agent_gives_way_and_one_that_has_gone_too() -> None:
    turns = Turns()
    names = crowd(turns, SLOTS + 2)
    turns.go_round(0)
    now = 0.0
    while now < TURN_S:
        now += IDLE_S / 2
        turns.arrived(names[0], names[0], 1 + int(now), now)
        turns.settled(names[0], names[0], 1 + int(now), now, new=True)
    begun = turns.go_round(now + 0.001)
    assert begun[:2] == names[SLOTS:], "the turn of the slow one is over, the others did not use theirs"
    assert begun[2:] == names[:1]
    assert turns.grant(names[1], 1000) == Grant(1), "who said hello and went owes nothing that could be had"


def test_what_waits_for_its_commit_is_no_idleness() -> None:
    """A slow database must not look like agents that have gone."""
    turns = Turns()
    crowd(turns, 1)
    turns.go_round(0)
    turns.arrived("pc-0", "pc-0", 1, 0)
    turns.go_round(10 * IDLE_S)
    turns.settled("pc-0", "pc-0", 1, 10 * IDLE_S, new=True)
    assert turns.grant("pc-0", 1000).window == MAX_WINDOW
    turns.go_round(11 * IDLE_S + 1)
    assert turns.grant("pc-0", 1000).window == 1


def test_fresh_envelopes_alone_are_no_use_of_a_turn() -> None:
    """What was asked for and never comes, such as numbers that are declared lost, holds no turn for ever."""
    turns = Turns()
    crowd(turns, 1, owed=5)
    turns.go_round(0)
    for second in range(1, int(IDLE_S) + 2):
        drain(turns, "pc-0", 5 + second, 5 + second, second)
    turns.go_round(IDLE_S + 1)
    assert turns.grant("pc-0", 1000).window == 1


def test_what_was_left_out_between_two_numbers_is_a_backlog() -> None:
    """An agent that was busy sends its newest first."""
    turns = Turns()
    turns.greeted("pc-0", {"s": 7}, 0)
    turns.settled("pc-0", "s", 8, 0, new=True)
    assert turns.go_round(0) == []
    turns.settled("pc-0", "s", 12, 0, new=True)
    turns.settled("pc-0", "new stream", 1, 0, new=True)
    assert turns.go_round(0) == ["pc-0"]
    assert turns.stream("pc-0") == "new stream"
    for seq in (9, 11, 10):
        turns.settled("pc-0", "s", seq, 0, new=True)
    turns.go_round(0)
    assert turns.grant("pc-0", 1000).window == 1


def test_duplicates_and_refusals_pay_nothing_back() -> None:
    turns = Turns()
    names = crowd(turns, SLOTS + 1, owed=1)
    turns.go_round(0)
    turns.settled(names[0], names[0], 1, 0, new=False)
    assert turns.go_round(0) == []


class Fleet(RuleBasedStateMachine):
    """Agents that come, send, and go as they like."""

    def __init__(self) -> None:
        super().__init__()
        self.turns = Turns(credit=3 * MIN_WINDOW)
        self.lacking: dict[str, set[int]] = {}
        self.made: dict[str, int] = {}
        self.now = 0.0

    def _go_round(self) -> None:
        for agent in self.turns.go_round(self.now):
            assert not self.turns.grant(agent, 10).wait

    @rule(number=st.integers(0, 9), owed=st.integers(0, 300))
    def hello(self, number: int, owed: int) -> None:
        name = f"pc-{number}"
        last = self.made.get(name, 0) + owed
        self.made[name] = last
        self.lacking[name] = self.lacking.get(name, set()) | set(range(last - owed + 1, last + 1))
        self.turns.greeted(name, {name: last}, len(self.lacking[name]))
        self._go_round()

    @precondition(lambda self: self.made)
    @rule(data=st.data(), count=st.integers(1, 200))
    def send(self, data: st.DataObject, count: int) -> None:
        name = data.draw(st.sampled_from(sorted(self.made)))
        if self.turns.grant(name, 10).wait:
            self.made[name] += 1
            seqs = [self.made[name]]
        else:
            seqs = sorted(self.lacking[name])[:count]
        for seq in seqs:
            self.turns.arrived(name, name, seq, self.now)
            self.turns.settled(name, name, seq, self.now, new=True)
            self.lacking[name].discard(seq)
        self._go_round()

    @rule(seconds=st.floats(0, 2 * TURN_S))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        self._go_round()

    @invariant()
    def the_credit_is_never_exceeded(self) -> None:
        grants = [self.turns.grant(name, 1000) for name in self.made]
        assert sum(grant.window for grant in grants if grant.window > 1) <= self.turns.credit
        assert all(grant.window >= 1 for grant in grants)

    def teardown(self) -> None:
        """Everybody who sends what it may has drained in the end."""
        for _ in range(sum(map(len, self.lacking.values())) // TURN_ENVELOPES + 50):
            for name in [name for name in self.lacking if not self.turns.grant(name, 10).wait]:
                for seq in sorted(self.lacking[name])[:TURN_ENVELOPES]:
                    self.turns.arrived(name, name, seq, self.now)
                    self.turns.settled(name, name, seq, self.now, new=True)
                    self.lacking[name].discard(seq)
            self.now += 1
            self._go_round()
        assert not any(self.lacking.values())


TestFleet = Fleet.TestCase
TestFleet.settings = settings(max_examples=50, stateful_step_count=30, deadline=None)
