"""When something was true."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from boardherd_collector.times import (
    MAX_AGE,
    MAX_AHEAD,
    TOLERANCE,
    TimeQuality,
    moment,
    out_of_range,
    shifted,
)
from boardherd_shared.command import State
from boardherd_shared.records import ProbeResult
from support.telemetry import BOOTED, NOW, SECOND, board, host, step

micros = st.integers(0, 2**62)


@given(micros, micros, micros | st.none())
def test_a_corrected_time_is_never_far_from_the_truth_that_is_known(
    at: int, up: int, clock: int | None
) -> None:
    found = moment(at, up, clock)
    if clock is None:
        assert (found.at, found.quality) == (at, TimeQuality.UNVERIFIED)
    else:
        assert abs(found.at - (clock + up)) <= TOLERANCE
        assert (found.at == at) or found.quality is TimeQuality.CORRECTED


def test_the_limits_of_what_is_stored() -> None:
    assert out_of_range(NOW - MAX_AGE, NOW) is None
    assert out_of_range(NOW + MAX_AHEAD, NOW) is None
    assert "30 days in the past" in (out_of_range(NOW - MAX_AGE - 1, NOW) or "")
    assert "10 min in the future" in (out_of_range(NOW + MAX_AHEAD + 1, NOW) or "")


def test_all_times_of_a_record_move_together() -> None:
    probe = ProbeResult(probe="ping", answer="yes", at=NOW - 2 * SECOND)
    record = board(NOW, probes=(probe,)).model_copy(update={"since": NOW - 9 * SECOND})
    moved = shifted(record, NOW + SECOND)
    assert (moved.at, moved.since, moved.probes[0].at) == (NOW + SECOND, NOW - 8 * SECOND, NOW - SECOND)  # type: ignore[union-attr]
    assert shifted(record, BOOTED).at == BOOTED
    assert shifted(host(), NOW) == host()


def test_a_step_has_the_time_of_its_record() -> None:
    record = step(State.ACCEPTED)
    assert record.command is not None
    odd = record.model_copy(update={"command": record.command.model_copy(update={"at": 1e300})})
    assert shifted(odd, NOW).command.at == NOW / SECOND  # type: ignore[union-attr]
