"""A fleet of simulated agents on a real broker: the load generator behind ``boardherd simulate``.

Many agents may share a connection, which costs this machine less and says the same on the wire. The agents
measure all the time, connected or not.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import random
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from boardherd.rack.fleet_agent import FleetClock, SimulatedAgent
from boardherd.rack.fleet_link import FleetLink, kept_topics
from boardherd.rack.fleet_telemetry import SimulatedPc
from boardherd_shared.link import BrokerSettings, Link, LinkDown, Session
from boardherd_shared.topics import Topics

_TIDY_WITHIN_S = 8.0
_TIDIERS = 2
"""Few, for the broker drops what the collector does not take as fast as it comes."""


@dataclass(frozen=True)
class FleetOptions:
    """What a fleet is made of."""

    agents: int
    boards: int = 4
    """Of each agent."""
    interval_s: float = 10.0
    """Between two samples of an agent."""
    backlog_s: float = 0.0
    """How long the agents were cut off before they begin."""
    connections: int = 8
    """Over how many connections they speak; as many as agents gives each its own."""
    seed: int = 0


class SimulatedFleet:
    """Agents that speak to the collector; :meth:`running` brings them to life."""

    def __init__(
        self, options: FleetOptions, broker: BrokerSettings, topics: Topics, clock: FleetClock | None = None
    ) -> None:
        """Make the agents with their backlogs, which takes a while for many; nothing is sent yet."""
        self.options = options
        self.clock = clock or FleetClock()
        self._broker = broker
        self._topics = topics
        self._rng = random.Random(options.seed)
        self._due: list[tuple[float, int]] = []
        now = self.clock.now()
        self.agents = [self._agent(number, now) for number in range(1, options.agents + 1)]
        heapq.heapify(self._due)
        count = min(options.connections, options.agents)
        self._links = [
            FleetLink(broker, topics, self.clock, self.agents[place::count], f"simulate-{place}")
            for place in range(count)
        ]
        self._production: asyncio.Task[None] | None = None

    def _agent(self, number: int, now: float) -> SimulatedAgent:
        """Return an agent with its backlog, and note when its next sample is due."""
        options = self.options
        pc = SimulatedPc(number, options.boards, options.seed)
        agent = SimulatedAgent(pc, self.clock, interval_s=options.interval_s, backlog_s=options.backlog_s)
        newest = now - self._rng.uniform(0, options.interval_s)
        for place in reversed(range(int(options.backlog_s / options.interval_s))):
            agent.measure(newest - place * options.interval_s, live=False)
        self._due.append((newest + options.interval_s, number - 1))
        return agent

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Measure and deliver inside the block; after it the broker keeps nothing of the fleet."""
        try:
            async with asyncio.TaskGroup() as group:
                self._production = group.create_task(self._produce(), name="fleet production")
                tasks = [group.create_task(link.run(), name=f"fleet {link.name}") for link in self._links]
                try:
                    yield
                finally:
                    for task in (self._production, *tasks):
                        task.cancel()
        finally:
            await self._tidy()

    def stop_producing(self) -> None:
        """Measure nothing more, but go on delivering."""
        if self._production is not None:
            self._production.cancel()

    @property
    def pending(self) -> int:
        """Envelopes that are not acknowledged."""
        return sum(len(agent.pending) for agent in self.agents)

    @property
    def backlog(self) -> int:
        """Envelopes that the agents were born with and that are not acknowledged."""
        return sum(agent.tally.backlog for agent in self.agents)

    @property
    def resumed(self) -> int:
        """How many agents may send."""
        return sum(agent.resumed for agent in self.agents)

    @property
    def acknowledged(self) -> int:
        """Envelopes that the collector says it has stored."""
        return sum(agent.tally.acknowledged for agent in self.agents)

    async def _produce(self) -> None:
        while True:
            now = self.clock.now()
            while self._due[0][0] <= now:
                due, index = self._due[0]
                heapq.heapreplace(self._due, (due + self.options.interval_s, index))
                agent = self.agents[index]
                self._links[index % len(self._links)].stir(agent, agent.measure(due))
            await asyncio.sleep(max(0.0, self._due[0][0] - self.clock.now()))

    async def _tidy(self) -> None:
        """Take back what the broker keeps of the fleet, as far as it answers."""
        topics = deque(topic for agent in self.agents for topic in kept_topics(self._topics, agent))
        link = Link(self._broker, name="boardherd-simulate-end")
        with contextlib.suppress(TimeoutError):
            try:
                async with (
                    asyncio.timeout(_TIDY_WITHIN_S),
                    link.session() as session,
                    asyncio.TaskGroup() as group,
                ):
                    for number in range(_TIDIERS):
                        group.create_task(_clear(session, topics), name=f"fleet tidier {number}")
            except* LinkDown:
                pass


async def _clear(session: Session, topics: deque[str]) -> None:
    while topics:
        await session.publish(topics.popleft(), b"", retain=True)
