"""The collector's side of the broker: what it hears, and what it says."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from boardherd_collector.administration import Administration
from boardherd_collector.command_watch import CommandWatch
from boardherd_collector.counters import Counters
from boardherd_collector.envelopes import Rejected
from boardherd_collector.fleet import Fleet
from boardherd_collector.health import BROKER, Health
from boardherd_collector.ingest import Ingest
from boardherd_collector.times import SECOND, TOLERANCE
from boardherd_shared.command import CommandStep
from boardherd_shared.ids import RESERVED_AGENT_IDS, new_session
from boardherd_shared.link import BrokerSettings, Farewell, Incoming, Link, Session
from boardherd_shared.messages import BoardState, Hello, PortState, ProtocolError, Status, decode, encode
from boardherd_shared.topics import RETAINED, Address, Kind, Topics, parse

HEARD = (
    Kind.STATUS,
    Kind.HELLO,
    Kind.TELEMETRY,
    Kind.RELAY_STATE,
    Kind.BOARD_STATE,
    Kind.RESULT,
    Kind.COMMAND,
    Kind.BOARD_COMMAND,
)
"""What is subscribed to. The filters for statuses and commands bring those of and to the collector as well."""
_COMMANDS = frozenset({Kind.COMMAND, Kind.BOARD_COMMAND, Kind.COLLECTOR_COMMAND})

_PUBLISHERS = 8
_MAX_OUTGOING = 5000
_BREATH = 50
"""So many messages are taken in one go before other tasks get their turn."""
_REPLAY_S = 5.0
"""After so long nothing that arrives can be what the broker had merely kept."""
_CLOCK_LOOK_S = 5.0
_COMPLAINTS_KEPT = 1000
_COMPLAIN_EVERY_S = 60.0

log = structlog.get_logger()


@dataclass(frozen=True)
class Listeners:
    """To whom it is handed what arrives, beside the fleet."""

    ingest: Ingest
    watch: CommandWatch
    administration: Administration


class Connection:
    """Listens to all agents, and speaks to them; works through any number of lost connections."""

    def __init__(
        self,
        broker: BrokerSettings,
        topics: Topics,
        fleet: Fleet,
        counters: Counters,
        health: Health,
        *,
        now: Callable[[], float] = time.time,
    ) -> None:
        """Make it; nothing is opened before :meth:`run`."""
        self._topics = topics
        self._fleet = fleet
        self._counters = counters
        self._health = health
        self._now = now
        self._address = broker.display
        self._status_topic = topics.build(Kind.COLLECTOR_STATUS)
        self._outgoing: asyncio.Queue[tuple[str, bytes, bool]] = asyncio.Queue(_MAX_OUTGOING)
        self._session: str | None = None
        self._connection: str | None = None
        self._live = False
        self._live_after = math.inf
        self._since: float | None = None
        self._complaints: dict[str, float] = {}
        self._link = Link(
            broker,
            name=f"boardherd-collector-{topics.site}",
            will=lambda session: self._farewell("offline", session, "the collector has gone"),
            goodbye=lambda session: self._farewell(
                "offline", self._session or session, "the collector was stopped"
            ),
        )

    @property
    def since(self) -> float | None:
        """Since when there has been a connection, Unix seconds; None while there is none."""
        return self._since

    async def run(self, listeners: Listeners) -> None:
        """Stay connected, and hand what arrives to the fleet and to ``listeners``, until cancelled."""
        self._health.set(BROKER, ok=False, text=f"not connected to {self._address}")
        await self._link.run(lambda session: self._serve(session, listeners))

    def post(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """Publish soon; dropped when there is no connection, since every answer is asked for again."""
        if self._link.connected and not self._outgoing.full():
            self._outgoing.put_nowait((topic, payload, retain))

    def renew(self) -> None:
        """Take a new session, which makes every agent say hello again.

        The will that the broker keeps for us names the session of the connection, so that one is said too.
        """
        self._session = new_session()
        self._announce()

    async def watch_clock(self) -> None:
        """Take a new session when this machine's clock has been set: what was learned by it may be wrong."""
        ahead = time.time() - time.monotonic()
        while True:
            await asyncio.sleep(_CLOCK_LOOK_S)
            now = time.time() - time.monotonic()
            if abs(now - ahead) * SECOND > TOLERANCE:
                log.warning("the clock of this machine was set", by_s=round(now - ahead))
                self.renew()
            ahead = now

    async def _serve(self, session: Session, listeners: Listeners) -> None:
        self._session, self._connection, self._live = session.id, session.id, False
        while not self._outgoing.empty():
            self._outgoing.get_nowait()
        try:
            async with asyncio.TaskGroup() as group:
                for number in range(_PUBLISHERS):
                    group.create_task(self._publish(session), name=f"collector publisher {number}")
                await session.subscribe(*(self._topics.filter(kind) for kind in HEARD))
                self._since = self._now()
                self._live_after = self._since + _REPLAY_S
                self._announce()
                self._health.set(BROKER, ok=True, text=self._address)
                group.create_task(self._listen(session, listeners), name="collector listener")
        finally:
            self._since = None
            self._health.set(BROKER, ok=False, text=f"not connected to {self._address}")

    async def _publish(self, session: Session) -> None:
        while True:
            topic, payload, retain = await self._outgoing.get()
            await session.publish(topic, payload, retain=retain)

    async def _listen(self, session: Session, listeners: Listeners) -> None:
        taken = 0
        async for message in session.messages():
            self.take(message, listeners)
            taken += 1
            if taken % _BREATH == 0:
                await asyncio.sleep(0)

    def take(self, message: Incoming, listeners: Listeners) -> None:
        """Handle one message. Whatever it holds, it costs a count and at most a line in the log."""
        address = parse(message.topic)
        if address and address.kind is Kind.RESULT and address.agent == "collector":
            self._counters.messages[address.kind] += 1
            return  # our own word
        if address is None or address.site != self._topics.site or address.agent in RESERVED_AGENT_IDS:
            self._counters.messages["unknown"] += 1
            return
        self._counters.messages[address.kind] += 1
        try:
            if not message.payload and (message.retain or address.kind not in _COMMANDS):
                self._cleared(address)
            elif address.kind in _COMMANDS:
                self._command(address, message, listeners)
            elif message.retain and address.kind not in RETAINED:
                self._clear(message.topic)
            else:
                self._heard(address, message, listeners)
        except (ProtocolError, Rejected) as error:
            self._counters.rejected[address.kind] += 1
            self._complain(address, str(error))

    def _clear(self, topic: str) -> None:
        """Make the broker forget a message that it must not keep; always raises ProtocolError."""
        self.post(topic, b"", retain=True)
        raise ProtocolError("it was published to be kept, which only states are")

    def _heard(self, address: Address, message: Incoming, listeners: Listeners) -> None:
        agent, payload, received_at = address.agent, message.payload, message.received_at
        match address.kind:
            case Kind.TELEMETRY:
                listeners.ingest.telemetry(agent, payload, received_at)
            case Kind.HELLO:
                self._hello(agent, decode(Hello, payload), received_at, listeners.ingest)
            case Kind.STATUS:
                self._fleet.status(agent, decode(Status, payload), received_at)
            case Kind.COLLECTOR_STATUS:
                self._own_status(decode(Status, payload))
            case Kind.BOARD_STATE:
                record = decode(BoardState, payload).record
                _same("board", address.board, record.board)
                self._fleet.state(agent, record, received_at)
            case Kind.RELAY_STATE:
                port = decode(PortState, payload).record
                _same("port", f"{address.relay}:{address.port}", f"{port.relay}:{port.port}")
                self._fleet.state(agent, port, received_at)
            case Kind.RESULT:
                step = decode(CommandStep, payload)
                _same("agent", agent, step.agent)
                self._fleet.step(step)
                listeners.watch.step(step)
            case _:
                pass

    def _command(self, address: Address, message: Incoming, listeners: Listeners) -> None:
        """Take a command: to us, or to somebody from whom an answer is expected.

        One that the broker was told to keep comes again with each connection, so no answer to it is expected;
        whether it is refused is up to its agent. Only its sender's account can take it back.
        """
        if address.kind is Kind.COLLECTOR_COMMAND:
            listeners.administration.submit(
                address.operator, message.payload, message.received_at, retained=message.retain
            )
        elif message.retain:
            raise ProtocolError("it was published to be kept, and commands never are")
        else:
            listeners.watch.heard(address, message.payload, message.received_at)

    def _cleared(self, address: Address) -> None:
        match address.kind:
            case Kind.STATUS:
                self._fleet.status(address.agent, None, self._now())
            case Kind.BOARD_STATE:
                self._fleet.clear_board(address.agent, address.board)
            case Kind.RELAY_STATE:
                self._fleet.clear_port(address.agent, address.relay, address.port)
            case Kind.COLLECTOR_STATUS:
                self._announce()
            case _:
                pass

    def _hello(self, agent: str, hello: Hello, received_at: float, ingest: Ingest) -> None:
        """Answer a hello that was just said; one that the broker had kept only tells about the PC.

        The clock of a boot is learned from it, and an old hello would set it wrong for good. A live one
        follows in any case: agents say hello when they see our new session.
        """
        live = self._live or received_at > self._live_after
        self._fleet.hello(agent, hello, received_at, live=live)
        if live:
            ingest.hello(agent, hello, received_at)

    def _own_status(self, status: Status) -> None:
        """Our own status comes back: everything that was kept has come before it.

        Another's words there are the will of an earlier session that came late, and are put right.
        """
        if status.session == self._session:
            self._live = True
        elif status.state != "online" and self._live:
            self._announce()

    def _announce(self) -> None:
        if self._session is not None:
            status = Status(
                state="online",
                session=self._session,
                at=self._now(),
                text="the collector is there",
                connection=self._connection if self._connection != self._session else None,
            )
            self.post(self._status_topic, encode(status), retain=True)

    def _farewell(self, state: str, session: str, text: str) -> Farewell:
        status = Status.model_validate({"state": state, "session": session, "at": self._now(), "text": text})
        return Farewell(self._status_topic, encode(status))

    def _complain(self, address: Address, text: str) -> None:
        """Log what is wrong with an agent's messages, at most once a minute for each kind."""
        key, now = f"{address.agent}/{address.kind}", time.monotonic()
        if now - self._complaints.get(key, -math.inf) < _COMPLAIN_EVERY_S:
            return
        if len(self._complaints) >= _COMPLAINTS_KEPT:
            self._complaints.clear()
        self._complaints[key] = now
        log.warning("message rejected", agent=address.agent, kind=str(address.kind), why=text)


def _same(what: str, topic: str, payload: str) -> None:
    if topic != payload:
        raise ProtocolError(f"the topic speaks of {what} {topic}, the payload of {payload}")
