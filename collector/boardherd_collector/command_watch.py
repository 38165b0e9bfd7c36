"""Sees to it that every command is answered: where no agent does, the collector says so, and why it probably is."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence

import structlog
from pydantic import ValidationError

from boardherd_collector.counters import Counters
from boardherd_collector.fleet import Fleet
from boardherd_collector.health import STORE, Health
from boardherd_collector.open_commands import OpenCommands, Seen, read
from boardherd_collector.stores.base import Store, StoreError, Unanswered
from boardherd_collector.times import SECOND
from boardherd_shared.command import CommandStep, State
from boardherd_shared.ids import is_slug
from boardherd_shared.messages import encode
from boardherd_shared.topics import Address, Kind, Topics
from boardherd_shared.values import one_line

SETTLE_S = 10.0
"""Nothing is called unanswered sooner after a connection was made: what agents say is on its way then."""
_LOOK_S = 1.0
_COLLECTOR = "collector"

log = structlog.get_logger()


class CommandWatch:
    """Watches commands from the moment they are sent to the first word of an agent about them."""

    def __init__(
        self,
        topics: Topics,
        store: Store,
        fleet: Fleet,
        counters: Counters,
        health: Health,
        *,
        post: Callable[[str, bytes], None],
        connected_since: Callable[[], float | None],
        now: Callable[[], float] = time.time,
        settle_s: float = SETTLE_S,
    ) -> None:
        """Make it; nothing happens before :meth:`run`.

        Args:
            topics: of the site.
            store: keeps what waits, so that a restart loses nothing.
            fleet: knows who should have answered.
            counters: counts what was not answered.
            health: tells whether the store can be used.
            post: publishes a payload on a topic, without waiting.
            connected_since: tells since when there has been a connection, Unix seconds; None while there is none.
            now: the time, Unix seconds.
            settle_s: how long after connecting nothing is called unanswered, in seconds.
        """
        self._topics, self._store, self._fleet = topics, store, fleet
        self._counters, self._health, self._post = counters, health, post
        self._connected_since, self._now, self._settle_s = connected_since, now, settle_s
        self._open = OpenCommands()
        self._news = asyncio.Event()
        self._overlooked = 0

    def heard(self, address: Address, payload: bytes, received_at: float) -> None:
        """Take a command that somebody sent to an agent or a board."""
        self._open.add(read(address, payload, received_at))
        self._news.set()

    def step(self, step: CommandStep) -> None:
        """Take what an agent says of a command."""
        self._open.step(step)
        self._news.set()

    async def run(self) -> None:
        """Watch until cancelled."""
        restored = False
        while True:
            try:
                if self._health.ok(STORE):
                    restored = restored or await self._restore()
                    await self._keep()
                    await self._close(self._overdue())
            except StoreError as error:
                log.warning("open commands could not be kept, trying again", why=str(error))
                await asyncio.sleep(_LOOK_S)
            self._say_overlooked()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_S):
                    await self._news.wait()
            self._news.clear()

    async def _restore(self) -> bool:
        for text in await self._store.open_commands():
            with contextlib.suppress(
                ValidationError
            ):  # of another version: there is nothing to be done about it
                self._open.restore([Seen.model_validate_json(text)])
        return True

    async def _keep(self) -> None:
        seen, gone = self._open.news()
        if not seen and not gone:
            return
        rows = [(each.id, round(each.received_at * SECOND), each.model_dump_json()) for each in seen]
        await self._store.note_open(rows, gone)
        self._open.kept(seen, gone)

    def _overdue(self) -> list[Seen]:
        since, now = self._connected_since(), self._now()
        settled = since is not None and now - since >= self._settle_s
        return self._open.overdue(now) if settled else []

    async def _close(self, overdue: Sequence[Seen]) -> None:
        if not overdue:
            return
        steps = [self._step(seen) for seen in overdue]
        closed = await self._store.close_unanswered(
            [
                Unanswered(step, seen.named, round(seen.received_at * SECOND))
                for seen, step in zip(overdue, steps, strict=True)
            ]
        )
        self._counters.commands.update(closed.finished)
        for step, is_so in zip(steps, closed.unanswered, strict=True):
            self._open.close(step.id)
            if is_so:
                self._tell(step)

    def _tell(self, step: CommandStep) -> None:
        log.warning("nobody answered a command", id=step.id, operator=step.operator, why=step.text)
        self._fleet.step(step)
        payload = encode(step)
        self._post(self._topics.build(Kind.RESULT, agent=_COLLECTOR, id=step.id), payload)
        self._post(self._topics.build(Kind.REPLY, operator=step.operator), payload)

    def _step(self, seen: Seen) -> CommandStep:
        agent = seen.agent or self._fleet.owner_of(seen.board) or ""
        return CommandStep(
            id=seen.id,
            state=State.UNANSWERED,
            action=seen.action,
            target=seen.target,
            agent=agent if is_slug(agent) else _COLLECTOR,
            operator=seen.operator,
            on_behalf_of=seen.on_behalf_of,
            reason=seen.reason,
            at=self._now(),
            text=one_line(f"unanswered: {self._why(seen, agent)}"),
        )

    def _why(self, seen: Seen, agent: str) -> str:
        if not agent:
            return f"no test PC is known that controls {seen.board}" if seen.board else "nobody was to do it"
        state = self._fleet.how_is(agent, self._now())
        if state is None:
            return f"there is no test PC {agent}"
        return (
            f"{agent} is {state}"
            if state != "online"
            else f"{agent} is online, and has not said anything about it"
        )

    def _say_overlooked(self) -> None:
        if self._open.overlooked != self._overlooked:
            self._overlooked = self._open.overlooked
            log.warning("too many commands wait for an answer, some are not watched", so_far=self._overlooked)
