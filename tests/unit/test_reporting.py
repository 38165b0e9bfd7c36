"""Reporting: the words that operators read, and what is told on a change."""

from __future__ import annotations

import time

import pytest

from boardherd_agent.reporting import Reporter, describe_board, describe_port
from boardherd_shared.locks import Lock
from boardherd_shared.messages import PortState, decode
from boardherd_shared.records import (
    Blame,
    BoardRecord,
    BootTimes,
    EventRecord,
    Power,
    Record,
    RelayRecord,
    Verdict,
    Wiring,
)
from boardherd_shared.topics import Topics
from support.clock import FakeClock

AN_HOUR = 3_600_000_000
SINCE = 1_700_000_000_000_000
AT = time.strftime("%H:%M:%S", time.localtime(SINCE / 1e6))


def port(observed: Power, **more: object) -> RelayRecord:
    values = {
        "at": SINCE,
        "up": 1_000_000_000,
        "relay": "eth-1",
        "port": 3,
        "observed": observed,
        "since": SINCE,
    }
    return RelayRecord.model_validate(values | more)


def board(verdict: Verdict, reason: str = "") -> BoardRecord:
    return BoardRecord(
        at=SINCE,
        up=1_000_000_000,
        board="evm-07",
        verdict=verdict,
        blame=Blame.BOARD,
        reason=reason,
        since=SINCE,
    )


@pytest.mark.parametrize(
    ("record", "text"),
    [
        (port(Power.ON), f"ON since {AT}"),
        (port(Power.ON, asked="on", switched_by="ci"), f"ON since {AT}, asked ON by ci"),
        (port(Power.OFF, asked="on", reason="module rebooted"), f"OFF since {AT}, asked ON; module rebooted"),
        (port(Power.UNKNOWN, reason="no answer"), f"UNKNOWN since {AT}; no answer"),
        (port(Power.OFF, expected="on", drift_since=SINCE), f"OFF since {AT}, should be ON"),
        (port(Power.OFF, expected="on"), f"OFF since {AT}"),
        (port(Power.ON, watts=11.46), f"ON since {AT}, 11.5 W"),
        (port(Power.OFF, line="reset"), f"line reset: OFF since {AT}"),
    ],
)
def test_a_port_in_words(record: RelayRecord, text: str) -> None:
    assert describe_port(record) == text


def test_a_board_in_words() -> None:
    assert (
        describe_board(board(Verdict.POWERED_OFF, "its relay is off"))
        == f"powered off since {AT}: its relay is off"
    )


class Ears:
    """Keeps what is told."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.retained: dict[str, bytes | None] = {}
        self.reporter = Reporter(
            "pc-01", Topics("lab"), FakeClock(), put=self.records.append, retain=self.retained.__setitem__
        )

    @property
    def events(self) -> list[str]:
        return [record.text for record in self.records if isinstance(record, EventRecord)]


def test_a_change_is_recorded_retained_and_an_event_but_the_first_state_is_none() -> None:
    ears = Ears()
    ears.reporter.port(port(Power.ON))
    assert ears.events == []
    ears.reporter.port(port(Power.OFF, reason="switched from outside"))
    assert ears.events == ["eth-1:3 went from ON to OFF (switched from outside)"]
    state = ears.retained["boardherd/v1/lab/pc-01/state/relay/eth-1/3"]
    assert state is not None
    assert decode(PortState, state).record.observed is Power.OFF


def test_a_verdict_that_only_changes_its_reason_is_no_event() -> None:
    ears = Ears()
    for verdict, reason in ((Verdict.ALIVE, "a"), (Verdict.ALIVE, "b"), (Verdict.SILENT, "no answer")):
        ears.reporter.board(board(verdict, reason))
    assert ears.events == ["evm-07 is silent (was alive): no answer"]
    assert len(ears.records) == 4


def test_a_board_carries_who_holds_it_and_why_it_is_taken_out_of_use() -> None:
    ears = Ears()
    ears.reporter.board(board(Verdict.SILENT))
    held = Lock(id="1" * 32, owner="ci", since=SINCE, until=SINCE + AN_HOUR)
    ears.reporter.lock_of = lambda _: held
    ears.reporter.fault_of = lambda name: f"{name} was cycled too often"
    ears.reporter.refresh_now([], [board(Verdict.SILENT)])
    first, last = (record for record in ears.records if isinstance(record, BoardRecord))
    assert (first.lock, first.fault) == (None, None)
    assert (last.lock, last.fault) == (held, "evm-07 was cycled too often")


def test_a_board_and_its_feeds_carry_what_is_known_of_the_wiring() -> None:
    """A line says nothing of the wiring of the power, and a suspicion proves nothing."""
    ears = Ears()
    proved = Wiring(state="proved", at=SINCE, text="fell silent")
    known = {"evm-07": proved, "evm-08": Wiring(state="suspect", at=SINCE, text="mixed up")}
    ears.reporter.wiring_of = known.get
    ears.reporter.board(board(Verdict.ALIVE))
    ears.reporter.port(port(Power.ON, board="evm-07"))
    ears.reporter.port(port(Power.ON, board="evm-07", line="reset"))
    ears.reporter.refresh_now([port(Power.ON, board="evm-08"), port(Power.ON)], [])
    told, *ports = ears.records
    assert isinstance(told, BoardRecord)
    assert told.wiring == proved
    assert [it.proved_at for it in ports if isinstance(it, RelayRecord)] == [SINCE, None, None, None]


def test_a_boot_names_what_was_seen() -> None:
    ears = Ears()
    ears.reporter.boot("evm-07", BootTimes(console_s=0.4, ssh_s=19.8))
    ears.reporter.boot("evm-08", BootTimes())
    assert ears.events == [
        "evm-07 booted: console 0.4 s, ssh 19.8 s",
        "evm-08 booted: nothing was seen of it",
    ]


def test_words_of_the_world_fit_into_a_record() -> None:
    ears = Ears()
    ears.reporter.event("fault", "agent", "a\x00b\n" + "x" * 1000)
    assert ears.events[0].startswith("a b xxx")
    assert len(ears.events[0]) == 500


@pytest.mark.parametrize("wrong", [0, SINCE + 2_000_000_000_000_000, SINCE - AN_HOUR])
def test_a_wall_clock_that_is_set_does_not_move_the_beginning_of_a_state(wrong: int) -> None:
    """A state that began while the clock was wrong is told with the right time once the clock is right."""
    clock = FakeClock(wall=wrong)
    told: list[Record] = []
    reporter = Reporter("pc-01", Topics("lab"), clock, put=told.append, retain=lambda _topic, _payload: None)
    since = clock.wall()

    def port_now() -> RelayRecord:
        return port(Power.ON, at=clock.wall(), up=clock.up(), since=since, drift_since=since)

    def board_now() -> BoardRecord:
        return board(Verdict.ALIVE).model_copy(update={"at": clock.wall(), "up": clock.up(), "since": since})

    reporter.port(port_now())
    reporter.board(board_now())
    clock.advance(120)
    clock.set_wall(SINCE)
    reporter.port(port_now())
    reporter.board(board_now())
    beginnings = [record.since for record in told if isinstance(record, RelayRecord | BoardRecord)]
    assert beginnings == [wrong, wrong, SINCE - 120_000_000, SINCE - 120_000_000]
    drifts = [record.drift_since for record in told if isinstance(record, RelayRecord)]
    assert drifts == [wrong, SINCE - 120_000_000]


def test_a_state_told_for_the_first_time_after_the_clock_was_set() -> None:
    clock = FakeClock(wall=1000)
    told: list[Record] = []
    reporter = Reporter("pc-01", Topics("lab"), clock, put=told.append, retain=lambda _topic, _payload: None)
    clock.advance(30)
    clock.set_wall(SINCE)
    reporter.port(port(Power.ON, at=SINCE, up=clock.up(), since=5000))
    assert isinstance(told[0], RelayRecord)
    assert SINCE - 30_000_000 <= told[0].since <= SINCE


def test_the_last_words_of_a_board_go_with_the_event_of_its_falling() -> None:
    records: list[Record] = []
    reporter = Reporter("pc-01", Topics("lab"), FakeClock(), put=records.append, retain=lambda *_: None)
    reporter.words_of = lambda board: (f"{board} login: root", "Kernel panic - not syncing: VFS")
    for verdict in (Verdict.ALIVE, Verdict.SILENT, Verdict.ALIVE, Verdict.DEGRADED, Verdict.POWERED_OFF):
        reporter.board(board(verdict))
    said = ("evm-07 login: root", "Kernel panic - not syncing: VFS")
    assert [it.words for it in records if isinstance(it, EventRecord)] == [said, None, said, None]
    reporter.words_of = lambda _: ()
    reporter.board(board(Verdict.SILENT))
    assert isinstance(records[-1], EventRecord)
    assert records[-1].words is None, "nothing was said, or nobody listened"
