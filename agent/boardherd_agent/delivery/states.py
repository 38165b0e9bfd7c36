"""The retained states: what is true now, for everybody who subscribes, however late."""

from __future__ import annotations

import asyncio

import structlog

from boardherd_shared.link import Session, TooLarge

log = structlog.get_logger()


class RetainedStates:
    """The latest payload of each topic, published on change and all anew after each connect."""

    def __init__(self) -> None:
        """Begin with no topics."""
        self._latest: dict[str, bytes] = {}
        self._changed: dict[str, None] = {}  # a set that remembers the order
        self._more = asyncio.Event()

    def set(self, topic: str, payload: bytes | None) -> None:
        """Have ``payload`` be what the broker keeps under ``topic``; None clears the topic.

        Never waits. Of several values set in quick succession only the last is published.
        """
        payload = payload or b""
        if topic not in self._changed and self._latest.get(topic) == payload:
            return
        self._latest[topic] = payload
        self._changed[topic] = None
        self._more.set()

    async def serve(self, session: Session) -> None:
        """Publish everything, then each change, until cancelled or the link is down (LinkDown)."""
        self._changed = dict.fromkeys([*self._changed, *self._latest])
        while True:
            while self._changed:
                await self._publish(session, next(iter(self._changed)))
            self._more.clear()
            await self._more.wait()

    async def _publish(self, session: Session, topic: str) -> None:
        payload = self._latest[topic]
        # Taken from the list before the await: a value set meanwhile puts the topic back.
        del self._changed[topic]
        try:
            await session.publish(topic, payload, retain=True)
        except TooLarge as error:
            log.warning("a state cannot be published", topic=topic, why=str(error))
        except BaseException:
            self._changed[topic] = None
            raise
        if not payload and topic not in self._changed:
            del self._latest[topic]  # cleared and confirmed: nothing to repeat at the next connect
