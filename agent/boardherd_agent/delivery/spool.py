"""The spool for an event loop: every operation runs whole, in order, in one thread of its own.

A caller that is cancelled leaves no half-done operation behind; what had begun is finished.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import ParamSpec, Self, TypeVar

from boardherd_agent.delivery.database import Refusal
from boardherd_agent.delivery.envelopes import Class, Key, Spooled
from boardherd_agent.delivery.files import SpoolBusyError
from boardherd_agent.delivery.ranges import Range
from boardherd_agent.delivery.store import Figures, Limits, SpoolStore
from boardherd_shared.clock import Clock
from boardherd_shared.messages import StreamInfo
from boardherd_shared.records import Record

_TIDY_EVERY_S = 10.0

P = ParamSpec("P")
T = TypeVar("T")


class Spool:
    """Records on their way to the database, safe on the disk; an async context manager.

    The world's failures do not reach the caller: a damaged file is put aside and what can be read of it
    saved, and while the disk cannot be written records are kept in memory (``figures.volatile``).
    """

    def __init__(
        self,
        directory: Path,
        *,
        agent: str,
        clock: Clock,
        limits: Limits | None = None,
        machine: str | None = None,
    ) -> None:
        """Prepare a spool; nothing is opened yet.

        Args:
            directory: where its files are, made if missing; nobody else's files may be there.
            agent: id of the test PC.
            clock: the clock that records are stamped with.
            limits: how much may be kept.
            machine: identity of the machine; found out if not given.
        """
        self._open = lambda: SpoolStore(
            directory, agent=agent, clock=clock, limits=limits or Limits(), machine=machine
        )
        self._store: SpoolStore | None = None
        self._thread: ThreadPoolExecutor | None = None
        self._listeners: list[Callable[[], None]] = []
        self.figures = Figures()
        """What is held, as of the last operation."""
        self.accepted: Counter[str] = Counter()
        """Records written since the start, by kind, the spool's own events included."""

    async def __aenter__(self) -> Self:
        """Open it; raises SpoolBusyError when another agent has it."""
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="spool")
        try:
            self._store = await self._in_thread(self._open)
        except BaseException:
            self._thread.shutdown()
            raise
        self._note(*await self._in_thread(self._look))
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        """Finish what is under way and close it."""
        assert self._thread
        assert self._store
        try:
            await asyncio.shield(self._in_thread(self._store.close))
        finally:
            self._thread.shutdown()

    def listen(self, listener: Callable[[], None]) -> None:
        """Have ``listener`` called whenever envelopes were appended or became pending again."""
        self._listeners.append(listener)

    async def run(self) -> None:
        """Age, shrink, and go back to the disk when it can be written again, until cancelled."""
        while True:
            await asyncio.sleep(_TIDY_EVERY_S)
            await self._do(self.store.tidy)

    @property
    def store(self) -> SpoolStore:
        """The synchronous spool behind this; not to be touched from the event loop."""
        assert self._store, "the spool is not open"
        return self._store

    async def append(self, class_: Class, records: Sequence[Record]) -> list[Key]:
        """Write ``records`` in as few envelopes as possible; they are safe when this returns."""
        keys = await self._do(self.store.append, class_, records)
        self._tell()
        return keys

    async def newest(self, without: Collection[Key]) -> Spooled | None:
        """Return the newest pending envelope that is not among ``without``."""
        return await self._in_thread(self.store.newest, without)

    async def oldest(self, without: Collection[Key]) -> Spooled | None:
        """Return the oldest pending envelope that is not among ``without``."""
        return await self._in_thread(self.store.oldest, without)

    async def load(self, key: Key) -> Spooled | None:
        """Return the envelope ``key`` if it is still pending."""
        return await self._in_thread(self.store.load, key)

    async def acknowledge(self, keys: Iterable[Key]) -> bool:
        """Note that the database has these envelopes; False if that could not be written down.

        They stay here until age or lack of space evicts them, before anything else.
        """
        return await self._do(self.store.acknowledge, keys)

    async def refuse(self, key: Key, fingerprint: str, code: str) -> Refusal:
        """Put aside an envelope that the database refuses, if its digest is ``fingerprint``."""
        outcome = await self._do(self.store.refuse, key, fingerprint, code)
        self._tell()
        return outcome

    async def park(self, key: Key) -> None:
        """Put aside an envelope that is never acknowledged."""
        await self._do(self.store.park, key)

    async def resume(self, missing: Mapping[str, Iterable[Range]]) -> int:
        """Make acknowledged envelopes pending again that the database lacks; return how many."""
        again = await self._do(self.store.resume, missing)
        self._tell()
        return again

    async def news(self) -> tuple[object, ...]:
        """Return what the collector must be told by a new hello when it changes; see SpoolStore.news."""
        return await self._in_thread(self.store.news)

    async def describe(self) -> list[StreamInfo]:
        """Return what is still held, stream by stream, for the hello."""
        return await self._in_thread(self.store.describe)

    def _tell(self) -> None:
        for listener in self._listeners:
            listener()

    def _look(self) -> tuple[Figures, Counter[str]]:
        return self.store.figures(), self.store.accepted()

    def _note(self, figures: Figures, accepted: Counter[str]) -> None:
        self.figures, self.accepted = figures, accepted

    async def _do(self, operation: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a writing operation, and look at the figures after it."""

        def work() -> tuple[T, tuple[Figures, Counter[str]]]:
            return operation(*args, **kwargs), self._look()

        result, seen = await self._in_thread(work)
        self._note(*seen)
        return result

    async def _in_thread(self, operation: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        assert self._thread, "the spool is not open"
        return await asyncio.get_running_loop().run_in_executor(
            self._thread, lambda: operation(*args, **kwargs)
        )


__all__ = ["Figures", "Key", "Limits", "Spool", "SpoolBusyError", "Spooled"]
