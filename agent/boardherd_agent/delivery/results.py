"""Results: each step of a command's life, told at once to whoever asked.

This is the quick word to the operator and may be missed; the audit event of the same step goes through the
spool and may not.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass

import structlog

from boardherd_shared.command import CommandStep
from boardherd_shared.link import Session, TooLarge
from boardherd_shared.messages import encode
from boardherd_shared.topics import Kind, Topics

log = structlog.get_logger()

_KEEP = 1000
_AT_ONCE = 8
"""Steps that may wait for the broker's answer, each on two topics: brokers commonly take 20 messages at once."""
_EXPIRY_S = 3600.0


@dataclass
class _Sent:
    """A step that the broker has been given."""

    step: CommandStep
    unanswered: int = 2


class Results:
    """Publishes steps on ``<site>/reply/<operator>`` and ``<agent>/result/<id>``, in order.

    What a broker has not acknowledged before the connection was lost is published again, with all that followed it.
    """

    def __init__(self, topics: Topics) -> None:
        """Make an empty queue; steps made while the broker is away wait here, the newest thousand of them."""
        self._topics = topics
        self._waiting: deque[CommandStep] = deque(maxlen=_KEEP)
        self._sent: deque[_Sent] = deque()
        self._wake = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()

    def put(self, step: CommandStep) -> None:
        """Take a step to publish; never waits."""
        self._waiting.append(step)
        self._empty.clear()
        self._wake.set()

    async def drained(self) -> None:
        """Return once nothing waits any more."""
        await self._empty.wait()

    async def serve(self, session: Session) -> None:
        """Publish what waits and what comes, until cancelled or the link is down."""
        self._waiting = deque([*(sent.step for sent in self._sent), *self._waiting], maxlen=_KEEP)
        self._sent.clear()
        async with asyncio.TaskGroup() as tasks:
            while True:
                while self._waiting and len(self._sent) < _AT_ONCE:
                    self._send(session, self._waiting.popleft(), tasks)
                if not self._sent:
                    self._empty.set()
                self._wake.clear()
                await self._wake.wait()

    def _send(self, session: Session, step: CommandStep, tasks: asyncio.TaskGroup) -> None:
        """Publish a step, first to whoever waits for it."""
        sent, payload = _Sent(step), encode(step)
        self._sent.append(sent)
        for topic in (
            self._topics.build(Kind.REPLY, operator=step.operator),
            self._topics.build(Kind.RESULT, agent=step.agent, id=step.id),
        ):
            tasks.create_task(self._publish(session, topic, payload, sent), name=f"publish {topic}")

    async def _publish(self, session: Session, topic: str, payload: bytes, sent: _Sent) -> None:
        try:
            await session.publish(topic, payload, expiry_s=_EXPIRY_S)
        except TooLarge as error:
            log.warning("a result cannot be published", command=sent.step.id, why=str(error))
        sent.unanswered -= 1
        while self._sent and not self._sent[0].unanswered:
            self._sent.popleft()
            self._wake.set()
