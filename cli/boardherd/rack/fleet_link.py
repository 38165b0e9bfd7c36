"""Simulated agents on one connection to the broker."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Sequence

from boardherd.rack.fleet_agent import FleetClock, SimulatedAgent
from boardherd.rack.fleet_telemetry import SECOND
from boardherd_shared.ids import new_session
from boardherd_shared.link import BrokerSettings, Farewell, Incoming, Link, Session
from boardherd_shared.messages import BoardState, PortState, ProtocolError, Status, decode, encode
from boardherd_shared.records import BoardRecord, RelayRecord
from boardherd_shared.topics import Address, Kind, Topics, parse

_PUBLISHERS = 8
"""Publishes under way at once on a connection; more would only queue in the MQTT library."""
_LOOK_EVERY_S = 0.25
"""How often the agents are looked through for what is overdue."""
_BREATH = 50
"""So many messages are taken in one go before other tasks get their turn."""

State = BoardRecord | RelayRecord


class FleetLink:
    """Keeps its agents connected, and carries what they say and hear.

    A connection has one will, so an agent has one only when it is alone on it.
    """

    def __init__(
        self,
        broker: BrokerSettings,
        topics: Topics,
        clock: FleetClock,
        agents: Sequence[SimulatedAgent],
        name: str,
    ) -> None:
        """Prepare a connection; nothing is opened before :meth:`run`."""
        self.name = name
        self._topics = topics
        self._clock = clock
        self._agents = {agent.pc.id: agent for agent in agents}
        self._alone = agents[0].pc.id if len(agents) == 1 else None
        self._collector: str | None = None
        self._said: deque[tuple[str, bytes | SimulatedAgent]] = deque()
        """Retained messages, which go before all telemetry; an agent stands for its hello."""
        self._ready: dict[str, SimulatedAgent] = {}
        self._stirred = asyncio.Event()
        alone = self._alone
        self._link = Link(
            broker,
            name=f"boardherd-{name}",
            will=None if alone is None else lambda session: self._will(alone, session),
        )

    async def run(self) -> None:
        """Stay connected until cancelled."""
        await self._link.run(self._serve)

    def stir(self, agent: SimulatedAgent, changed: Iterable[State] = ()) -> None:
        """Note that ``agent`` may have something to send, and tell the states that have changed."""
        self._ready[agent.pc.id] = agent
        if self._link.connected:
            for record in changed:
                self._said.append(state_message(self._topics, agent.pc.id, record))
        self._stirred.set()

    async def _serve(self, session: Session) -> None:
        self._collector = None
        self._said.clear()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._listen(session), name=f"{self.name} listener")
                group.create_task(self._look(), name=f"{self.name} timer")
                for number in range(_PUBLISHERS if self._alone is None else 2):
                    group.create_task(self._publish(session), name=f"{self.name} publisher {number}")
                for agent in self._agents.values():
                    for kind in (Kind.ACK, Kind.RESUME):
                        await session.subscribe(self._topics.build(kind, agent=agent.pc.id))
                    self._introduce(agent, session)
                # Last, for hellos follow its retained message.
                await session.subscribe(self._topics.build(Kind.COLLECTOR_STATUS))
        finally:
            for agent in self._agents.values():
                agent.disconnect()

    def _introduce(self, agent: SimulatedAgent, session: Session) -> None:
        """Say that an agent is there, and how its boards and ports are."""
        own = session.id if self._alone else new_session()
        agent.connect(own)
        status = encode(self._status("online", own))
        self._said.append((self._topics.build(Kind.STATUS, agent=agent.pc.id), status))
        self.stir(agent, agent.states(self._clock.now()))

    # Sending

    async def _publish(self, session: Session) -> None:
        while True:
            topic, payload, retain = await self._next()
            await session.publish(topic, payload, retain=retain)

    async def _next(self) -> tuple[str, bytes, bool]:
        """Wait until something may be said, and take it; the agents take turns."""
        while True:
            if self._said:
                topic, payload = self._said.popleft()
                if isinstance(payload, SimulatedAgent):
                    payload = encode(payload.hello(self._clock.now()))
                return topic, payload, True
            while self._ready:
                agent = self._ready.pop(next(iter(self._ready)))
                if (envelope := agent.next_payload(self._clock.now())) is not None:
                    self._ready[agent.pc.id] = agent
                    return self._topics.build(Kind.TELEMETRY, agent=agent.pc.id), envelope, False
            self._stirred.clear()
            await self._stirred.wait()

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            now = self._clock.now()
            for agent in self._agents.values():
                if self._collector and agent.should_repeat_hello(now):
                    self._say_hello(agent)
                elif agent.is_overdue(now):
                    self.stir(agent)

    def _say_hello(self, agent: SimulatedAgent) -> None:
        agent.pause()
        self._said.append((self._topics.build(Kind.HELLO, agent=agent.pc.id), agent))
        self._stirred.set()

    # Hearing

    async def _listen(self, session: Session) -> None:
        taken = 0
        async for message in session.messages():
            if address := parse(message.topic):
                self._heard(address, message)
            taken += 1
            if taken % _BREATH == 0:
                await asyncio.sleep(0)

    def _heard(self, address: Address, message: Incoming) -> None:
        agent = self._agents.get(address.agent)
        if address.kind is Kind.COLLECTOR_STATUS:
            self._heard_collector(message.payload)
        elif agent and address.kind is Kind.ACK:
            agent.on_ack(message.payload, self._clock.now())
            self.stir(agent)
        elif agent and address.kind is Kind.RESUME:
            agent.on_resume(message.payload, self._clock.now())
            self.stir(agent)

    def _heard_collector(self, payload: bytes) -> None:
        """Take the collector's status; the goodbye of an older session of it is ignored."""
        try:
            status = decode(Status, payload)
        except ProtocolError:
            return
        if status.state == "online" and status.session != self._collector:
            self._collector = status.session
            for agent in self._agents.values():
                self._say_hello(agent)
        elif status.state != "online" and status.session == self._collector:
            self._collector = None
            for agent in self._agents.values():
                agent.pause()

    def _status(self, state: str, session: str) -> Status:
        at = self._clock.wall(self._clock.now()) / SECOND
        return Status.model_validate({"state": state, "session": session, "at": at, "text": "simulated"})

    def _will(self, agent: str, session: str) -> Farewell:
        return Farewell(
            self._topics.build(Kind.STATUS, agent=agent), encode(self._status("offline", session))
        )


def state_message(topics: Topics, agent: str, record: State) -> tuple[str, bytes]:
    """Return topic and payload of the retained state that ``record`` tells."""
    if isinstance(record, RelayRecord):
        topic = topics.build(Kind.RELAY_STATE, agent=agent, relay=record.relay, port=record.port)
        return topic, encode(PortState(v=1, record=record, text=record.observed.value.upper()))
    topic = topics.build(Kind.BOARD_STATE, agent=agent, board=record.board)
    return topic, encode(BoardState(v=1, record=record, text=record.verdict.value.replace("_", " ")))


def kept_topics(topics: Topics, agent: SimulatedAgent) -> list[str]:
    """Return every topic on which the broker keeps something of ``agent``."""
    own = [topics.build(kind, agent=agent.pc.id) for kind in (Kind.STATUS, Kind.HELLO)]
    for board in agent.pc.boards:
        own.append(topics.build(Kind.BOARD_STATE, agent=agent.pc.id, board=board.id))
        own.append(topics.build(Kind.RELAY_STATE, agent=agent.pc.id, relay=board.relay, port=board.port))
    return own
