"""The journal: what was asked, and how far it got, on disk before any hardware is touched.

It is what makes a command happen at most once: an id that is known is answered from here, and what was under
way at a crash is found here at the next start. Every method may raise JournalAway.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from boardherd_agent.control.control_file import ControlFile, Failed, JournalAway, Values
from boardherd_agent.control.stamp import Stamp
from boardherd_shared.clock import Clock
from boardherd_shared.command import Command, CommandStep, fingerprint
from boardherd_shared.records import Power

__all__ = ["Entry", "Journal", "JournalAway", "PortMemory"]

KEEP_DAYS = 7
KEEP_COMMANDS = 10_000
"""Ids are remembered for a week, and never fewer than this many of them."""

REDELIVERY_US = 10_000_000
"""An identical command without an id, from the same operator within this time, is a redelivery."""

_REPEATS = (
    "operator = ? AND fingerprint = ? AND named = 0"
    " AND ((boot = ? AND intent_up >= ?) OR (boot <> ? AND intent_at BETWEEN ? AND ?))"
)
_INTEND = (
    "INSERT INTO commands"
    " (id, operator, fingerprint, command, named, intent_at, intent_up, boot, last_step, final)"
    " SELECT ?, ?, ?, ?, ?, ?, ?, ?, ?, ? WHERE NOT EXISTS (SELECT 1 FROM commands WHERE {known})"
)
_NOTE = "UPDATE commands SET last_step = ? WHERE id = ?"
_SELECT = "SELECT command, operator, fingerprint, boot, intent_up, intent_at, off_up, off_at, last_step FROM commands"


@dataclass(frozen=True)
class Entry:
    """A journalled command."""

    command: Command
    operator: str
    fingerprint: str
    intent: Stamp
    off: Stamp | None
    """When the board of a cycle went off; None if it has not."""
    last_step: CommandStep


@dataclass(frozen=True)
class PortMemory:
    """What outlives the process of a relay port."""

    asked: Power
    switch_count: int
    switched_at: int | None
    switched_by: str | None


class Journal:
    """The commands and the ports in the control file."""

    def __init__(self, file: ControlFile, clock: Clock) -> None:
        """Keep the journal in ``file``."""
        self._file = file
        self._clock = clock

    async def find(self, command_id: str) -> Entry | None:
        """Return what is known of a command id."""
        return await self._one("WHERE id = ?", (command_id,))

    async def find_repeat(self, operator: str, command: Command) -> Entry | None:
        """Return the command without an id that ``command`` repeats, if there is one."""
        values = self._repeat(operator, fingerprint(command))
        return await self._one(f"WHERE {_REPEATS} ORDER BY rowid DESC LIMIT 1", values)

    def _repeat(self, operator: str, print_: str) -> Values:
        """Return the values of ``_REPEATS``: the wall clock may be set in between, and counts over a reboot only."""
        boot, up, wall = self._clock.boot, self._clock.up(), self._clock.wall()
        return operator, print_, boot, up - REDELIVERY_US, boot, wall - REDELIVERY_US, wall

    async def unfinished(self) -> list[Entry]:
        """Return the commands whose end has not been told: after a start, what a crash interrupted."""
        rows = await self._file.rows(f"{_SELECT} WHERE final = 0 ORDER BY intent_at")
        return [_entry(row) for row in rows]

    async def intend(self, command: Command, step: CommandStep, *, named: bool) -> bool:
        """Write down that ``command`` will be carried out; nothing may be touched before this returns True.

        False, and nothing is written, if it is known: the id, or without one the same command a moment ago.
        """
        print_ = fingerprint(command)
        values = (
            step.id,
            step.operator,
            print_,
            command.model_dump_json(exclude_none=True),
            named,
            self._clock.wall(),
            self._clock.up(),
            self._clock.boot,
            step.model_dump_json(exclude_none=True),
            step.final,
        )
        if named:
            written = await self._file.write(_INTEND.format(known="id = ?"), (*values, step.id))
        else:
            repeated = self._repeat(step.operator, print_)
            written = await self._file.write(_INTEND.format(known=_REPEATS), values + repeated)
        return written == 1

    async def note(self, step: CommandStep) -> None:
        """Write down a step of a command that was intended before; a final one is told again until :meth:`close`."""
        await self._file.jot(_NOTE, _noted(step))

    def note_later(self, step: CommandStep, failed: Failed) -> None:
        """Have :meth:`note` done without waiting; whoever looks for the command from now on finds the step."""
        self._file.jot_later(_NOTE, _noted(step), failed)

    async def note_off(self, step: CommandStep) -> None:
        """Write down a step, and that the board of a cycle is off since now."""
        await self._file.write(
            "UPDATE commands SET last_step = ?, off_up = ?, off_at = ? WHERE id = ?",
            (step.model_dump_json(exclude_none=True), self._clock.up(), self._clock.wall(), step.id),
        )

    async def close(self, command_ids: Iterable[str]) -> None:
        """Note that the final steps of these commands have been told, and need not be after a crash."""
        ids = json.dumps(list(command_ids))
        await self._file.jot(
            "UPDATE commands SET final = 1 WHERE id IN (SELECT value FROM json_each(?))", (ids,)
        )

    async def prune(self) -> None:
        """Forget finished commands that are older than a week, beyond the newest ten thousand."""
        before = self._clock.wall() - KEEP_DAYS * 86_400_000_000
        await self._file.write(
            "DELETE FROM commands WHERE final = 1 AND intent_at < ? AND id NOT IN"
            " (SELECT id FROM commands ORDER BY intent_at DESC LIMIT ?)",
            (before, KEEP_COMMANDS),
        )

    async def remember_port(self, relay: str, port: int, memory: PortMemory) -> None:
        """Keep what was asked of a port, and how often it was switched."""
        await self._file.jot(
            "INSERT OR REPLACE INTO ports VALUES (?, ?, ?, ?, ?, ?)",
            (relay, port, memory.asked, memory.switch_count, memory.switched_at, memory.switched_by),
        )

    async def ports(self) -> dict[tuple[str, int], PortMemory]:
        """Return what is remembered of each port, by relay and number."""
        rows = await self._file.rows(
            "SELECT relay, port, asked, switch_count, switched_at, switched_by FROM ports"
        )
        return {(relay, port): PortMemory(Power(asked), *rest) for relay, port, asked, *rest in rows}

    async def _one(self, where: str, values: tuple[object, ...]) -> Entry | None:
        rows = await self._file.rows(f"{_SELECT} {where}", values)
        return _entry(rows[0]) if rows else None


def _noted(step: CommandStep) -> Values:
    return step.model_dump_json(exclude_none=True), step.id


def _entry(row: tuple[Any, ...]) -> Entry:
    command, operator, print_, boot, intent_up, intent_at, off_up, off_at, last_step = row
    return Entry(
        command=Command.model_validate_json(command),
        operator=operator,
        fingerprint=print_,
        intent=Stamp(boot, intent_up, intent_at),
        off=None if off_up is None else Stamp(boot, off_up, off_at),
        last_step=CommandStep.model_validate_json(last_step),
    )
