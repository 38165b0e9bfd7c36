"""Results: each step of a command's life, told at once to whoever asked.

This is the quick word to the operator and may be missed; the audit event of the same step goes through the
spool and may not.
"""

from __future__ import annotations

import asyncio
from collections import deque

import structlog

from boardherd_shared.command import CommandStep
from boardherd_shared.link import Session, TooLarge
from boardherd_shared.messages import encode
from boardherd_shared.topics import Kind, Topics

log = structlog.get_logger()

_KEEP = 1000
_EXPIRY_S = 3600.0


class Results:
    """Publishes steps on ``<agent>/result/<id>`` and ``<site>/reply/<operator>``, in order."""

    def __init__(self, topics: Topics) -> None:
        """Make an empty queue; steps made while the broker is away wait here, the newest thousand of them."""
        self._topics = topics
        self._waiting: deque[CommandStep] = deque(maxlen=_KEEP)
        self._more = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()

    def put(self, step: CommandStep) -> None:
        """Take a step to publish; never waits."""
        self._waiting.append(step)
        self._empty.clear()
        self._more.set()

    async def drained(self) -> None:
        """Return once nothing waits any more."""
        await self._empty.wait()

    async def serve(self, session: Session) -> None:
        """Publish what waits and what comes, until cancelled or the link is down."""
        while True:
            while self._waiting:
                step = self._waiting[0]
                payload = encode(step)
                result = self._topics.build(Kind.RESULT, agent=step.agent, id=step.id)
                reply = self._topics.build(Kind.REPLY, operator=step.operator)
                try:
                    async with (
                        asyncio.TaskGroup() as both
                    ):  # the answers of the broker are waited for together
                        for topic in (result, reply):
                            both.create_task(
                                session.publish(topic, payload, expiry_s=_EXPIRY_S), name=f"publish {topic}"
                            )
                except* TooLarge as errors:
                    log.warning(
                        "a result cannot be published", command=step.id, why=str(errors.exceptions[0])
                    )
                if self._waiting and self._waiting[0] is step:
                    self._waiting.popleft()
            self._empty.set()
            self._more.clear()
            await self._more.wait()
