"""Rows of the past of ports and boards, from what every store holds of them. Pure."""

from __future__ import annotations

from boardherd_collector.stores.answers import PortStateRow, UsageRow
from boardherd_collector.times import SECOND
from boardherd_shared.records import Power

PORT_COLUMNS = (
    "timestamp", "port", "observed", "asked", "expected", "drift", "since", "switched_at", "switched_by", "reason",
    "change",
)  # fmt: skip
"""Of relay_states, in the order of the arguments of :func:`port_row` from the third."""
USAGE_COLUMNS = ("who", "purpose", "started_at", "ended_at", "deadline", "end_reported")
"""Of board_usage, in the order of the arguments of :func:`usage_row` from the second."""


def port_row(
    pc: str,
    relay: str,
    timestamp: int,
    port: int,
    observed: str,
    asked: str,
    expected: str,
    drift: bool | int,
    since: int,
    switched_at: int | None,
    switched_by: str | None,
    reason: str,
    change: bool | int,
) -> PortStateRow:
    """Return an entry of the history of a port; times are given in microseconds."""
    return PortStateRow(
        timestamp=timestamp / SECOND,
        relay=relay,
        port=port,
        pc=pc,
        observed=Power(observed),
        asked=Power(asked),
        expected=expected,
        drift=bool(drift),
        since=since / SECOND,
        switched_at=None if switched_at is None else switched_at / SECOND,
        switched_by=switched_by,
        reason=reason,
        change=bool(change),
    )


def usage_row(
    now: int,
    board: str,
    who: str,
    purpose: str,
    started_at: int,
    ended_at: int | None,
    deadline: int | None,
    end_reported: bool | int,
) -> UsageRow:
    """Return a use as it is known at ``now``: without a word of its end, it ended with its deadline."""
    if deadline is not None and ended_at is None and deadline <= now:
        ended_at = deadline
    return UsageRow(
        board=board,
        who=who,
        purpose=purpose,
        started_at=started_at / SECOND,
        ended_at=None if ended_at is None else ended_at / SECOND,
        deadline=None if deadline is None else deadline / SECOND,
        end_reported=bool(end_reported),
    )
