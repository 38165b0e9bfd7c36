"""Between what is known of who has a board and the columns that keep it, both ways; the same in every dialect."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from boardherd_collector.holdings import Holding, Use, use_status
from boardherd_shared.locks import Lock

BOARD_COLUMNS = (
    "use_status", "lock_id", "lock_owner", "lock_purpose", "lock_deadline", "lock_since", "lock_fenced", "lock_reason",
    "lock_on_behalf_of", "lock_told_at", "error_since", "error_reason", "sdk_version", "last_sdk_update_at", "notes",
    "notes_at", "last_used_at",
)  # fmt: skip
"""Columns of boards that follow from what agents and their users say."""
USE_COLUMNS = (
    "lock_id", "who", "purpose", "started_at", "deadline", "seen_at", "ended_at", "end_reported",
)  # fmt: skip
"""Columns of board_usage, beside the board."""
_PLAIN = (
    "error_since",
    "error_reason",
    "sdk_version",
    "last_sdk_update_at",
    "notes",
    "notes_at",
    "last_used_at",
)


def holding(row: Mapping[str, Any], confirmed_at: int | None, uses: Iterable[Mapping[str, Any]]) -> Holding:
    """Return what a row of boards and rows of board_usage hold; ``confirmed_at`` is when a verdict was last told."""
    lock = None
    if row["lock_id"] is not None:
        lock = Lock(
            id=row["lock_id"],
            owner=row["lock_owner"],
            use=row["lock_purpose"] or "busy",
            fenced=bool(row["lock_fenced"]),
            since=row["lock_since"] or 0,
            until=row["lock_deadline"],
            reason=row["lock_reason"],
            on_behalf_of=row["lock_on_behalf_of"],
        )
    known = (Use(**{**use, "end_reported": bool(use["end_reported"])}) for use in uses)
    return Holding(
        told_at=max(row["lock_told_at"] or 0, confirmed_at or 0),
        lock=lock,
        uses={use.lock_id: use for use in known},
        **{name: row[name] for name in _PLAIN},
    )


def board_values(known: Holding) -> dict[str, Any]:
    """Return the columns of boards."""
    lock = known.lock
    return {
        "use_status": use_status(lock).value,
        "lock_id": lock.id if lock else None,
        "lock_owner": lock.owner if lock else None,
        "lock_purpose": lock.use if lock else None,
        "lock_deadline": lock.until if lock else None,
        "lock_since": lock.since if lock else None,
        "lock_fenced": bool(lock and lock.fenced),
        "lock_reason": lock.reason if lock else None,
        "lock_on_behalf_of": lock.on_behalf_of if lock else None,
        "lock_told_at": known.told_at,
    } | {name: getattr(known, name) for name in _PLAIN}


def use_rows(known: Holding) -> list[dict[str, Any]]:
    """Return rows of board_usage, those that have ended first: no board has two that have not."""
    uses = sorted(known.uses.values(), key=lambda use: use.ended_at is None)
    return [{name: getattr(use, name) for name in USE_COLUMNS} for use in uses]


def changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    """Tell whether there is something to write; that nothing new was told once more is nothing."""
    return any(before[name] != after[name] for name in BOARD_COLUMNS if name != "lock_told_at")
