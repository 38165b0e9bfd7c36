"""Who has which board, as PostgreSQL keeps it: read for all boards of a group at once, written after."""

# ruff: noqa: S608 - every name in these statements is a literal of this program

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from boardherd_collector.holdings import Holding
from boardherd_collector.stores.holding_rows import (
    BOARD_COLUMNS,
    USE_COLUMNS,
    board_values,
    changed,
    holding,
    use_rows,
)
from boardherd_collector.stores.postgres import Db

_BOARDS = (
    f"SELECT boards.number, least(current.timestamp, current.received_at) AS confirmed_at, {', '.join(BOARD_COLUMNS)}"
    " FROM boards LEFT JOIN board_current AS current ON current.board = boards.number WHERE boards.number = ANY($1)"
)
_USES = (
    f"SELECT board, {', '.join(USE_COLUMNS)} FROM board_usage"
    " WHERE board = ANY($1) AND lock_id IS NOT NULL AND (ended_at IS NULL OR lock_id = ANY($2))"
)
_SET_BOARD = (
    "UPDATE boards SET "
    + ", ".join(f"{name} = ${place}" for place, name in enumerate(BOARD_COLUMNS, 2))
    + " WHERE number = $1"
)
_PUT_USE = (
    f"INSERT INTO board_usage (board, {', '.join(USE_COLUMNS)})"
    f" VALUES ($1, {', '.join(f'${place}' for place in range(2, len(USE_COLUMNS) + 2))})"
    " ON CONFLICT (board, lock_id) DO UPDATE SET "
    + ", ".join(f"{name} = excluded.{name}" for name in USE_COLUMNS if name != "lock_id")
)


@dataclass
class Holdings:
    """What is known of some boards, by number, and what the database has of it."""

    known: dict[int, Holding]
    _boards: Mapping[int, Mapping[str, Any]]
    _uses: Mapping[int, list[dict[str, Any]]]

    @classmethod
    async def read(cls, db: Db, boards: Collection[int], lock_ids: Collection[str]) -> Holdings:
        """Read what is known of ``boards``, and of the locks that words are about."""
        rows = await db.fetch(_BOARDS, sorted(boards)) if boards else []
        uses: dict[int, list[dict[str, Any]]] = {}
        if lock_ids or any(row["lock_id"] is not None for row in rows):
            for use in await db.fetch(_USES, sorted(boards), sorted(lock_ids)):
                uses.setdefault(use["board"], []).append({name: use[name] for name in USE_COLUMNS})
        known = {
            row["number"]: holding(dict(row.items()), row["confirmed_at"], uses.get(row["number"], ()))
            for row in rows
        }
        return cls(known, {number: board_values(each) for number, each in known.items()}, uses)

    async def write(self, db: Db) -> None:
        """Keep what became of them."""
        after = {number: board_values(each) for number, each in sorted(self.known.items())}
        await db.executemany(
            _SET_BOARD,
            [
                (number, *(values[name] for name in BOARD_COLUMNS))
                for number, values in after.items()
                if self._is_news(number, values)
            ],
        )
        await db.executemany(_PUT_USE, [(number, *use) for number in after for use in self._new_uses(number)])

    def _is_news(self, number: int, values: Mapping[str, Any]) -> bool:
        before = self._boards[number]
        told = self.known[number].uses and before["lock_told_at"] != values["lock_told_at"]
        return bool(told) or changed(before, values)

    def _new_uses(self, number: int) -> Iterable[tuple[object, ...]]:
        before = self._uses.get(number, [])
        return [tuple(use.values()) for use in use_rows(self.known[number]) if use not in before]
