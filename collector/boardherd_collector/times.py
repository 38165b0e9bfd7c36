"""When something was true: the wall clock of a PC, corrected where it was wrong.

A record carries the wall clock of its PC and the time since boot. The offset between the latter and the
collector's clock is learned once for each boot, so a record that is sent again gets the same time again.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from boardherd_shared.command import CommandStep
from boardherd_shared.records import BoardRecord, EventRecord, HostRecord, RelayRecord, Wiring

SECOND = 1_000_000
TOLERANCE = 5 * SECOND
"""A wall clock this close to the truth is believed: it is finer than the way the offset was learned."""
DELAYED = 60 * SECOND
"""No hello that is said to a live session takes so long to arrive."""
MAX_AGE = 30 * 24 * 3600 * SECOND
"""How long raw records are kept; nothing older is stored."""
MAX_AHEAD = 600 * SECOND
"""Nothing is stored that claims to be further in the future."""

AnyRecord = HostRecord | BoardRecord | RelayRecord | EventRecord


class TimeQuality(StrEnum):
    """What the time of a record rests on."""

    AGENT = "agent"
    """The PC's clock, which agrees with the collector's."""
    CORRECTED = "corrected"
    """The PC's clock was off; offset of the boot plus time since boot."""
    UNVERIFIED = "unverified"
    """The PC's clock, of a boot that never met a collector."""


@dataclass(frozen=True)
class Moment:
    """A time in microseconds since 1970 UTC, and what it rests on."""

    at: int
    quality: TimeQuality


def moment(at: int, up: int, clock: int | None) -> Moment:
    """Return when a record was true.

    Args:
        at: the PC's wall clock, microseconds since 1970 UTC.
        up: time since the PC's boot, microseconds.
        clock: the offset of that boot, None if it is not known.
    """
    if clock is None:
        return Moment(at, TimeQuality.UNVERIFIED)
    if abs(clock + up - at) <= TOLERANCE:
        return Moment(at, TimeQuality.AGENT)
    return Moment(clock + up, TimeQuality.CORRECTED)


def relearned(known: int | None, told: int) -> int:
    """Return the offset of a boot's clock that holds, after a hello told one now.

    Both clocks are those of machines, and ours may have been wrong when the first was learned. A smaller offset
    is a better one: a hello comes late, never early. A larger one must be so by more than any delay.
    """
    if known is None or told < known - TOLERANCE or told > known + DELAYED:
        return told
    return known


def out_of_range(at: int, received_at: int) -> str | None:
    """Return why something of the time ``at`` must not be stored, or None."""
    if at > received_at + MAX_AHEAD:
        return "its time lies more than 10 min in the future"
    if at < received_at - MAX_AGE:
        return "its time lies more than 30 days in the past"
    return None


def shifted(record: AnyRecord, at: int) -> AnyRecord:
    """Return ``record`` with its time set to ``at``, and every other time in it moved by as much.

    A step of a command gets the time of its record: one time, checked once.
    """
    by = at - record.at
    if by == 0 and not isinstance(record, EventRecord):
        return record
    return record.model_copy(update={"at": at, **_inner_times(record, at, by)})


def _inner_times(record: AnyRecord, at: int, by: int) -> dict[str, object]:
    match record:
        case BoardRecord():
            probes = tuple(probe.model_copy(update={"at": _moved(probe.at, by)}) for probe in record.probes)
            return {"since": _moved(record.since, by), "probes": probes, "wiring": _proof(record.wiring, by)}
        case RelayRecord():
            return {
                "since": _moved(record.since, by),
                "switched_at": record.switched_at and _moved(record.switched_at, by),
                "drift_since": record.drift_since and _moved(record.drift_since, by),
                "proved_at": record.proved_at and _moved(record.proved_at, by),
            }
        case EventRecord(command=CommandStep() as step):
            return {"command": step.model_copy(update={"at": at / SECOND})}
        case _:
            return {}


def _proof(wiring: Wiring | None, by: int) -> Wiring | None:
    if wiring is None or wiring.at is None:
        return wiring
    return wiring.model_copy(update={"at": _moved(wiring.at, by)})


def _moved(at: int, by: int) -> int:
    return max(0, at + by)
