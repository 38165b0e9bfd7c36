"""Where records are handed in: never blocks, never raises, groups them for the spool."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter, deque
from collections.abc import Coroutine
from typing import Any

import structlog

from boardherd_agent.delivery.envelopes import MAX_RECORDS, Class, fault_event
from boardherd_agent.delivery.spool import Spool
from boardherd_shared.clock import Clock
from boardherd_shared.records import Record

_SAMPLES_EVERY_S = 1.0
_SAMPLES_AT_ONCE = 200
_MAX_WAITING = 20_000
"""Records of one class that wait for the disk; about 20 MiB. A disk that stalls longer costs the oldest."""

log = structlog.get_logger()


class Outbox:
    """The agent's one door to delivery."""

    def __init__(
        self,
        spool: Spool,
        clock: Clock,
        *,
        samples_every_s: float = _SAMPLES_EVERY_S,
        max_waiting: int = _MAX_WAITING,
    ) -> None:
        """Make an empty outbox.

        Args:
            spool: where the records go; it has to be open while :meth:`run` runs.
            clock: times of the events that the outbox makes itself.
            samples_every_s: how long samples may wait for company, in seconds.
            max_waiting: how many records of each class may wait for a disk that stalls.
        """
        self._spool = spool
        self._clock = clock
        self._samples_every_s = samples_every_s
        self._max_waiting = max_waiting
        self._waiting: dict[Class, deque[Record]] = {"events": deque(), "samples": deque()}
        self._event_here = asyncio.Event()
        self._many_here = asyncio.Event()
        self.counts: Counter[str] = Counter()
        """Records that the spool has accepted, by kind."""
        self.dropped = 0
        """Records that were given up before the spool had them, because the disk stalled."""
        self._confessed = 0

    def put(self, record: Record) -> None:
        """Take a record; events are written at once, samples within a second."""
        queue = self._waiting["events" if record.kind == "event" else "samples"]
        queue.append(record)
        if len(queue) > self._max_waiting:
            queue.popleft()
            self.dropped += 1
        if record.kind == "event":
            self._event_here.set()
        elif len(queue) >= _SAMPLES_AT_ONCE:
            self._many_here.set()

    async def run(self) -> None:
        """Write records into the spool until cancelled, and then what is left."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._write_events(), name="outbox-events")
                tasks.create_task(self._write_samples(), name="outbox-samples")
        finally:
            for class_ in self._waiting:
                await self._write(class_)

    async def _write_events(self) -> None:
        while True:
            await self._event_here.wait()
            self._event_here.clear()
            await self._write("events")

    async def _write_samples(self) -> None:
        while True:
            await _either(self._many_here, self._samples_every_s)
            self._many_here.clear()
            await self._write("samples")

    async def _write(self, class_: Class) -> None:
        """Write all that waits in ``class_``; a cancellation is obeyed between two batches."""
        queue = self._waiting[class_]
        self._confess()
        while queue:
            batch = [queue.popleft() for _ in range(min(len(queue), MAX_RECORDS))]
            await _whole(self._append(class_, batch))

    async def _append(self, class_: Class, batch: list[Record]) -> None:
        await self._spool.append(class_, batch)
        self.counts.update(record.kind for record in batch)

    def _confess(self) -> None:
        """Have the database know how many records were dropped."""
        if lost := self.dropped - self._confessed:
            self._confessed = self.dropped
            text = f"{lost} records were dropped before they reached the spool: the disk is too slow"
            log.error("records dropped, the disk is too slow", records=lost)
            self.put(fault_event(text, self._clock))


async def _either(event: asyncio.Event, seconds: float) -> None:
    """Wait for ``event``, but no longer than ``seconds``."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()


async def _whole(work: Coroutine[Any, Any, None]) -> None:
    """Await ``work`` to its end even if we are cancelled meanwhile, and only then be cancelled."""
    task = asyncio.create_task(work, name="outbox-append")
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await task
        raise
