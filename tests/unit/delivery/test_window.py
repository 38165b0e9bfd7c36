"""The sending window, by examples and against every order of events that hypothesis can think of."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from boardherd_agent.delivery.envelopes import Key
from boardherd_agent.delivery.window import MAX_STRIKES, PRESENT, RESEND_AFTER_S, Window


def key(seq: int) -> Key:
    return Key("s", seq)


def test_one_slot_is_for_the_newest_and_the_others_for_the_backlog() -> None:
    window = Window()
    window.grant(4)
    assert window.lane() == "newest"
    window.sent(key(9), "newest", 0)
    assert window.lane() == "backlog"
    for seq in (1, 2, 3):
        window.sent(key(seq), "backlog", 0)
    assert window.lane() is None
    window.acknowledged([key(9)], 1)
    assert window.lane() == "newest"


def test_while_the_backlog_waits_only_what_is_new_goes_one_at_a_time() -> None:
    """DEL-5: fresh data flows, whatever the backlogs of others take."""
    window = Window()
    window.begin({"s": 50})
    window.grant(1, wait=True)
    assert [window.admits(key(seq)) for seq in (1, 50 - PRESENT, 51 - PRESENT, 50, 51)] == [
        False,
        False,
        True,
        True,
        True,
    ]
    assert window.admits(Key("a stream begun since", 1))
    assert window.lane() == "newest"
    window.sent(key(51), "newest", 0)
    assert window.lane() is None
    window.acknowledged([key(51)], 1)
    assert window.lane() == "newest"


def test_having_to_wait_calls_nothing_back_and_frees_the_slot_of_the_newest() -> None:
    window = Window()
    window.begin({"s": 50})
    window.grant(3)
    for seq, lane in ((50, "newest"), (1, "backlog"), (2, "backlog")):
        window.sent(key(seq), lane, 0)  # type: ignore[arg-type]
    window.grant(1, wait=True)
    assert len(window.flying) == 3
    assert window.overdue(RESEND_AFTER_S) == key(50)
    window.acknowledged([key(50)], 1)
    assert window.lane() == "newest"
    window.grant(3)
    assert window.admits(key(3))


def test_with_a_window_of_one_they_take_turns() -> None:
    window = Window()
    lanes = []
    for seq in range(4):
        lane = window.lane()
        assert lane
        lanes.append(lane)
        window.sent(key(seq), lane, 0)
        assert window.lane() is None
        window.acknowledged([key(seq)], 0)
    assert lanes == ["newest", "backlog", "newest", "backlog"]


def test_resending_waits_longer_when_answers_usually_take_longer() -> None:
    window = Window()
    window.grant(100)
    assert window.resend_after == RESEND_AFTER_S
    for seq in range(50):
        window.sent(key(seq), "backlog", 0)
        window.acknowledged([key(seq)], 3.0)
    assert 11 < window.resend_after <= 12
    window.sent(key(99), "backlog", 100)
    assert window.overdue(100 + window.resend_after - 0.1) is None
    assert window.overdue(100 + window.resend_after) == key(99)
    assert window.deadline() == 100 + window.resend_after


def test_an_answer_to_a_repeated_envelope_does_not_count_as_fast() -> None:
    window = Window()
    window.sent(key(1), "backlog", 0)
    window.resent(key(1), 100)
    window.acknowledged([key(1)], 100.001)
    assert window.resend_after == RESEND_AFTER_S


def test_an_envelope_is_given_up_when_only_it_has_no_answer() -> None:
    window = Window()
    window.grant(2)
    window.sent(key(1), "backlog", 0)
    sends = 1
    while not window.hopeless(key(1)):
        window.sent(key(1000 + sends), "newest", 0)
        window.acknowledged([key(1000 + sends)], 0)
        if not window.hopeless(key(1)):
            window.resent(key(1), 0)
            sends += 1
    assert sends == MAX_STRIKES


def test_nothing_is_given_up_while_nobody_has_an_answer() -> None:
    window = Window()
    window.grant(2)
    window.sent(key(1), "backlog", 0)
    window.sent(key(2), "newest", 0)
    for again in range(1000):
        window.resent(key(1), again)
        window.resent(key(2), again)
    assert not window.hopeless(key(1))


class Sending(RuleBasedStateMachine):
    """A spool that is a set of numbers, a collector that answers when it likes."""

    def __init__(self) -> None:
        super().__init__()
        self.window = Window()
        self.granted = 1
        self.wait = False
        self.old = 0
        self.pending: set[int] = set()
        self.acknowledged: set[int] = set()
        self.on_the_wire: list[int] = []
        self.made = 0
        self.now = 0.0

    @rule(count=st.integers(1, 5))
    def append(self, count: int) -> None:
        self.pending |= set(range(self.made + 1, self.made + count + 1))
        self.made += count

    @rule(size=st.integers(1, 6), wait=st.booleans())
    def grant(self, size: int, wait: bool) -> None:
        self.granted, self.wait = size, wait
        self.window.grant(size, wait=wait)

    @rule()
    def send(self) -> None:
        late = self.window.overdue(self.now)
        if late:
            self.window.resent(late, self.now)
            self._put(late.seq)
            return
        before = len(self.window.flying)
        lane = self.window.lane()
        free = sorted(self.pending - {k.seq for k in self.window.flying})
        if lane and free:
            seq = free[-1] if lane == "newest" else free[0]
            if not self.window.admits(key(seq)):
                return
            if self.wait:
                assert seq > self.old - PRESENT, "the backlog has to wait"
                assert lane == "newest"
            else:
                assert before < self.granted
            self.window.sent(key(seq), lane, self.now)
            self._put(seq)

    def _put(self, seq: int) -> None:
        assert seq not in self.acknowledged, "sent what was acknowledged"
        self.on_the_wire.append(seq)

    @precondition(lambda self: self.on_the_wire)
    @rule(data=st.data(), lost=st.booleans())
    def arrive(self, data: st.DataObject, lost: bool) -> None:
        seq = self.on_the_wire.pop(data.draw(st.integers(0, len(self.on_the_wire) - 1)))
        if not lost:
            self.pending.discard(seq)
            self.acknowledged.add(seq)
            self.window.acknowledged([key(seq)], self.now)

    @rule(seconds=st.floats(0, 30))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def reconnect(self) -> None:
        self.window.reset()
        self.window.begin({"s": self.made})
        self.granted, self.wait, self.old = 1, False, self.made
        self.on_the_wire.clear()

    @invariant()
    def what_flies_is_not_acknowledged(self) -> None:
        assert not {k.seq for k in self.window.flying} & self.acknowledged

    def teardown(self) -> None:
        """DEL-1: with a collector that answers and gives a turn, everything is sent in the end."""
        self.grant(1, wait=False)
        for _ in range(20 * (self.made + 1)):
            self.now += self.window.resend_after
            self.send()
            for seq in self.on_the_wire:
                self.pending.discard(seq)
                self.acknowledged.add(seq)
                self.window.acknowledged([key(seq)], self.now)
            self.on_the_wire.clear()
        assert not self.pending


TestSending = Sending.TestCase
TestSending.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
