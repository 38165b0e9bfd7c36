"""MQTT to a device: requests on its topics, answers on others, over a connection of the driver's own."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Callable, Iterator
from typing import TypeVar

from boardherd_agent.devices.device import DeviceOffline
from boardherd_shared.link import BrokerSettings, Incoming, Link, LinkDown, Session

T = TypeVar("T")

_UNREAD = 1000
"""Messages kept while nobody asks; more than that are dropped, and answers are never among them."""

_NUMBER = re.compile(r"\[Errno -?\d+\] ")
"""What Python puts before the words of the operating system."""


class MqttTransport:
    """One device behind a broker.

    A message does not say which request it answers. Old answers are therefore thrown away before each
    request, and whoever asks tells an answer from other messages by its topic and content.
    """

    def __init__(
        self, broker: BrokerSettings, place: str, *, gone: Callable[[Incoming], bool], patience_s: float
    ) -> None:
        """Describe the way to a device; nothing is opened yet.

        Args:
            broker: where to connect, and how to be let in.
            place: the device in messages.
            gone: whether a message, its last will above all, says that the device is not connected.
            patience_s: how long the broker may take to let us in.
        """
        self._link = Link(broker, name="boardherd-relay", patience_s=patience_s, quiet=True)
        self._place, self._gone = place, gone
        self._closing = contextlib.AsyncExitStack()
        self._session: Session | None = None
        self._inbox: asyncio.Queue[Incoming | None] = asyncio.Queue()
        self._lost = ""

    async def open(self, *filters: str) -> None:
        """Connect to the broker and subscribe; raises DeviceOffline."""
        async with contextlib.AsyncExitStack() as stack:
            with self._broker():
                self._session = await stack.enter_async_context(self._link.session())
                await self._session.subscribe(*filters)
            hearing = asyncio.create_task(self._hear(self._session), name=f"messages of {self._place}")
            stack.push_async_callback(_end, hearing)
            self._closing = stack.pop_all()

    async def close(self) -> None:
        """Take leave of the broker, if there is a connection."""
        self._session = None
        await self._closing.aclose()

    async def ask(
        self, topic: str, payload: str, answer: Callable[[Incoming], T | None], timeout: float
    ) -> T:
        """Publish a request, never retained, and return the first answer.

        Args:
            topic: where the device takes requests.
            payload: the request.
            answer: makes the answer from a message, None if the message answers something else; what it
                raises is passed on.
            timeout: how long the answer may take, seconds.

        Raises:
            DeviceOffline: the broker or the device has gone, or the device does not answer in time.
        """
        while not self._inbox.empty():
            self._inbox.get_nowait()
        async with self._patience(timeout):
            await self._publish(topic, payload)
            return await self._first(answer)

    async def tell(self, topic: str, payload: str, timeout: float) -> None:
        """Publish a request, never retained, and wait until the broker has it; raises DeviceOffline."""
        async with self._patience(timeout):
            await self._publish(topic, payload)

    @contextlib.asynccontextmanager
    async def _patience(self, timeout: float) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(timeout):
                yield
        except TimeoutError as error:
            raise DeviceOffline(
                self._lost or f"{self._place} does not answer within {timeout:g} s"
            ) from error

    async def _publish(self, topic: str, payload: str) -> None:
        if self._session is None or self._lost:
            raise DeviceOffline(self._lost or f"{self._place} is not open")
        with self._broker():
            await self._session.publish(topic, payload.encode())

    async def _first(self, answer: Callable[[Incoming], T | None]) -> T:
        while not self._lost:
            message = await self._inbox.get()
            if message is not None and (found := answer(message)) is not None:
                return found
        raise DeviceOffline(self._lost)

    async def _hear(self, session: Session) -> None:
        """Collect what arrives; retained messages are no answers, but tell whether the device is there."""
        try:
            async for message in session.messages():
                if self._gone(message):
                    self._lose(f"{self._place} is offline, says the broker")
                elif not message.retain and self._inbox.qsize() < _UNREAD:
                    self._inbox.put_nowait(message)
        except LinkDown:
            self._lose(f"the broker of {self._place} has closed the connection")

    def _lose(self, why: str) -> None:
        """Give up for good: what is known of the device from before does not hold any more."""
        self._lost = self._lost or why
        self._inbox.put_nowait(None)

    @contextlib.contextmanager
    def _broker(self) -> Iterator[None]:
        try:
            yield
        except LinkDown as error:
            words = _NUMBER.sub("", str(error))
            raise DeviceOffline(f"the broker of {self._place}: {words}") from error
        except UnicodeError as error:  # from the resolver, before there is a connection
            raise DeviceOffline(f"the broker of {self._place}: this is no host name") from error


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
