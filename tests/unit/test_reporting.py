"""Reporting: the words that operators read, and what is told on a change."""

from __future__ import annotations

import time

import pytest

from boardherd_agent.reporting import Reporter, describe_board, describe_port
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
)
from boardherd_shared.topics import Topics
from support.clock import FakeClock

SINCE = 1_700_000_000_000_000
AT = time.strftime("%H:%M:%S", time.localtime(SINCE / 1e6))


def port(observed: Power, **more: object) -> RelayRecord:
    values = {"at": 1, "up": 1, "relay": "eth-1", "port": 3, "observed": observed, "since": SINCE}
    return RelayRecord.model_validate(values | more)


def board(verdict: Verdict, reason: str = "") -> BoardRecord:
    return BoardRecord(
        at=1, up=1, board="evm-07", verdict=verdict, blame=Blame.BOARD, reason=reason, since=SINCE
    )


@pytest.mark.parametrize(
    ("record", "text"),
    [
        (port(Power.ON), f"ON since {AT}"),
        (port(Power.ON, asked="on", switched_by="ci"), f"ON since {AT}, asked ON by ci"),
        (port(Power.OFF, asked="on", reason="module rebooted"), f"OFF since {AT}, asked ON; module rebooted"),
        (port(Power.UNKNOWN, reason="no answer"), f"UNKNOWN since {AT}; no answer"),
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
