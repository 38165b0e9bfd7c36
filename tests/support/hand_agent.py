"""The agent's delivery, put together as the agent does it, without the rest of an agent."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from boardherd_agent.delivery.outbox import Outbox
from boardherd_agent.delivery.spool import Spool
from boardherd_agent.delivery.states import RetainedStates
from boardherd_agent.delivery.uplink import Uplink
from boardherd_shared.clock import Clock
from boardherd_shared.link import BrokerSettings, Link, Session
from boardherd_shared.messages import Hello, HostFacts
from boardherd_shared.records import EventRecord
from boardherd_shared.topics import Kind, Topics, parse
from support.delivery import HandClock

AGENT = "pc-01"


class HandAgent:
    """Spool, outbox, states and uplink put together as the agent does it."""

    def __init__(
        self,
        url: str,
        site: str,
        spool: Spool,
        patience: float = 5.0,
        *,
        clock: Clock | None = None,
        silence_s: float = 30.0,
    ) -> None:
        self.clock = clock or HandClock()
        self.topics = Topics(site)
        self.events: list[EventRecord] = []
        self.outbox = Outbox(spool, self.clock, samples_every_s=0.01)
        self.states = RetainedStates()
        self.spool = spool
        self.uplink = Uplink(
            spool,
            self.topics,
            AGENT,
            self.clock,
            hello=self._hello,
            on_event=self.events.append,
            answer_within_s=0.2,
            resend_after_s=patience,
            silence_s=silence_s,
        )
        self._link = Link(BrokerSettings(url=url, keepalive_s=5), name=f"agent-{site}")

    def _hello(self, session: str) -> Hello:
        return Hello(session=session, boot="?", wall=0, up=0, host=HostFacts(hostname=AGENT))

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        tasks = [
            asyncio.create_task(self._link.run(self._serve), name="link"),
            asyncio.create_task(self.outbox.run(), name="outbox"),
        ]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, session: Session) -> None:
        await session.subscribe(
            self.topics.build(Kind.ACK, agent=AGENT),
            self.topics.build(Kind.RESUME, agent=AGENT),
            self.topics.build(Kind.COLLECTOR_STATUS),
        )
        async with asyncio.TaskGroup() as group:
            group.create_task(self.uplink.serve(session), name="uplink")
            group.create_task(self.states.serve(session), name="states")
            group.create_task(self._dispatch(session), name="dispatch")

    async def _dispatch(self, session: Session) -> None:
        doors = {
            Kind.ACK: self.uplink.on_ack,
            Kind.RESUME: self.uplink.on_resume,
            Kind.COLLECTOR_STATUS: self.uplink.on_collector_status,
        }
        async for message in session.messages():
            address = parse(message.topic)
            assert address
            doors[address.kind](message.payload)
