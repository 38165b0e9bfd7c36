"""The link against a real Mosquitto."""

from __future__ import annotations

import asyncio
import signal

import pytest

from boardherd_shared.link import BrokerSettings, Farewell, Incoming, Link, LinkDown, Session
from support.broker import Mosquitto
from support.ports import free_port


def link(url: str, name: str = "probe") -> Link:
    return Link(
        BrokerSettings(url=url, keepalive_s=5),
        name=name,
        will=lambda session: Farewell(f"{name}/status", f"will {session}".encode()),
        goodbye=lambda session: Farewell(f"{name}/status", f"goodbye {session}".encode()),
    )


async def first_message(url: str, topic: str) -> Incoming:
    async with asyncio.timeout(10), link(url, "reader").session() as session:
        await session.subscribe(topic)
        async for message in session.messages():
            return message
    raise AssertionError("no message")


async def test_messages_arrive_and_a_clean_end_says_goodbye(mosquitto: Mosquitto) -> None:
    seen: list[bytes] = []
    session_ids: list[str] = []

    async def serve(session: Session) -> None:
        session_ids.append(session.id)
        assert session.protocol == 5
        await session.subscribe("clean/#")
        await session.publish("clean/x", b"one")
        async for message in session.messages():
            seen.append(message.payload)
            return

    await link(mosquitto.url, "clean").run(serve)
    assert seen == [b"one"]
    message = await first_message(mosquitto.url, "clean/status")
    assert message.payload == f"goodbye {session_ids[0]}".encode()


async def test_a_crash_of_our_own_publishes_the_will(mosquitto: Mosquitto) -> None:
    async def serve(session: Session) -> None:
        await session.publish("crash/x", b"one")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        async with link(mosquitto.url, "crash").session() as session:
            await serve(session)
    message = await first_message(mosquitto.url, "crash/status")
    assert message.payload.startswith(b"will ")


async def test_a_killed_broker_is_found_again_and_every_life_has_its_own_session(
    own_mosquitto: Mosquitto,
) -> None:
    lives: asyncio.Queue[str] = asyncio.Queue()

    async def serve(session: Session) -> None:
        lives.put_nowait(session.id)
        await session.subscribe("x")
        async for _ in session.messages():
            pass

    task = asyncio.create_task(link(own_mosquitto.url).run(serve))
    async with asyncio.timeout(20):
        first = await lives.get()
        await asyncio.to_thread(own_mosquitto.stop, signal.SIGKILL)
        await asyncio.to_thread(own_mosquitto.start)
        second = await lives.get()
    assert first != second
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_an_unreachable_broker_is_link_down_in_words() -> None:
    with pytest.raises(LinkDown, match="refused"):
        async with link(f"mqtt://127.0.0.1:{free_port()}").session():
            pass


async def test_retain_as_published_tells_a_retained_command(mosquitto: Mosquitto) -> None:
    async with asyncio.timeout(10), link(mosquitto.url).session() as session:
        await session.subscribe("retained/x")
        await session.publish("retained/x", b"now", retain=True)
        async for message in session.messages():
            assert message.retain
            break
        await session.publish("retained/x", b"", retain=True)
