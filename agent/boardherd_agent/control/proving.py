"""Every ordinary switch of a board's power is a proof of its wiring: somebody looks on, the book keeps what he saw."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Protocol

from boardherd_agent.control.life import Life
from boardherd_agent.control.wiring import Found, WiringBook
from boardherd_shared.records import Power


class Observation(Protocol):
    """Somebody who looks on at one cut: see :class:`boardherd_agent.watch.witnessing.witness.Observation`."""

    def went_off(self, length_s: float | None = None) -> None: ...  # noqa: D102
    def came_on(self) -> None: ...  # noqa: D102
    def leave(self) -> None: ...  # noqa: D102
    async def last_word(self) -> Found | None: ...  # noqa: D102


class Witness(Protocol):
    """Who can look on at a cut: see :class:`boardherd_agent.watch.witnessing.witness.Witness`."""

    def begin(self, board: str, tell: Callable[[Found], None]) -> Observation:
        """Look on from now at what is about to be done to the power of ``board``; ``tell`` hears of findings."""
        ...


class Proving:
    """Lets somebody look on at commands that cut the power of a board, and enters in the book what he sees."""

    def __init__(self, book: WiringBook, witness: Witness) -> None:
        """Join the two."""
        self._book, self._witness = book, witness

    @contextlib.contextmanager
    def looking_on(self, life: Life) -> Iterator[Onlooker]:
        """Have a command looked on at, from before it switches anything; a failure inside ends that."""
        onlooker = Onlooker(self._book, life)
        if life.target.feeds and life.target.ports == self._book.powered_by(life.target.board):
            onlooker.begin(self._witness)
        try:
            yield onlooker
        except BaseException:
            onlooker.leave()
            raise
        if not onlooker.moved:
            onlooker.leave()


class Onlooker:
    """What a command tells whoever looks on at it, and learns from him."""

    def __init__(self, book: WiringBook, life: Life) -> None:
        """Begin with nobody looking on."""
        self.moved = False
        """Whether anything was switched."""
        self._book, self._life = book, life
        self._observation: Observation | None = None
        self._against = ""

    def begin(self, witness: Witness) -> None:
        """Have ``witness`` look on from now."""
        self._observation = witness.begin(self._life.target.board, self._take)

    def switched(self, before: Power | None, observed: Power) -> None:
        """Note what a single switch has done; one that changed nothing shows nothing."""
        if observed is Power.OFF and before is not Power.OFF:
            self.went_off()
        elif observed is Power.ON and before is Power.OFF:
            self.came_on()

    def went_off(self, length_s: float | None = None) -> None:
        """Note that the board is off, for so many seconds or until further notice."""
        self.moved = True
        if self._observation:
            self._observation.went_off(length_s)

    def came_on(self) -> None:
        """Note that the board is on."""
        self.moved = True
        if self._observation:
            self._observation.came_on()

    def leave(self) -> None:
        """Note that there is nothing to be seen any more."""
        if self._observation:
            self._observation.leave()

    async def objection(self) -> str:
        """Return in words that the board was not cut at all, empty when nothing speaks for that.

        Waits only where the board went on answering.
        """
        if self._observation:
            await self._observation.last_word()
        return self._against

    def _take(self, found: Found) -> None:
        life = self._life
        self._against = self._book.take(life.target.board, found)
        if found.kind == "proved":
            life.remark = f"; wiring of {life.target.board} proved"
