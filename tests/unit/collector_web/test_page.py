"""The words of the page."""

from __future__ import annotations

import pytest

from boardherd_collector.health import Component
from boardherd_collector.web.page import age, drift, render_sections, used, why
from boardherd_shared.records import Power, Verdict
from support import shown


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-5, "0 s"),
        (0.9, "0 s"),
        (59, "59 s"),
        (60, "1 min"),
        (3599, "59 min"),
        (3600, "1 h"),
        (172_799, "47 h"),
        (172_800, "2 d"),
    ],
)
def test_ages(seconds: float, words: str) -> None:
    assert age(seconds) == words


def test_a_verdict_that_the_collector_doubts_is_explained_by_the_collector() -> None:
    told = shown.board("evm-01", Verdict.SILENT, reason="no answer", text="silent for 2 h: no answer")
    assert why(told) == "no answer"
    doubted = told.model_copy(update={"verdict": Verdict.UNKNOWN, "text": "agent pc-01: silent for 3 min"})
    assert why(doubted) == "agent pc-01: silent for 3 min"


def test_drift_names_what_should_be() -> None:
    assert drift(shown.port("eth-1", 1, Power.OFF, expected="on")) == "should be ON"
    assert drift(shown.port("eth-1", 1, Power.ON, asked=Power.OFF)) == "asked OFF"
    assert drift(shown.port("eth-1", 1, Power.ON)) == ""
    assert drift(shown.port("eth-1", 1).model_copy(update={"state": None})) == ""


def test_use_is_told_in_decimal_units() -> None:
    assert used(shown.sample(), "memory") == "6.4 of 16.0 GB"
    assert used(shown.sample(memory_used=None), "memory") == ""


def test_the_summary_names_what_is_in_trouble() -> None:
    boards = tuple(shown.board(f"evm-{number}", Verdict.SILENT) for number in range(5))
    text = render_sections(shown.fleet(boards=boards), {}, None)
    assert "in trouble: evm-0, evm-1, evm-2 and 2 more" in text
    assert "drifting: eth-1:3, eth-1:5" in text
    assert "offline: pc-02" in text


def test_a_component_that_fails_is_explained() -> None:
    text = render_sections(shown.fleet(), {"store": Component(ok=False, text="the disk is full")}, None)
    assert '<span class="why">the disk is full</span>' in text


def test_times_that_no_calendar_holds_do_no_harm() -> None:
    """SEC-2: an agent may send any number as a time."""
    wild = shown.port("eth-1", 1, switched_at=2**63 - 1, since=2**63 - 1)
    assert "eth-1" in render_sections(shown.fleet(relays=(shown.relay("eth-1", wild),)), {}, None)
