"""The demo's broker: a 3.1.1 broker that sends MQTT 5 clients down to 3.1.1 as the standard says."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from boardherd_shared.link import BrokerSettings, Farewell, Link
from support.ports import free_port, wait_for_port

BROKER = [sys.executable, "-m", "boardherd.embedded_broker", "--port"]


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    chosen = free_port()
    broker = subprocess.Popen([*BROKER, str(chosen)], stdout=subprocess.DEVNULL)
    wait_for_port(chosen)
    yield chosen
    broker.terminate()
    assert broker.wait(10) == 0


async def test_the_link_falls_back_and_everything_works(port: int) -> None:
    will = Farewell("fallback/status", b"will")
    link = Link(BrokerSettings(url=f"mqtt://127.0.0.1:{port}"), name="fallback", will=lambda _: will)
    async with asyncio.timeout(15), link.session() as session:
        assert session.protocol == 4
        await session.subscribe("fallback/#")
        await session.publish("fallback/x", b"one", retain=True)
        async for message in session.messages():
            assert (message.topic, message.payload) == ("fallback/x", b"one")
            break


def test_an_mqtt_5_client_is_told_reason_code_132(port: int) -> None:
    connect = bytes.fromhex("10 11 00 04 4D 51 54 54 05 02 00 0F 05 11 00 00 00 00 00")
    with socket.create_connection(("127.0.0.1", port), 5) as sock:
        sock.sendall(connect)
        assert sock.recv(16) == bytes([0x20, 3, 0, 132, 0])
        assert sock.recv(16) == b""


@pytest.mark.parametrize("nonsense", [b"", b"\x10", b"GET / HTTP/1.0\r\n\r\n", b"\xff" * 64])
async def test_nonsense_does_not_end_it(port: int, nonsense: bytes) -> None:
    with socket.create_connection(("127.0.0.1", port), 5) as sock:
        sock.sendall(nonsense)
    async with (
        asyncio.timeout(15),
        Link(BrokerSettings(url=f"mqtt://127.0.0.1:{port}"), name="after").session(),
    ):
        pass


def test_a_busy_port_is_one_sentence(port: int) -> None:
    run = subprocess.run([*BROKER, str(port)], capture_output=True, text=True, check=False, timeout=30)
    assert (run.returncode, run.stderr) == (
        1, f"the broker cannot listen on 127.0.0.1:{port}: Address already in use\n",
    )  # fmt: skip
