"""The simulated agent keeps the contract of delivery, whatever it is told."""

from __future__ import annotations

from boardherd.rack.fleet_agent import ANSWER_WITHIN_S, RESEND_AFTER_S, FleetClock, SimulatedAgent
from boardherd.rack.fleet_telemetry import SimulatedPc
from boardherd_shared.messages import Ack, Envelope, RefusedEnvelope, Resume, decode, digest, encode

SESSION = "5" * 16
BACKLOG = 10


class Bench:
    """One agent without boards, a clock by hand, and a collector's words."""

    def __init__(self, backlog: int = BACKLOG, window: int | None = 2) -> None:
        self.now = 10_000.0
        clock = FleetClock(lambda: self.now, wall=1_800_000_000.0)
        self.agent = SimulatedAgent(SimulatedPc(1, 0), clock, interval_s=10.0, backlog_s=backlog * 10.0)
        for place in reversed(range(backlog)):
            self.agent.measure(self.now - place * 10.0, live=False)
        self.agent.connect(SESSION)
        self.hello = self.agent.hello(self.now)
        if window is not None:
            self.resume(window)

    def resume(
        self,
        window: int = 2,
        session: str = SESSION,
        missing: tuple[tuple[int, int], ...] = (),
        *,
        wait: bool = False,
    ) -> None:
        lacking = {self.agent.stream: missing or ((1, 10**6),)}
        body = Resume(v=1, session=session, missing=lacking, window=window, wait=wait, server_time=0.0)
        self.agent.on_resume(encode(body), self.now)

    def ack(
        self, *ranges: tuple[int, int], stream: str | None = None, window: int = 2, wait: bool = False
    ) -> None:
        stream = stream or self.agent.stream
        body = Ack(v=1, stream=stream, committed=ranges, window=window, wait=wait, server_time=0.0)
        self.agent.on_ack(encode(body), self.now)

    def send(self) -> list[int]:
        """Return the numbers that the agent sends now."""
        sent = []
        while payload := self.agent.next_payload(self.now):
            sent.append(decode(Envelope, payload).seq)
        return sent


def test_nothing_is_sent_before_the_answer_to_this_very_hello() -> None:
    bench = Bench(window=None)
    assert bench.send() == []
    bench.resume(session="6" * 16)
    assert bench.send() == []
    bench.resume()
    assert bench.send() == [BACKLOG, 1]


def test_hello_names_what_is_retained() -> None:
    bench = Bench()
    assert bench.hello.streams[0].retained == ((1, BACKLOG),)
    bench.send()
    bench.ack((1, 1))
    bench.ack((BACKLOG, BACKLOG))
    assert bench.agent.hello(bench.now).streams[0].retained == ((2, BACKLOG - 1),)
    assert bench.agent.hello(bench.now).streams[0].last == BACKLOG


def test_while_the_backlog_waits_only_what_is_new_is_sent() -> None:
    """DEL-5."""
    bench = Bench(window=None)
    bench.resume(1, wait=True)
    sent = []
    for _ in range(BACKLOG):
        now = bench.send()
        sent += now
        bench.ack(*((seq, seq) for seq in now), wait=True)
    assert sent == [10, 9, 8]
    bench.agent.measure(bench.now)
    bench.agent.measure(bench.now)
    assert bench.send() == [12]
    bench.ack((12, 12), wait=True)
    assert bench.send() == [11]
    bench.ack((11, 11), window=3)
    assert bench.send() == [7, 1, 2]


def test_the_newest_has_a_slot_of_its_own_and_the_rest_goes_oldest_first() -> None:
    """DEL-5."""
    bench = Bench(window=3)
    assert bench.send() == [10, 1, 2]
    bench.ack((1, 2), window=3)
    assert bench.send() == [3, 4]
    bench.ack((10, 10), window=3)
    bench.agent.measure(bench.now)
    assert bench.send() == [11]


def test_a_window_of_one_is_shared_in_turns() -> None:
    bench = Bench(window=1)
    order = []
    for _ in range(4):
        sent = bench.send()
        order += sent
        bench.ack((sent[0], sent[0]), window=1)
    assert order == [10, 1, 9, 2]


def test_only_what_was_sent_can_be_acknowledged() -> None:
    bench = Bench()
    bench.send()
    bench.ack((2, 9))
    bench.ack((1, 2**62), stream="b" * 32)
    bench.ack((11, 2**62))
    for garbage in (b"", b"\xff", b"[]", b'{"v":2}'):
        bench.agent.on_ack(garbage, bench.now)
        bench.agent.on_resume(garbage, bench.now)
    assert len(bench.agent.pending) == BACKLOG
    assert (bench.agent.tally.strange, bench.agent.tally.garbled) == (3, 8)
    bench.ack((1, 2**62))
    assert sorted(bench.agent.pending) == list(range(2, BACKLOG))


def test_a_second_acknowledgement_counts_as_a_duplicate() -> None:
    bench = Bench()
    bench.send()
    bench.ack((1, 1))
    bench.ack((1, 1))
    assert bench.agent.tally.acknowledged == 1
    assert bench.agent.tally.duplicates == 1
    assert bench.agent.tally.strange == 0


def test_what_stays_unanswered_is_sent_again_with_the_same_bytes() -> None:
    bench = Bench(backlog=1, window=1)
    first = bench.agent.next_payload(bench.now)
    bench.now += RESEND_AFTER_S - 0.1
    assert not bench.agent.is_overdue(bench.now)
    bench.now += 0.2
    assert bench.agent.is_overdue(bench.now)
    assert bench.agent.next_payload(bench.now) == first
    assert bench.agent.next_payload(bench.now) is None
    assert (bench.agent.tally.sent, bench.agent.tally.resent) == (1, 1)


def test_after_a_new_session_everything_pending_goes_again_but_what_the_database_has() -> None:
    bench = Bench()
    assert bench.send() == [10, 1]
    bench.agent.connect("7" * 16)
    bench.agent.hello(bench.now)
    bench.resume(session="7" * 16, missing=((2, 10),))
    assert 1 not in bench.agent.pending
    assert bench.send() == [10, 2]


def test_what_was_never_sent_is_kept_even_if_a_resume_does_not_ask_for_it() -> None:
    bench = Bench(window=None)
    bench.resume(missing=((5, 5),))
    assert len(bench.agent.pending) == BACKLOG


def test_a_refusal_counts_only_with_the_right_digest() -> None:
    bench = Bench()
    bench.send()
    for fingerprint in ("0" * 64, digest(bench.agent.pending[1].payload)):
        refused = RefusedEnvelope(seq=1, digest=fingerprint, code="conflict", text="taken")
        body = Ack(v=1, stream=bench.agent.stream, refused=(refused,), window=2, server_time=0.0)
        bench.agent.on_ack(encode(body), bench.now)
    assert bench.agent.tally.refused == {1: "conflict: taken"}
    assert bench.agent.tally.strange == 1
    assert 1 not in bench.agent.acknowledged()


def test_freshness_is_measured_from_resume_to_the_first_new_data() -> None:
    bench = Bench(window=3)
    bench.send()
    bench.now += 2.0
    bench.ack((1, 1))
    assert bench.agent.tally.fresh_s == []
    bench.now += 1.0
    bench.ack((10, 10))
    assert bench.agent.tally.fresh_s == [3.0]


def test_a_hello_is_said_again_only_while_nobody_answers() -> None:
    bench = Bench(window=None)
    assert not bench.agent.should_repeat_hello(bench.now + ANSWER_WITHIN_S)
    assert bench.agent.should_repeat_hello(bench.now + ANSWER_WITHIN_S + 1)
    bench.resume()
    assert not bench.agent.should_repeat_hello(bench.now + ANSWER_WITHIN_S + 1)
