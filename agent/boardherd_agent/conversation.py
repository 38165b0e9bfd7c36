"""One connection to the broker, as the agent lives it: what it says, what it hears, and who gets it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection
from typing import Protocol

import structlog

from boardherd_agent.control.commands import Request
from boardherd_agent.delivery.results import Results
from boardherd_agent.delivery.states import RetainedStates
from boardherd_agent.delivery.uplink import Uplink
from boardherd_shared.link import Farewell, Incoming, Session
from boardherd_shared.locks import Lock
from boardherd_shared.messages import BoardState, ProtocolError, Status, decode, encode
from boardherd_shared.topics import Address, Kind, Topics, parse

_OWN_TOPICS = (Kind.STATUS, Kind.ACK, Kind.RESUME, Kind.COMMAND, Kind.RELAY_STATE, Kind.BOARD_STATE)
"""What an agent reads below its own id: orders and answers, and what the broker remembers of it."""

_MIRROR_PATIENCE_S = 10.0
"""How long the broker may take to send what it retains, when that is needed to know who holds what."""

log = structlog.get_logger()


class Mirrored(Protocol):
    """Who wants to know what the broker's mirror holds: see ``control.locks.Locks``."""

    @property
    def unsure(self) -> bool: ...  # noqa: D102
    async def mirrored(self, board: str, lock: Lock | None) -> None: ...  # noqa: D102
    async def settled(self) -> None: ...  # noqa: D102


class Conversation:
    """What the agent does with a session, from subscribing to the loss of the connection."""

    def __init__(
        self,
        pc: str,
        topics: Topics,
        boards: Collection[str],
        has: Callable[[str, str, int], bool],
        locks: Mirrored,
        submit: Callable[[Request], None],
        uplink: Uplink,
        states: RetainedStates,
        results: Results,
    ) -> None:
        """Join those who speak and those who are spoken to.

        Args:
            pc: this agent's id.
            topics: the site's topics.
            boards: this agent's boards.
            has: tells whether a board, or else a port of a relay, is this agent's.
            locks: wants to know what the broker's mirror holds.
            submit: takes commands.
            uplink: delivers envelopes.
            states: publishes retained states.
            results: publishes the steps of commands.
        """
        self.session: Session | None = None
        """The session that is being lived; None while there is none."""
        self._pc, self._topics, self._boards, self._has = pc, topics, boards, has
        self._locks, self._submit = locks, submit
        self._uplink, self._states, self._results = uplink, states, results
        self._heard_ourselves = asyncio.Event()

    async def live(self, session: Session) -> None:
        """Live one connection until it is lost or the agent stops."""
        self._heard_ourselves.clear()
        await session.subscribe(
            *(self._topics.filter(kind, agent=self._pc) for kind in _OWN_TOPICS),
            *(self._topics.filter(Kind.BOARD_COMMAND, board=board) for board in self._boards),
            self._topics.filter(Kind.COLLECTOR_STATUS),
        )
        await self._say_online(session)
        self.session = session
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._receive(session), name="receive")
                tasks.create_task(self._uplink.serve(session), name="uplink")
                tasks.create_task(self._keep_states(session), name="states")
                tasks.create_task(self._results.serve(session), name="results")
        finally:
            self.session = None

    def status(self, state: str, session: str, text: str) -> bytes:
        """Return what the status topic says."""
        return encode(
            Status.model_validate({"state": state, "session": session, "at": time.time(), "text": text})
        )

    def will(self, session: str) -> Farewell:
        """Return what the broker says when the connection is lost."""
        return Farewell(self._status_topic, self.status("offline", session, "the connection was lost"))

    def goodbye(self, session: str) -> Farewell:
        """Return what the agent says when it leaves on purpose."""
        return Farewell(self._status_topic, self.status("offline", session, "stopped on purpose"))

    async def say_stopping(self, session: Session) -> None:
        """Say that the agent is about to leave."""
        words = self.status("stopping", session.id, "stopping on purpose")
        await session.publish(self._status_topic, words, retain=True)

    @property
    def _status_topic(self) -> str:
        return self._topics.build(Kind.STATUS, agent=self._pc)

    async def _say_online(self, session: Session) -> None:
        words = self.status("online", session.id, "online")
        await session.publish(self._status_topic, words, retain=True)

    async def _keep_states(self, session: Session) -> None:
        """Publish retained states; not before the broker has told what it retains, if that is needed."""
        if self._locks.unsure:
            await self._read_mirror()
        await self._states.serve(session)

    async def _read_mirror(self) -> None:
        """Wait until our own greeting has come back: what the broker retains was sent before it."""
        try:
            async with asyncio.timeout(_MIRROR_PATIENCE_S):
                await self._heard_ourselves.wait()
        except TimeoutError:
            log.warning(
                "the broker does not send what it retains; boards stay locked until somebody unlocks them"
            )
        else:
            await self._locks.settled()

    async def _receive(self, session: Session) -> None:
        async for message in session.messages():
            if address := parse(message.topic):
                await self._dispatch(session, address, message)

    async def _dispatch(self, session: Session, address: Address, message: Incoming) -> None:
        match address.kind:
            case Kind.COMMAND | Kind.BOARD_COMMAND:
                if message.payload or not message.retain:  # an empty retained message only clears the topic
                    self._submit(_request(address, message))
            case Kind.ACK:
                self._uplink.on_ack(message.payload)
            case Kind.RESUME:
                self._uplink.on_resume(message.payload)
            case Kind.COLLECTOR_STATUS:
                self._uplink.on_collector_status(message.payload)
            case Kind.STATUS:
                await self._own_status(session, message.payload)
            case Kind.RELAY_STATE | Kind.BOARD_STATE:
                await self._own_state(address, message)

    async def _own_status(self, session: Session, payload: bytes) -> None:
        """Say again that we are there, if the will of an older session says that we are not."""
        try:
            said = decode(Status, payload)
        except ProtocolError:
            return
        if said.session == session.id:
            self._heard_ourselves.set()
        elif said.state == "online":
            log.error("another agent claims to be this test PC", pc=self._pc, its_session=said.session)
        else:
            await self._say_online(session)

    async def _own_state(self, address: Address, message: Incoming) -> None:
        """Learn from the mirror who holds a board; take back what is no longer ours."""
        if not message.payload:
            return
        if not self._has(address.board, address.relay, address.port):
            self._states.set(message.topic, None)
        elif address.board and self._locks.unsure:
            try:
                lock = decode(BoardState, message.payload).record.lock
            except ProtocolError as error:
                log.warning("the mirror of a board cannot be read", board=address.board, why=str(error))
            else:
                await self._locks.mirrored(address.board, lock)


def _request(address: Address, message: Incoming) -> Request:
    return Request(
        message.payload, address.operator, address.board or None, message.retain, message.received_at
    )
