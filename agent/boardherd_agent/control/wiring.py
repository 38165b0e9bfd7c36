"""The book of the wiring: which boards have proved to hang on their ports, and which are suspect.

Kept in the control file, so that a suspicion outlives a restart. Other ports in lab.toml, or a lost control file,
make a board unproved again. A suspect board gets no power until a person accepts it, a later proof clears it, or
somebody insists with force and a reason; switching off is never refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

import structlog
from pydantic import BaseModel, ConfigDict

from boardherd_agent.control.control_file import ControlFile, JournalAway
from boardherd_agent.control.refusal import Refused
from boardherd_agent.control.safety import Port
from boardherd_shared.clock import Clock
from boardherd_shared.command import Refusal
from boardherd_shared.lab import BoardConfig
from boardherd_shared.records import Wiring
from boardherd_shared.values import one_line

log = structlog.get_logger()


class Found(Protocol):
    """What a cut of power has shown: see :class:`boardherd_agent.watch.witnessing.wiring.Finding`."""

    @property
    def kind(self) -> Literal["proved", "mixed_up", "not_cut", "nothing"]: ...  # noqa: D102
    @property
    def text(self) -> str: ...  # noqa: D102
    @property
    def others(self) -> tuple[str, ...]: ...  # noqa: D102


@dataclass(frozen=True)
class News:
    """Something new in the book."""

    board: str
    wiring: Wiring
    event: Literal["", "fault", "transition"] = ""
    """As what it belongs on record; empty when it is no news for people."""
    text: str = ""


class _Entry(BaseModel):
    """A page of the book."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    state: Literal["unproved", "proved", "suspect"] = "unproved"
    at: int | None = None
    text: str = ""
    ports: tuple[Port, ...] = ()
    """The ports that lab.toml gave the board when this was seen."""
    cut: str = ""
    """The board whose cut has shown it."""
    others: tuple[str, ...] = ()
    accepted: bool = False
    """A person has said that what was seen then is right: seen again, it is no news."""


class WiringBook:
    """What is known of the wiring of this agent's boards."""

    def __init__(
        self,
        file: ControlFile,
        boards: Mapping[str, BoardConfig],
        clock: Clock,
        changed: Callable[[News], None],
    ) -> None:
        """Begin with everything unproved; :meth:`load` takes up what earlier runs noted.

        Args:
            file: open control file.
            boards: this agent's boards.
            clock: this machine's clocks.
            changed: hears of every change, and once of each board when the book was loaded.
        """
        self._file, self._clock, self._changed = file, clock, changed
        self._ports = {
            board: tuple((feed.relay, feed.port) for feed in config.power)
            for board, config in boards.items()
            if config.power
        }
        self._entries = {board: _Entry(ports=ports) for board, ports in self._ports.items()}

    async def load(self) -> None:
        """Take up what earlier runs noted of boards that still have the same ports; raises JournalAway."""
        for board, text in await self._file.rows("SELECT board, entry FROM wiring"):
            entry = _Entry.model_validate_json(text)
            if board in self._ports and entry.ports == self._ports[board]:
                self._entries[board] = entry
        for board in self._entries:
            self._changed(News(board, self._wiring(board)))

    def of(self, board: str) -> Wiring | None:
        """Return what is known of the wiring of a board; None where no relay powers it."""
        return self._wiring(board) if board in self._entries else None

    def suspect(self, board: str) -> str:
        """Return why a board gets no power, empty when it does."""
        entry = self._entries.get(board)
        return entry.text if entry and entry.state == "suspect" else ""

    def check(self, board: str) -> None:
        """Raise Refused if a board gets no power, with the ways out."""
        if why := self.suspect(board):
            relay, _ = self._ports[board][0]
            raise Refused(
                Refusal.WIRING,
                f"the wiring of {board} is suspect: {why}. Find out with boardherd relay trace {relay}; then mend the"
                f" cables or lab.toml, or boardherd relay accept {board} --reason ...",
            )

    def powered_by(self, board: str) -> frozenset[Port]:
        """Return the ports that power a board, as lab.toml has it."""
        return frozenset(self._ports.get(board, ()))

    def take(self, board: str, found: Found) -> str:
        """Take in what a cut of a board has shown; return what speaks against the cut in words, empty for nothing."""
        match found.kind:
            case "proved":
                self._proved(board, found)
            case "mixed_up":
                return self._mixed_up(board, found)
            case "not_cut":
                return self._not_cut(board, found)
        return ""

    async def accept(self, board: str, by: str, reason: str) -> None:
        """Take suspect wiring of a board for right, whatever it is; raises JournalAway."""
        entry = self._entries[board]
        text = one_line(f"accepted by {by}: {reason} ({entry.text})")
        entry = entry.model_copy(
            update={"state": "unproved", "at": None, "text": text, "accepted": True},
        )
        await self._file.write(*_row(board, entry))
        self._entries[board] = entry
        self._changed(
            News(
                board,
                self._wiring(board),
                "transition",
                f"the wiring of {board} is accepted by {by}: {reason}",
            )
        )

    def _proved(self, board: str, found: Found) -> None:
        news = self._entries[board].state != "proved"
        text = f"the wiring of {board} is proved: {found.text}" if news else ""
        self._note(board, found, "proved", text)
        for other, entry in list(self._entries.items()):
            if entry.state == "suspect" and entry.cut == board and other != board:
                self._clear(other, f"cleared: the wiring of {board} is proved")

    def _mixed_up(self, board: str, found: Found) -> str:
        if self._is_accepted(board, found):
            return ""
        text = f"the wiring of {board} is suspect: {found.text}"
        self._note(board, found, "suspect", text)
        if len(found.others) == 1:  # of several that fell silent nobody can tell which hangs on the port
            self._drag_in(found.others[0], board, found)
        return f"{text}; no power for {_both([board, *found.others[:1]])} until a person accepts"

    def _drag_in(self, other: str, board: str, found: Found) -> None:
        """Suspect the board that fell silent with the cut of ``board``."""
        if other in self._entries and not self._is_accepted(other, found, board):
            self._note(other, found, "suspect", f"the wiring of {other} is suspect: {found.text}", cut=board)

    def _not_cut(self, board: str, found: Found) -> str:
        ports = _both(f"{relay}:{port}" for relay, port in self._ports[board])
        if self._entries[board].state == "proved":
            text = f"{found.text}: its wiring is proved, so the contact of {ports} is welded"
            self._changed(News(board, self._wiring(board), "fault", text))
            return text
        if self._is_accepted(board, found):
            return ""
        text = f"{found.text}: the contact of {ports} is welded, or feeds something else than {board}"
        blind = "boards of other PCs cannot be seen from here"
        self._note(board, found, "suspect", f"the wiring of {board} is suspect: {text} ({blind})", words=text)
        return f"{text}; no power for {board} until a person accepts"

    def _is_accepted(self, board: str, found: Found, cut: str = "") -> bool:
        entry = self._entries[board]
        return entry.accepted and (entry.cut, entry.others) == (cut or board, found.others)

    def _note(
        self,
        board: str,
        found: Found,
        state: Literal["proved", "suspect"],
        text: str,
        *,
        cut: str = "",
        words: str = "",
    ) -> None:
        entry = _Entry(
            state=state,
            at=self._clock.wall(),
            text=one_line(words or found.text),
            ports=self._ports[board],
            cut=cut or board,
            others=found.others,
        )
        self._keep(board, entry)
        event: Literal["", "fault", "transition"] = "fault" if state == "suspect" else "transition"
        self._changed(News(board, self._wiring(board), event if text else "", text))

    def _clear(self, board: str, why: str) -> None:
        self._keep(board, _Entry(text=why, ports=self._ports[board]))
        text = f"the wiring of {board} is no longer suspect: {why}"
        self._changed(News(board, self._wiring(board), "transition", text))

    def _keep(self, board: str, entry: _Entry) -> None:
        self._entries[board] = entry
        statement, values = _row(board, entry)
        self._file.jot_later(statement, values, _not_noted)

    def _wiring(self, board: str) -> Wiring:
        entry = self._entries[board]
        return Wiring(state=entry.state, at=entry.at, text=entry.text)


def _row(board: str, entry: _Entry) -> tuple[str, tuple[object, ...]]:
    return "INSERT OR REPLACE INTO wiring VALUES (?, ?)", (board, entry.model_dump_json())


def _not_noted(away: JournalAway) -> None:
    log.warning("what a cut has shown of the wiring could not be written down", why=str(away))


def _both(names: Iterable[str]) -> str:
    return " and ".join(names)
